"""Writes ONNX models and runs them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

OPSETS = (helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3))
IR_VERSION = 8
INPUT = "features"
TOLERANCE = 1e-5


class OnnxMismatch(Exception):
    """The exported model does not answer what the trainer's own model answers."""


def make_model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
    feature_count: int,
    output: str,
    output_shape: Sequence[int | None] = (None,),
) -> onnx.ModelProto:
    """A checked model from `features` float32[rows, feature_count] to `output` float32[output_shape]; None = rows."""
    shape = ["rows" if length is None else length for length in output_shape]
    graph = helper.make_graph(
        list(nodes),
        "weft",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", feature_count])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        list(initializers),
    )
    domains = {node.domain for node in nodes}
    opsets = [opset for opset in OPSETS if opset.domain == "" or opset.domain in domains]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="weft_training")
    onnx.checker.check_model(model, full_check=True)
    return model


def signature(feature_count: int, output: str, output_shape: Sequence[int | None] = (None,)) -> dict[str, object]:
    """signature.json of such a model; -1 = any number of rows."""
    shape = [-1 if length is None else length for length in output_shape]
    return {
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, feature_count]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": shape}],
    }


def run(path: Path, output: str, features: np.ndarray, batch_rows: int = 8192) -> np.ndarray:
    """What the file answers in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate(
        [
            session.run([output], {INPUT: np.ascontiguousarray(features[start : start + batch_rows])})[0]
            for start in range(0, max(len(features), 1), batch_rows)
        ]
    )


def check_equal(path: Path, output: str, features: np.ndarray, expected: np.ndarray) -> float:
    """The greatest difference between the file's answers and the trainer's. Raises OnnxMismatch above 1e-5."""
    answers = run(path, output, features)
    if answers.shape != expected.shape or answers.dtype != np.float32:
        raise OnnxMismatch(f"{path}: {answers.dtype}{list(answers.shape)} instead of float32{list(expected.shape)}")
    difference = float(np.abs(answers.astype(np.float64) - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise OnnxMismatch(f"{path}: differs from the trainer by {difference:.3g} on {len(features)} rows")
    return difference
