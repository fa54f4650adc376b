"""Two towers in JAX: embeddings of users and of items whose cosine says how likely the user is to want the item.

One training makes both. Each of the two models names the same parameters, and with `tower` the one that it takes; the
seed and the rows are the same, so the second run makes what the first one made.

The rows are positives (label 1) and, beside each, an item drawn at random (label 0), both as known at the event. Batches
are cut along time. A user is told apart from all items of its batch, positives and drawn ones, by a sampled softmax; an
item's logit is corrected by the logarithm of how often it is met, since popular items come up as another's positive more
often. Items that the same user has in the batch are no negatives.

Columns become inputs by name: the last part of `<transform>:<list>_<n>` with equal `<list>` are item keys of a history,
looked up and averaged; the column `itemKey` of the item tower is looked up too, and left out at random in training, so
that the others must do for an item with few ratings; the rest are scaled as in mlp. Keys beyond those trained on share a
row.

Parameters: `tower` (user or item), `group`, `user`, `item`, `rating` (extra columns), `userFeatures`, `itemFeatures`
(references of the towers, in order), `itemKey` (reference), `histories` (prefixes of references), `dimension` (32),
`hidden` (64), `epochs` (10), `batchRows` (512 positives), `learningRate` (0.002), `weightDecay` (0.0001), `temperature`
(0.1), `keyDropout` (0.2), `likedFrom` (4), `otherWeight` (0.3: weight of positives rated below likedFrom).
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
from weft_training.records import library_versions, write_json
from weft_training.reference import reference_statistics
from weft_training.spec import Spec, SpecError
from weft_training.training_set import Split, read_training_set
from weft_training.trainers.mlp import Scaling

PARAMETERS = {
    "tower", "group", "user", "item", "rating", "userFeatures", "itemFeatures", "itemKey", "histories", "dimension",
    "hidden", "epochs", "batchRows", "learningRate", "weightDecay", "temperature", "keyDropout", "likedFrom",
    "otherWeight",
}  # fmt: skip
SEEN_TOGETHER = -1e9

Weights = dict[str, jax.Array]


@dataclass(frozen=True)
class Columns:
    """Where a tower finds what among its features."""

    names: tuple[str, ...]
    lists: tuple[tuple[int, ...], ...]
    """Columns of item keys, one tuple a history; an item tower has one of one column."""
    dense: tuple[int, ...]

    @staticmethod
    def of(names: tuple[str, ...], prefixes: list[str]) -> Columns:
        lists = tuple(tuple(i for i, n in enumerate(names) if n.startswith(p)) for p in prefixes)
        if not all(lists):
            raise SpecError(f"no feature begins with one of {prefixes}")
        taken = {column for columns in lists for column in columns}
        return Columns(names, lists, tuple(i for i in range(len(names)) if i not in taken))


@dataclass(frozen=True)
class Tower:
    """One tower after training; all of it goes into the ONNX graph."""

    columns: Columns
    scaling: Scaling
    rows: int
    """Rows of the key table: 0 for an absent key, 1 to rows - 2 for the keys, the last for any other."""

    def keys(self, features: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
        """int32[rows, columns] of float32 keys."""
        raw = np.nan_to_num(features[:, columns], nan=0.0)
        return np.where((raw >= 0) & (raw < self.rows - 1), raw, self.rows - 1).astype(np.int32)

    def inputs(self, features: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Keys of each list, and float32[rows, width] of the rest."""
        return [self.keys(features, c) for c in self.columns.lists], self.scaling.apply(features[:, self.columns.dense])


def embed(weights: Weights, prefix: str, keys: list[jax.Array], dense: jax.Array) -> jax.Array:
    """float32[rows, dimension], unit length."""
    parts = []
    for number, list_keys in enumerate(keys):
        table = weights[f"{prefix}.table{number}"]
        there = (list_keys > 0).astype(jnp.float32)[:, :, None]
        parts.append((table[list_keys] * there).sum(1) / jnp.sqrt(there.sum(1) + 1.0))
    hidden = jax.nn.relu(jnp.concatenate([*parts, dense], 1) @ weights[f"{prefix}.w0"] + weights[f"{prefix}.b0"])
    out = hidden @ weights[f"{prefix}.w1"] + weights[f"{prefix}.b1"] + sum(parts)
    return out / jnp.sqrt((out * out).sum(1, keepdims=True) + 1e-6)


def initial(spec: Spec, prefix: str, tower: Tower, key: jax.Array) -> Weights:
    dimension, hidden = int(spec.parameter("dimension", 32)), int(spec.parameter("hidden", 64))
    lists = len(tower.columns.lists)
    width = lists * dimension + tower.scaling.width
    keys = jax.random.split(key, lists + 2)
    return {
        **{f"{prefix}.table{n}": 0.1 * jax.random.normal(keys[n], (tower.rows, dimension)) for n in range(lists)},
        f"{prefix}.w0": jax.random.normal(keys[-2], (width, hidden)) * np.sqrt(2 / width),
        f"{prefix}.b0": jnp.zeros(hidden),
        f"{prefix}.w1": jax.random.normal(keys[-1], (hidden, dimension)) * np.sqrt(1 / hidden),
        f"{prefix}.b1": jnp.zeros(dimension),
    }


def fit(spec: Spec, user: Tower, item: Tower, split: Split, columns: tuple[slice, slice]) -> Weights:
    """Trains both towers with AdamW; the order of the batches is drawn from the seed."""
    group, label = split.extra[str(spec.parameter("group", "group_id"))], split.label
    positive = np.flatnonzero(label == 1)
    drawn = np.flatnonzero(label != 1)
    drawn = drawn[np.argsort(group[drawn], kind="stable")]
    if len(drawn) != len(positive) or (np.sort(group[positive]) != group[drawn]).any():
        raise SpecError(f"model {spec.model}: every positive needs one drawn item of the same group beside it")
    drawn = drawn[np.searchsorted(group[drawn], group[positive])]
    items = split.extra[str(spec.parameter("item", "item_id"))]
    users = split.extra[str(spec.parameter("user", "user_id"))]
    liked = split.extra[str(spec.parameter("rating", "rating"))][positive] >= float(spec.parameter("likedFrom", 4))
    weight = np.where(liked, 1.0, float(spec.parameter("otherWeight", 0.3))).astype(np.float32)

    met = np.bincount(items[positive], minlength=items.max() + 1) / len(positive)
    chance = np.log(0.5 * met + 0.5 / max(len(np.unique(items)), 1)).astype(np.float32)

    batch_rows = min(int(spec.parameter("batchRows", 512)), len(positive))
    epochs, batches = int(spec.parameter("epochs", 10)), len(positive) // batch_rows
    temperature = float(spec.parameter("temperature", 0.1))
    dropout = float(spec.parameter("keyDropout", 0.2))
    user_keys, user_dense = user.inputs(split.features[positive][:, columns[0]])
    pair = np.stack([positive, drawn], 1)
    item_keys, item_dense = item.inputs(split.features[pair.ravel()][:, columns[1]])
    data = {
        "uk": [jnp.asarray(k) for k in user_keys],
        "ud": jnp.asarray(user_dense),
        "ik": jnp.asarray(item_keys[0].reshape(len(positive), 2)),
        "id": jnp.asarray(item_dense.reshape(len(positive), 2, -1)),
        "item": jnp.asarray(items[pair].astype(np.int32)),
        "user": jnp.asarray(users[positive].astype(np.int32)),
        "weight": jnp.asarray(weight),
        "chance": jnp.asarray(chance[items[pair]]),
    }
    key_user, key_item = jax.random.split(jax.random.key(spec.seed))
    weights = {**initial(spec, "user", user, key_user), **initial(spec, "item", item, key_item)}
    schedule = optax.cosine_decay_schedule(float(spec.parameter("learningRate", 0.002)), epochs * batches)
    optimizer = optax.adamw(schedule, weight_decay=float(spec.parameter("weightDecay", 1e-4)))

    def loss(weights: Weights, rows: jax.Array, key: jax.Array) -> jax.Array:
        queries = embed(weights, "user", [k[rows] for k in data["uk"]], data["ud"][rows])
        flat = lambda name: jnp.swapaxes(data[name][rows], 0, 1).reshape((2 * batch_rows, *data[name].shape[2:]))
        keys = flat("ik")
        keys = jnp.where(jax.random.uniform(key, keys.shape) < dropout, item.rows - 1, keys)
        candidates = embed(weights, "item", [keys[:, None]], flat("id"))
        logits = queries @ candidates.T / temperature - flat("chance")[None, :]
        who, what = data["user"][rows], flat("item")
        # The first half of the candidates are the positives; a user's other ones, and the same item again, are no negatives.
        own = (who[:, None] == who[None, :]) & ~jnp.eye(batch_rows, dtype=bool)
        own = jnp.concatenate([own, jnp.zeros_like(own)], 1) | (
            (what[:batch_rows, None] == what[None, :]) & ~jnp.eye(batch_rows, 2 * batch_rows, dtype=bool)
        )
        logits = jnp.where(own, SEEN_TOGETHER, logits)
        each = jax.nn.logsumexp(logits, 1) - jnp.diagonal(logits)
        return (each * data["weight"][rows]).sum() / data["weight"][rows].sum()

    @jax.jit
    def epoch(carry: tuple, order: jax.Array, keys: jax.Array) -> tuple:
        def step(carry: tuple, batch: tuple) -> tuple:
            weights, state = carry
            gradient = jax.grad(loss)(weights, *batch)
            updates, state = optimizer.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        return jax.lax.scan(step, carry, (order, keys))[0]

    random = np.random.default_rng(spec.seed)
    carry = (weights, optimizer.init(weights))
    for number in range(epochs):
        # Neighbors in time share a batch, in blocks mixed anew each epoch, so that items are compared as of about one time.
        offset = int(random.integers(0, len(positive) - batches * batch_rows + 1))
        wide = 4 * batch_rows
        rows = np.arange(offset, offset + batches * batch_rows)
        rows = np.concatenate([random.permutation(rows[s : s + wide]) for s in range(0, len(rows), wide)])
        order = random.permutation(rows.reshape(batches, batch_rows), axis=0)
        keys = jax.random.split(jax.random.key(spec.seed * 1000 + number), batches)
        carry = epoch(carry, jnp.asarray(order), keys)
    return carry[0]


def to_onnx(tower: Tower, weights: Weights, prefix: str, output: str) -> onnx.ModelProto:
    """A graph from raw features to embeddings."""
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(operator: str, inputs: list[str], result: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [result], **attributes))
        return result

    scaling, columns = tower.scaling, tower.columns
    zero, one = constant("zero", np.float32(0)), constant("one", np.float32(1))
    missing = add("IsNaN", [onnx_model.INPUT], "missing")
    axis = constant("axis", np.array([1], dtype=np.int64))
    parts = []
    for number, list_columns in enumerate(columns.lists):
        n = str(number)
        own = constant(f"columns{n}", np.array(list_columns, dtype=np.int64))
        raw = add("Gather", [onnx_model.INPUT, own], f"raw{n}", axis=1)
        absent = add("Gather", [missing, own], f"absent{n}", axis=1)
        filled = add("Where", [absent, zero, raw], f"filled{n}")
        last = constant(f"last{n}", np.float32(tower.rows - 1))
        known = add(
            "And",
            [add("GreaterOrEqual", [filled, zero], f"least{n}"), add("Less", [filled, last], f"below{n}")],
            f"known{n}",
        )
        keys = add("Cast", [add("Where", [known, filled, last], f"clipped{n}")], f"keys{n}", to=onnx.TensorProto.INT64)
        there = add("Cast", [add("Greater", [keys, constant(f"none{n}", np.int64(0))], f"positive{n}")], f"there{n}",
                    to=onnx.TensorProto.FLOAT)  # fmt: skip
        table = constant(f"table{n}", np.asarray(weights[f"{prefix}.table{number}"]))
        looked = add("Gather", [table, keys], f"looked{n}", axis=0)
        mask = add("Unsqueeze", [there, constant(f"last_axis{n}", np.array([2], dtype=np.int64))], f"mask{n}")
        total = add("ReduceSum", [add("Mul", [looked, mask], f"masked{n}"), axis], f"sum{n}", keepdims=0)
        count = add("ReduceSum", [there, axis], f"count{n}", keepdims=1)
        length = add("Sqrt", [add("Add", [count, one], f"grown{n}")], f"length{n}")
        parts.append(add("Div", [total, length], f"part{n}"))

    dense = constant("dense", np.array(columns.dense, dtype=np.int64))
    values = add("Gather", [onnx_model.INPUT, dense], "values", axis=1)
    gone = add("Gather", [missing, dense], "gone", axis=1)
    mean = constant("mean", scaling.mean)
    centred = add("Sub", [add("Where", [gone, mean, values], "whole"), mean], "centred")
    scores = add("Div", [centred, constant("deviation", scaling.deviation)], "scores")
    cut = add("Clip", [scores, constant("low", np.float32(-8)), constant("high", np.float32(8))], "cut")
    inputs = [*parts, cut]
    if len(scaling.indicated) > 0:
        flags = add("Cast", [gone], "flags", to=onnx.TensorProto.FLOAT)
        inputs.append(add("Gather", [flags, constant("indicated", scaling.indicated.astype(np.int64))], "indicators",
                          axis=1))  # fmt: skip
    current = add("Concat", inputs, "inputs", axis=1)
    for layer in (0, 1):
        pair = [constant(f"{kind}{layer}", np.asarray(weights[f"{prefix}.{kind}{layer}"])) for kind in ("w", "b")]
        current = add("Gemm", [current, *pair], f"layer{layer}")
        if layer == 0:
            current = add("Relu", [current], "active")
    for number, part in enumerate(parts):
        current = add("Add", [current, part], f"joined{number}")
    square = add("ReduceSum", [add("Mul", [current, current], "square"), axis], "squares", keepdims=1)
    norm = add("Sqrt", [add("Add", [square, constant("least", np.float32(1e-6))], "above")], "norm")
    add("Div", [current, norm], output)
    dimension = int(np.asarray(weights[f"{prefix}.b1"]).shape[0])
    return onnx_model.make_model(nodes, initializers, len(columns.names), output, (None, dimension))


def train(spec: Spec, out: Path) -> None:
    """Writes model.onnx of the tower and its records."""
    spec.check_parameters(PARAMETERS)
    name = spec.parameter("tower", None)
    if name not in ("user", "item"):
        raise SpecError(f"model {spec.model}: parameter 'tower' is {name!r}, not user or item")
    features = {kind: tuple(spec.parameter(f"{kind}Features", [])) for kind in ("user", "item")}
    if features[name] != spec.features:
        raise SpecError(f"model {spec.model}: its features and parameter '{name}Features' must be the same")
    extra = [str(spec.parameter(kind, kind)) for kind in ("group", "user", "item", "rating")]
    both = Spec(**{**spec.__dict__, "features": features["user"] + features["item"]})
    data = read_training_set(both, extra=extra)
    columns = (slice(0, len(features["user"])), slice(len(features["user"]), None))

    item_key = str(spec.parameter("itemKey", ""))
    split_of = {
        "user": Columns.of(features["user"], list(spec.parameter("histories", []))),
        "item": Columns.of(features["item"], [item_key]),
    }
    largest = int(np.nanmax(data.train.extra[extra[2]]))
    towers: dict[str, Tower] = {}
    for kind, part in zip(("user", "item"), columns, strict=True):
        own = split_of[kind]
        scaling = Scaling.fit(data.train.features[:, part][:, own.dense], False)
        towers[kind] = Tower(own, scaling, largest + 2)
    weights = fit(both, towers["user"], towers["item"], data.train, columns)

    score = {
        kind: jax.jit(lambda keys, dense, kind=kind: embed(weights, kind, keys, dense)) for kind in ("user", "item")
    }

    def answer(kind: str, split: Split) -> np.ndarray:
        rows = split.features[:, columns[0] if kind == "user" else columns[1]]
        return np.concatenate([np.asarray(score[kind](*towers[kind].inputs(rows[s : s + 4096])))
                               for s in range(0, len(rows), 4096)])  # fmt: skip

    path = out / "model.onnx"
    onnx.save(to_onnx(towers[name], weights, name, spec.output), path)
    own = columns[0] if name == "user" else columns[1]
    test = answer(name, data.test)
    difference = onnx_model.check_equal(path, spec.output, data.test.features[:, own], test)
    other = answer("item" if name == "user" else "user", data.test)
    cosine = (test * other).sum(1)
    write_json(
        out / "metrics.json",
        {
            "metrics": {
                "onnx_max_abs_diff": difference,
                "auc": float(_auc(data.test.label == 1, cosine)),
                "test_rows": float(data.test.rows),
            }
        },
    )
    dimension = int(test.shape[1])
    write_json(out / "signature.json", onnx_model.signature(len(spec.features), spec.output, (None, dimension)))
    train_cosine = (answer("user", data.train) * answer("item", data.train)).sum(1)
    write_json(out / "reference.json", reference_statistics(spec.features, data.train.features[:, own], train_cosine))
    write_json(
        out / "lineage.json",
        {
            "libraries": library_versions(["numpy", "onnx", "onnxruntime", "jax", "jaxlib", "optax"]),
            "trainer": "two_tower",
            "training_rows": data.train.rows,
        },
    )


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, score))
