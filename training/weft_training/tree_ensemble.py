"""Writes a LightGBM booster as an ONNX tree ensemble that decides exactly as LightGBM does on float32 features.

LightGBM compares in float64, ONNX in float32. The greatest float32 at or below a threshold t parts all float32 values
just as t does: for a float32 x, x <= t if and only if x <= floor32(t). Rounding to the nearest would send a value
between the two the other way. Second, LightGBM reads values within 1e-35 of zero as zero.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnx import helper, numpy_helper

from weft_training import onnx_model

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: a value no further from 0 reads as 0."""


def floor32(value: float) -> np.float32:
    """The greatest float32 that is at most the value; -inf where there is none."""
    with np.errstate(over="ignore"):
        nearest = np.float32(value)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > value else nearest


def split_threshold(value: float) -> np.float32:
    """The float32 threshold that parts all float32 values as LightGBM's threshold does."""
    if -ZERO <= value < 0:  # Where zero goes right, all that reads as zero does.
        return np.nextafter(np.float32(-ZERO), np.float32(-np.inf))
    if 0 <= value <= ZERO:
        return np.float32(ZERO)
    return floor32(value)


def booster_to_onnx(booster: lightgbm.Booster, output: str, probability: bool) -> onnx.ModelProto:
    """A model with one output float32[rows]: the raw score, or its logistic for a binary classifier."""
    dump = booster.dump_model()
    if dump["num_tree_per_iteration"] != 1 or dump.get("average_output"):
        raise ValueError("only boosted ensembles with one output can be written")
    attributes: dict[str, list[Any]] = defaultdict(list)
    for tree, info in enumerate(dump["tree_info"]):
        _add_tree(attributes, tree, info["tree_structure"])

    feature_count = booster.num_feature()
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor",
            [onnx_model.INPUT],
            ["sums"],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            post_transform="NONE",
            **attributes,
        ),
        helper.make_node("Reshape", ["sums", "flat"], ["raw" if probability else output]),
    ]
    if probability:
        slope = _logistic_slope(dump["objective"])
        scaled = "raw"
        if slope != 1.0:
            nodes.append(helper.make_node("Mul", ["raw", "slope"], ["scaled"]))
            scaled = "scaled"
        nodes.append(helper.make_node("Sigmoid", [scaled], [output]))
    else:
        slope = 1.0
    initializers = [numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")]
    if slope != 1.0:
        initializers.append(numpy_helper.from_array(np.array(slope, dtype=np.float32), "slope"))
    return onnx_model.make_model(nodes, initializers, feature_count, output)


def _logistic_slope(objective: str) -> float:
    """The slope of `binary sigmoid:<slope>`."""
    name, *options = objective.split()
    if name != "binary":
        raise ValueError(f"objective {objective!r} has no probability")
    return next((float(option[8:]) for option in options if option.startswith("sigmoid:")), 1.0)


def _add_tree(attributes: dict[str, list[Any]], tree: int, root: dict[str, Any]) -> None:
    """Adds a tree's nodes, numbered from the root in depth-first order."""
    size = 0

    def add(node: dict[str, Any]) -> int:
        nonlocal size
        number = size
        size += 1
        at = len(attributes["nodes_nodeids"])
        attributes["nodes_treeids"].append(tree)
        attributes["nodes_nodeids"].append(number)
        if "split_feature" in node:
            missing_goes_left = _missing_goes_left(node)
            attributes["nodes_featureids"].append(node["split_feature"])
            attributes["nodes_modes"].append("BRANCH_LEQ")
            attributes["nodes_values"].append(float(split_threshold(float(node["threshold"]))))
            attributes["nodes_missing_value_tracks_true"].append(int(missing_goes_left))
            attributes["nodes_truenodeids"].append(0)
            attributes["nodes_falsenodeids"].append(0)
            attributes["nodes_truenodeids"][at] = add(node["left_child"])
            attributes["nodes_falsenodeids"][at] = add(node["right_child"])
        else:
            if "leaf_coeff" in node:
                raise ValueError("linear trees cannot be written")
            attributes["nodes_featureids"].append(0)
            attributes["nodes_modes"].append("LEAF")
            attributes["nodes_values"].append(0.0)
            attributes["nodes_missing_value_tracks_true"].append(0)
            attributes["nodes_truenodeids"].append(0)
            attributes["nodes_falsenodeids"].append(0)
            attributes["target_treeids"].append(tree)
            attributes["target_nodeids"].append(number)
            attributes["target_ids"].append(0)
            attributes["target_weights"].append(float(node["leaf_value"]))
        return number

    add(root)


def _missing_goes_left(node: dict[str, Any]) -> bool:
    """Where NaN goes: a split that saw no NaN in training reads it as 0, as LightGBM does."""
    if node["decision_type"] != "<=":
        raise ValueError("categorical splits cannot be written")
    match node["missing_type"]:
        case "NaN":
            return bool(node["default_left"])
        case "None":
            return 0.0 <= float(node["threshold"])
        case other:
            raise ValueError(f"missing type {other!r} cannot be written")
