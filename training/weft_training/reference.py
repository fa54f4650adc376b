"""Reference statistics: how features and scores were spread in training, for monitoring to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DECILES = np.arange(1, 10) / 10


def histogram(values: np.ndarray) -> dict[str, Any]:
    """Bins at the deciles of the values that are there, equal deciles once: at most 9 inner upper edges, ascending.

    A value falls in the first bin whose edge is at least the value, else in the last. Shares are of the values that are
    there and add up to 1; no values: no edges and a share of 0.
    """
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return {"edges": [], "shares": [0.0]}
    edges = np.unique(np.quantile(present, DECILES, method="lower"))
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    return {"edges": [float(edge) for edge in edges], "shares": [float(n) / len(present) for n in counts]}


def reference_statistics(names: Sequence[str], features: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """reference.json for float32[rows, features] and the model's scores of the same rows."""
    rows = len(features)
    return {
        "rows": rows,
        "features": {
            name: {
                **histogram(features[:, index]),
                "missing_ratio": float(np.isnan(features[:, index]).sum()) / max(rows, 1),
            }
            for index, name in enumerate(names)
        },
        "scores": histogram(scores),
    }
