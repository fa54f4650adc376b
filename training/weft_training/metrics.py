"""Metrics of metrics.json."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score


def classification(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Ranking and calibration of a classifier. `recall_at_1pct`: share of the positives among the highest 1% of scores;
    `recall_at_precision_90`: share found by the lowest threshold at which 9 of 10 alarms are right, 0 where none is."""
    clipped = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    order = np.argsort(-probability, kind="stable")
    found = np.cumsum(label[order])
    positives = float(label.sum())
    alarms = np.arange(1, len(label) + 1)
    last_of_score = np.append(np.diff(probability[order]) != 0, True)
    precise = last_of_score & (found / alarms >= 0.9)
    at_1pct = max(1, len(label) // 100)
    return {
        "auc": float(roc_auc_score(label, clipped)),
        "pr_auc": float(average_precision_score(label, clipped)),
        "log_loss": float(log_loss(label, clipped)),
        "brier": float(brier_score_loss(label, clipped)),
        "recall_at_1pct": float(found[at_1pct - 1]) / positives,
        "recall_at_precision_90": float(found[precise].max(initial=0.0)) / positives,
        "base_rate": positives / len(label),
        "test_rows": float(len(label)),
    }


def ndcg(group: np.ndarray, gain: np.ndarray, score: np.ndarray, k: int = 10) -> float:
    """Mean NDCG@k, gains 2^label - 1, over the groups with a positive label. Rows of equal score count as last."""
    order = np.lexsort((gain, -score, group))
    group, gain = group[order], gain[order]
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    discount = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for start, end in zip(starts, np.append(starts[1:], len(group)), strict=True):
        gains = np.exp2(gain[start:end]) - 1
        best = np.sort(gains)[::-1][:k]
        ideal = float(best @ discount[: len(best)])
        if ideal > 0:
            top = gains[:k]
            values.append(float(top @ discount[: len(top)]) / ideal)
    return float(np.mean(values)) if values else 0.0
