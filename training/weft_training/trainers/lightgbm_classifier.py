"""Gradient-boosted trees that answer a probability.

Parameters: those of boosting.PARAMETERS; `positiveWeight`, the weight of a positive row (default 1, which keeps the
probabilities calibrated); `labelTime`, extra column with the time at which each label was known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weft_training import boosting
from weft_training.metrics import classification
from weft_training.records import write_records
from weft_training.spec import Spec, SpecError
from weft_training.training_set import read_training_set
from weft_training.tree_ensemble import booster_to_onnx


def train(spec: Spec, out: Path) -> None:
    """Writes model.onnx and its records. The label is 0 or 1."""
    spec.check_parameters(boosting.PARAMETERS | {"positiveWeight", "labelTime"})
    data = read_training_set(spec, label_time=spec.parameter("labelTime", None))
    for split in (data.train, data.test):
        if set(np.unique(split.label)) != {0.0, 1.0}:
            raise SpecError(f"model {spec.model}: both splits need labels 0 and 1")

    parameters = boosting.booster_parameters(
        spec, "binary", scale_pos_weight=float(spec.parameter("positiveWeight", 1.0))
    )
    booster = boosting.train_booster(spec, parameters, data.train, data.train.label)
    train_scores = booster.predict(data.train.features, num_threads=1)
    test_scores = booster.predict(data.test.features, num_threads=1)
    write_records(
        out,
        spec,
        "lightgbm_classifier",
        booster_to_onnx(booster, spec.output, probability=True),
        data,
        train_scores,
        test_scores,
        classification(data.test.label, test_scores),
        ["lightgbm", "scikit-learn"],
    )
