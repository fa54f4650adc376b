"""Gradient-boosted trees that answer a score to order by, trained with LambdaMART.

Parameters: those of boosting.PARAMETERS; `group`, extra column that says which rows are ordered together (required);
`objective`, lambdarank (default) or rank_xendcg; `truncation`, positions that lambdarank's gradient looks at (default 30); `labelTime` as in lightgbm_classifier.
The label is a whole-number grade from 0 to 30, with gain 2^label - 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weft_training import boosting
from weft_training.metrics import ndcg
from weft_training.records import write_records
from weft_training.spec import Spec, SpecError
from weft_training.training_set import read_training_set
from weft_training.tree_ensemble import booster_to_onnx


def train(spec: Spec, out: Path) -> None:
    """Writes model.onnx and its records."""
    spec.check_parameters(boosting.PARAMETERS | {"group", "objective", "truncation", "labelTime"})
    column = spec.parameter("group", None)
    if not isinstance(column, str):
        raise SpecError(f"model {spec.model}: parameter 'group' must name an extra column")
    data = read_training_set(spec, extra=[column], label_time=spec.parameter("labelTime", None))
    for split in (data.train, data.test):
        if not ((split.label == np.floor(split.label)) & (split.label >= 0) & (split.label <= 30)).all():
            raise SpecError(f"model {spec.model}: labels must be whole numbers from 0 to 30")

    numbers = np.unique(data.train.extra[column], return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")
    grouped = data.train.take(order)
    objective = str(spec.parameter("objective", "lambdarank"))
    if objective not in ("lambdarank", "rank_xendcg"):
        raise SpecError(f"model {spec.model}: parameter 'objective' is {objective!r}, not lambdarank or rank_xendcg")
    parameters = boosting.booster_parameters(
        spec, objective, lambdarank_truncation_level=int(spec.parameter("truncation", 30))
    )
    booster = boosting.train_booster(spec, parameters, grouped, grouped.label, np.bincount(numbers[order]))

    test_scores = booster.predict(data.test.features, num_threads=1)
    test_groups = np.unique(data.test.extra[column], return_inverse=True)[1]
    write_records(
        out,
        spec,
        "lightgbm_ranker",
        booster_to_onnx(booster, spec.output, probability=False),
        data,
        booster.predict(data.train.features, num_threads=1),
        test_scores,
        {
            "ndcg_at_10": ndcg(test_groups, data.test.label, test_scores, 10),
            "test_groups": float(len(np.unique(test_groups))),
            "test_rows": float(data.test.rows),
        },
        ["lightgbm"],
    )
