"""A feed-forward network in JAX that answers a probability.

Inputs become sign(x) log(1 + |x|) where `logarithm` is true (amounts and counts have long tails), then standard scores
by the training split, cut at ±8; a missing value becomes the mean, and each feature that is ever missing in training
brings an indicator of that. All of it is in the ONNX graph, so callers send raw features.

Parameters: `layers` (widths, default [64, 32]), `epochs` (20), `batchRows` (1024), `learningRate` (0.002),
`weightDecay` (0.0001), `logarithm` (true), `labelTime` as in lightgbm_classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from onnx import helper, numpy_helper

from weft_training import onnx_model
from weft_training.metrics import classification
from weft_training.records import write_records
from weft_training.spec import Spec, SpecError
from weft_training.training_set import read_training_set

CUT = 8.0

Layers = list[tuple[jax.Array, jax.Array]]
Training = tuple[Layers, optax.OptState]


@dataclass(frozen=True)
class Scaling:
    """How raw features become inputs; float32 throughout, as in the exported graph."""

    logarithm: bool
    mean: np.ndarray
    deviation: np.ndarray
    indicated: np.ndarray
    """int64: columns that bring an indicator of a missing value."""

    @staticmethod
    def fit(features: np.ndarray, logarithm: bool) -> Scaling:
        """Statistics of the values that are there. A feature without any, or with one value only, becomes 0."""
        values = _logarithm(features) if logarithm else features
        present = ~np.isnan(values)
        count = np.maximum(present.sum(axis=0), 1)
        filled = np.where(present, values, 0).astype(np.float64)
        mean = filled.sum(axis=0) / count
        variance = (np.where(present, filled - mean, 0) ** 2).sum(axis=0) / count
        deviation = np.sqrt(variance)
        deviation[deviation < 1e-6] = 1.0
        return Scaling(
            logarithm, mean.astype(np.float32), deviation.astype(np.float32), np.flatnonzero(~present.all(axis=0))
        )

    @property
    def width(self) -> int:
        return len(self.mean) + len(self.indicated)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """float32[rows, width] of float32[rows, features]."""
        missing = np.isnan(features)
        values = _logarithm(features) if self.logarithm else features
        scores = (np.where(missing, self.mean, values) - self.mean) / self.deviation
        return np.concatenate(
            [np.clip(scores, -CUT, CUT), missing[:, self.indicated].astype(np.float32)], axis=1, dtype=np.float32
        )


def _logarithm(features: np.ndarray) -> np.ndarray:
    return (np.sign(features) * np.log(np.abs(features) + np.float32(1))).astype(np.float32)


def forward(layers: Layers, inputs: jax.Array) -> jax.Array:
    """Logits float32[rows]."""
    for weights, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ weights + bias)
    weights, bias = layers[-1]
    return (inputs @ weights + bias)[:, 0]


def fit(inputs: np.ndarray, label: np.ndarray, spec: Spec) -> Layers:
    """Trains with AdamW and a cosine decay of the learning rate, in an order drawn from the seed."""
    widths = [inputs.shape[1], *(int(width) for width in spec.parameter("layers", [64, 32])), 1]
    epochs = int(spec.parameter("epochs", 20))
    batch_rows = min(int(spec.parameter("batchRows", 1024)), len(inputs))
    steps = len(inputs) // batch_rows

    keys = jax.random.split(jax.random.key(spec.seed), len(widths) - 1)
    layers: Layers = [
        (jax.random.normal(key, (rows, columns)) * jnp.sqrt(2 / rows), jnp.zeros(columns))
        for key, rows, columns in zip(keys, widths[:-1], widths[1:], strict=True)
    ]
    schedule = optax.cosine_decay_schedule(float(spec.parameter("learningRate", 0.002)), epochs * steps)
    optimizer = optax.adamw(schedule, weight_decay=float(spec.parameter("weightDecay", 0.0001)))

    def loss(layers: Layers, rows: jax.Array, wanted: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(forward(layers, rows), wanted).mean()

    @jax.jit
    def epoch(carry: Training, order: jax.Array, rows: jax.Array, wanted: jax.Array) -> Training:
        def step(carry: Training, batch: jax.Array) -> tuple[Training, None]:
            layers, state = carry
            gradient = jax.grad(loss)(layers, rows[batch], wanted[batch])
            updates, state = optimizer.update(gradient, state, layers)
            return (optax.apply_updates(layers, updates), state), None

        return jax.lax.scan(step, carry, order)[0]

    rows, wanted = jnp.asarray(inputs), jnp.asarray(label, dtype=jnp.float32)
    carry = (layers, optimizer.init(layers))
    random = np.random.default_rng(spec.seed)
    for _ in range(epochs):
        order = random.permutation(len(inputs))[: steps * batch_rows].reshape(steps, batch_rows)
        carry = epoch(carry, jnp.asarray(order), rows, wanted)
    return carry[0]


def to_onnx(scaling: Scaling, layers: Layers, output: str) -> onnx.ModelProto:
    """The scaling and the network as one graph from raw features to probabilities."""
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, inputs: list[str], result: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [result], **attributes))
        return result

    missing = add("IsNaN", [onnx_model.INPUT], "missing")
    values = onnx_model.INPUT
    if scaling.logarithm:
        size = add("Abs", [values], "size")
        grown = add("Add", [size, constant("one", np.float32(1))], "grown")
        values = add("Mul", [add("Sign", [values], "sign"), add("Log", [grown], "log")], "values")
    mean = constant("mean", scaling.mean)
    filled = add("Where", [missing, mean, values], "filled")
    centred = add("Sub", [filled, mean], "centred")
    scores = add("Div", [centred, constant("deviation", scaling.deviation)], "scores")
    cuts = [constant("low", np.float32(-CUT)), constant("high", np.float32(CUT))]
    current = add("Clip", [scores, *cuts], "cut")
    if len(scaling.indicated) > 0:
        flags = add("Cast", [missing], "flags", to=onnx.TensorProto.FLOAT)
        indicated = constant("indicated", scaling.indicated.astype(np.int64))
        indicators = add("Gather", [flags, indicated], "indicators", axis=1)
        current = add("Concat", [current, indicators], "inputs", axis=1)
    for index, (weights, bias) in enumerate(layers):
        parts = [constant(f"weights{index}", np.asarray(weights)), constant(f"bias{index}", np.asarray(bias))]
        current = add("Gemm", [current, *parts], f"layer{index}")
        if index < len(layers) - 1:
            current = add("Relu", [current], f"active{index}")
    flat = add("Reshape", [current, constant("flat", np.array([-1], dtype=np.int64))], "logit")
    add("Sigmoid", [flat], output)
    return onnx_model.make_model(nodes, initializers, len(scaling.mean), output)


def train(spec: Spec, out: Path) -> None:
    """Writes model.onnx and its records. The label is 0 or 1."""
    spec.check_parameters(
        {"layers", "epochs", "batchRows", "learningRate", "weightDecay", "logarithm", "labelTime"}
    )
    data = read_training_set(spec, label_time=spec.parameter("labelTime", None))
    for split in (data.train, data.test):
        if set(np.unique(split.label)) != {0.0, 1.0}:
            raise SpecError(f"model {spec.model}: both splits need labels 0 and 1")

    scaling = Scaling.fit(data.train.features, bool(spec.parameter("logarithm", True)))
    layers = fit(scaling.apply(data.train.features), data.train.label, spec)
    score = jax.jit(lambda inputs: jax.nn.sigmoid(forward(layers, inputs)))
    train_scores = np.asarray(score(scaling.apply(data.train.features)))
    test_scores = np.asarray(score(scaling.apply(data.test.features)))
    write_records(
        out,
        spec,
        "mlp",
        to_onnx(scaling, layers, spec.output),
        data,
        train_scores,
        test_scores,
        classification(data.test.label, test_scores),
        ["jax", "jaxlib", "optax", "scikit-learn"],
    )
