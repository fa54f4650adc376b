"""Writes what a training leaves: the model and the JSON records beside it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from weft_training import onnx_model
from weft_training.reference import reference_statistics
from weft_training.spec import Spec
from weft_training.training_set import TrainingSet


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes sorted, indented JSON, so that equal records are equal files; refuses NaN and infinity."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions by package name."""
    return {name: importlib.metadata.version(name) for name in names}


def write_records(
    out: Path,
    spec: Spec,
    trainer: str,
    model: onnx.ModelProto,
    data: TrainingSet,
    train_scores: np.ndarray,
    test_scores: np.ndarray,
    metrics: dict[str, float],
    libraries: Sequence[str],
) -> None:
    """Writes a scoring model, float32[rows, features] to float32[rows], and its records.

    The scores are the trainer's own, of both splits. Raises OnnxMismatch where the written file answers the test split
    differently, and then leaves no records, only the model to look at.
    """
    path = out / "model.onnx"
    onnx.save(model, path)
    difference = onnx_model.check_equal(path, spec.output, data.test.features, test_scores)
    write_json(out / "metrics.json", {"metrics": {**metrics, "onnx_max_abs_diff": difference}})
    write_json(out / "signature.json", onnx_model.signature(len(spec.features), spec.output))
    write_json(out / "reference.json", reference_statistics(spec.features, data.train.features, train_scores))
    write_json(
        out / "lineage.json",
        {
            "libraries": library_versions(["numpy", "onnx", "onnxruntime", *libraries]),
            "trainer": trainer,
            "training_rows": data.train.rows,
        },
    )
