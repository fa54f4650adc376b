"""What the LightGBM trainers share."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

from weft_training.spec import Spec, SpecError
from weft_training.training_set import Split

PARAMETERS = {
    "trees",
    "learningRate",
    "leaves",
    "minRowsInLeaf",
    "featureShare",
    "rowShare",
    "l2",
    "bins",
}
"""Parameters that every LightGBM trainer reads."""


def booster_parameters(spec: Spec, objective: str, **own: Any) -> dict[str, Any]:
    """LightGBM's settings: the spec's, and those that make a run repeat."""
    return {
        "objective": objective,
        "learning_rate": float(spec.parameter("learningRate", 0.05)),
        "num_leaves": int(spec.parameter("leaves", 31)),
        "min_data_in_leaf": int(spec.parameter("minRowsInLeaf", 20)),
        "feature_fraction": float(spec.parameter("featureShare", 1.0)),
        "bagging_fraction": float(spec.parameter("rowShare", 1.0)),
        "bagging_freq": 1 if float(spec.parameter("rowShare", 1.0)) < 1 else 0,
        "lambda_l2": float(spec.parameter("l2", 0.0)),
        "max_bin": int(spec.parameter("bins", 255)),
        "seed": spec.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        **own,
    }


def train_booster(
    spec: Spec, parameters: dict[str, Any], split: Split, label: np.ndarray, group: np.ndarray | None = None
) -> lightgbm.Booster:
    """Trains on float32 features; missing = NaN."""
    trees = int(spec.parameter("trees", 200))
    if not 1 <= trees <= 2000:
        raise SpecError(f"model {spec.model}: parameter 'trees' is {trees}, not 1 to 2000")
    data = lightgbm.Dataset(split.features, label=label, group=group, free_raw_data=False)
    return lightgbm.train(parameters, data, num_boost_round=trees)
