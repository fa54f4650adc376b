"""The exported trees decide as LightGBM does, most of all where float32 and float64 could part."""

import lightgbm
import numpy as np
import onnx
import pytest

from weft_training import onnx_model
from weft_training.tree_ensemble import ZERO, booster_to_onnx, floor32, split_threshold

SEED = 20240607
TINY = np.finfo(np.float32).smallest_subnormal


def nodes(tree):
    if "split_feature" in tree:
        yield tree
        yield from nodes(tree["left_child"])
        yield from nodes(tree["right_child"])


def train(features, label, **own):
    parameters = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 2, "num_leaves": 31}
    parameters |= {"min_data_in_bin": 1, "seed": SEED, **own}
    return lightgbm.train(parameters, lightgbm.Dataset(features, label=label), num_boost_round=20)


def answers(booster, tmp_path, rows, probability):
    onnx.save(booster_to_onnx(booster, "y", probability), tmp_path / "model.onnx")
    return onnx_model.run(tmp_path / "model.onnx", "y", rows)


def edge_rows(booster, features):
    """Rows of the data with one value moved to a threshold's float32 neighbours, or to a value of its own kind."""
    random = np.random.default_rng(SEED)
    highest = np.finfo(np.float32).max
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, TINY, -TINY, ZERO, -ZERO], dtype=np.float32)
    rows = []
    for tree in booster.dump_model()["tree_info"]:
        for node in nodes(tree["tree_structure"]):
            edge = split_threshold(float(node["threshold"]))
            up = np.nextafter(edge, highest)
            down = np.nextafter(edge, -highest)
            for value in [edge, up, down, *special]:
                row = features[random.integers(len(features))].copy()
                row[node["split_feature"]] = value
                rows.append(row)
    return np.array(rows, dtype=np.float32)


def hard_features(rows=600):
    """Neighbouring float32 values, whose midpoint no float32 holds, of many sizes and both signs; some missing."""
    random = np.random.default_rng(SEED)
    steps = random.integers(0, 6, (rows, 5)).astype(np.int32)
    base = np.array([1.0, -3.5, 1e-30, 16_777_216.0, -1e20], dtype=np.float32).view(np.int32)
    features = (base + steps).view(np.float32)
    label = (steps.sum(axis=1) + random.normal(0, 2, rows) > 12).astype(np.float64)
    features[random.random(rows) < 0.2, 0] = np.nan
    features[label * random.random(rows) > 0.6, 1] = np.nan
    return features, label


@pytest.mark.parametrize("probability", [True, False])
def test_equal_at_every_threshold(tmp_path, probability):
    features, label = hard_features()
    booster = train(features, label)
    rows = edge_rows(booster, features)
    assert len(rows) > 1000
    expected = booster.predict(rows, raw_score=not probability)
    difference = np.abs(answers(booster, tmp_path, rows, probability) - expected)
    assert difference.max() < 1e-5, f"seed {SEED}: row {rows[difference.argmax()]}"


def test_rounding_to_the_nearest_would_fail(tmp_path):
    """The rule is needed: on this data the nearest float32 of some threshold sends a value the other way."""
    features, label = hard_features()
    thresholds = [
        float(node["threshold"])
        for tree in train(features, label).dump_model()["tree_info"]
        for node in nodes(tree["tree_structure"])
    ]
    assert any(float(np.float32(t)) > t for t in thresholds if abs(t) < 1e38)


def test_missing_where_training_saw_none_reads_as_zero(tmp_path):
    random = np.random.default_rng(SEED)
    features = random.normal(0, 1, (400, 3)).astype(np.float32)
    booster = train(features, (features[:, 0] > 0.2).astype(np.float64))
    rows = features[:50].copy()
    rows[:, 0] = np.nan
    np.testing.assert_allclose(answers(booster, tmp_path, rows, True), booster.predict(rows), atol=1e-6)


def test_a_tree_may_be_a_single_leaf(tmp_path):
    features = np.zeros((50, 2), dtype=np.float32)
    booster = train(features, np.arange(50) % 2)
    np.testing.assert_allclose(answers(booster, tmp_path, features, True), booster.predict(features), atol=1e-6)


def test_slope_of_the_logistic(tmp_path):
    features, label = hard_features()
    booster = train(features, label, sigmoid=2.0)
    np.testing.assert_allclose(answers(booster, tmp_path, features, True), booster.predict(features), atol=1e-5)


def test_categorical_splits_are_refused():
    features = np.random.default_rng(SEED).integers(0, 9, (400, 1)).astype(np.float32)
    data = lightgbm.Dataset(features, label=np.isin(features[:, 0], [1, 4, 7]).astype(float), categorical_feature=[0])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "min_data_in_leaf": 2}, data, 3)
    with pytest.raises(ValueError, match="categorical"):
        booster_to_onnx(booster, "y", True)


def test_floor32():
    # float(): beside a float32, NumPy would round the Python number to float32 first.
    assert float(floor32(0.1)) <= 0.1 < float(np.nextafter(floor32(0.1), np.float32(1)))
    assert float(floor32(-0.1)) <= -0.1 < float(np.nextafter(floor32(-0.1), np.float32(1)))
    assert floor32(0.5) == 0.5
    assert floor32(1e300) == np.finfo(np.float32).max
    assert floor32(-1e300) == -np.inf
    assert floor32(1e-60) == 0
    assert floor32(-1e-60) == -TINY
