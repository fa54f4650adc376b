"""Replays a recommender's pipeline on requests that training never saw, beside what needs no model.

For each request: the user tower embeds the user as of the request, the nearest items that the user has not rated are the
candidates, the ranker orders them. Items are embedded once, as of the first request, as an index built then would hold
them. Requests begin after the test split of every training set does, and a label horizon later, so that no label that a
model learned from lies behind them.

Baselines have the same cut: what was known at the request's time. `popularity`: items liked most, over all time or in
the last 30 days. `item-kNN`: summed cosine between items by the users who rated (or liked) both. Of each baseline all
variants are reported; comparisons are with the best one, chosen on the test itself, in its favour.

Relevant is what the user liked (rating of 4 or 5) later on. All measures are means over users, one request each.
Intervals: percentiles of 2,000 bootstrap samples of the users; differences are paired, by user.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow.parquet as pq

from weft_training.onnx_model import INPUT
from weft_training.records import write_json
from weft_training.spec import SpecError

SAMPLES = 2000
TOP = 10


@dataclass(frozen=True)
class EvaluationSpec:
    """What to replay."""

    scenario: str
    training_sets: dict[str, dict[str, str]]
    models: dict[str, Path]
    features: dict[str, list[str]]
    sources: Path
    parameters: dict[str, Any]
    seed: int


def read_spec(path: Path) -> EvaluationSpec:
    """Reads the specification. Raises SpecError that names what is missing."""
    try:
        raw = json.loads(path.read_text())
        return EvaluationSpec(
            raw["scenario"],
            raw["training_sets"],
            {name: Path(folder) for name, folder in raw["models"].items()},
            raw["features"],
            Path(raw["sources_directory"]),
            raw["parameters"],
            int(raw["seed"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise SpecError(f"{path}: {error!r}") from error


class Model:
    """A model of the scenario, read from its file."""

    def __init__(self, spec: EvaluationSpec, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.features = spec.features[name]
        self._session = onnxruntime.InferenceSession(
            spec.models[name] / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: np.ascontiguousarray(rows)})[0]


class Requests:
    """The requests, each a run of rows with every item that the user had not rated."""

    def __init__(self, path: Path, from_us: int) -> None:
        self.path = path
        keys = pq.read_table(path, columns=["event_time", "label", "group_id", "user_id", "item_id"]).to_pandas()
        self._order = np.lexsort((keys.item_id, keys.group_id))
        keys = keys.iloc[self._order].reset_index(drop=True)
        starts = np.flatnonzero(np.append(True, np.diff(keys.group_id) != 0))
        ends = np.append(starts[1:], len(keys))
        self.keys = keys
        self.runs = [(s, e) for s, e in zip(starts, ends, strict=True) if keys.event_time.iloc[s] >= from_us]
        if not self.runs:
            raise SpecError(f"{path}: no request at or after {from_us}")

    def rows(self, features: list[str]) -> np.ndarray:
        """float32[rows, features] of all rows."""
        out = np.empty((len(self.keys), len(features)), dtype=np.float32)
        for index, name in enumerate(features):
            out[:, index] = pq.read_table(self.path, columns=[name])[name].to_numpy(zero_copy_only=False)[self._order]
        return out


class Known:
    """Ratings up to a moment that only moves on, and what the baselines make of them."""

    def __init__(self, path: Path) -> None:
        table = pd.read_csv(path, usecols=["event_time", "user_id", "item_id", "rating"])
        table = table.sort_values("event_time", kind="stable")
        self._time = table.event_time.to_numpy()
        self._user, self._item = table.user_id.to_numpy(), table.item_id.to_numpy()
        self._liked = table.rating.to_numpy() >= 4
        size = int(self._item.max()) + 1
        self._pairs = {kind: np.zeros((size, size), dtype=np.float32) for kind in ("rated", "liked")}
        self._history: dict[int, dict[str, list[int]]] = {}
        self._read = 0
        self._size = size

    def advance(self, to_us: int) -> None:
        """Takes in the ratings before a moment."""
        end = int(np.searchsorted(self._time, to_us))
        for row in range(self._read, end):
            item = self._item[row]
            history = self._history.setdefault(int(self._user[row]), {"rated": [], "liked": []})
            for kind in ("rated", "liked") if self._liked[row] else ("rated",):
                others = history[kind]
                pairs = self._pairs[kind]
                pairs[item, others] += 1
                pairs[others, item] += 1
                pairs[item, item] += 1
                others.append(item)
        self._read = end

    def popular(self, now_us: int, liked: bool, days: int | None) -> np.ndarray:
        """Ratings by item."""
        start = 0 if days is None else int(np.searchsorted(self._time, now_us - days * 86_400_000_000))
        part = slice(start, self._read)
        items = self._item[part][self._liked[part]] if liked else self._item[part]
        return np.bincount(items, minlength=self._size).astype(np.float64)

    def neighbors(self, user: int, kind: str, nearest: int | None, shrinkage: float) -> np.ndarray:
        """Summed similarity to the user's history by item; `nearest`: only so many neighbors of each item count."""
        history = self._history.get(user, {"rated": [], "liked": []})[kind]
        if not history:
            return np.zeros(self._size)
        pairs = self._pairs[kind]
        length = np.sqrt(np.maximum(pairs.diagonal(), 1))
        common = pairs[history]
        similarity = common / length[history][:, None] / length[None, :]
        if shrinkage > 0:
            similarity = similarity * (common / (common + shrinkage))
        if nearest is not None:
            least = -np.partition(-similarity, nearest, axis=1)[:, nearest][:, None]
            similarity = np.where(similarity >= least, similarity, 0)
        return similarity.sum(0)


BASELINES = {
    "popularity (liked, all time)": ("popular", True, None),
    "popularity (liked, 30 days)": ("popular", True, 30),
    "popularity (rated, all time)": ("popular", False, None),
    "popularity (rated, 30 days)": ("popular", False, 30),
    "item-kNN (rated)": ("neighbors", "rated", None, 0.0),
    "item-kNN (rated, 50 nearest)": ("neighbors", "rated", 50, 0.0),
    "item-kNN (liked)": ("neighbors", "liked", None, 0.0),
    "item-kNN (liked, shrunk)": ("neighbors", "liked", None, 10.0),
    "item-kNN (liked, 50 nearest)": ("neighbors", "liked", 50, 0.0),
}


def measure(order: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float]:
    """NDCG@10, recall@100 and reciprocal rank of a list of candidates, against all relevant items of the request."""
    hits = relevant[order]
    total = int(relevant.sum())
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    top = hits[:TOP]
    ndcg = float((top * discount[: len(top)]).sum() / discount[: min(TOP, total)].sum())
    found = np.flatnonzero(hits)
    return ndcg, float(hits[:100].sum()) / total, 1.0 / (found[0] + 1) if len(found) else 0.0


def train(spec: EvaluationSpec, out: Path) -> None:
    """Writes report.json and REPORT.md."""
    names = spec.parameters
    candidates = int(names["candidates"])
    sets = {k: v for k, v in spec.training_sets.items() if k != names["requests"]}
    from_us = max(int(s["test_from_us"]) for s in sets.values()) + int(names["labelHorizonUs"])
    requests = Requests(Path(spec.training_sets[names["requests"]]["train_file"]), from_us)
    user_tower, item_tower, ranker = (Model(spec, names[k]) for k in ("userTower", "itemTower", "ranker"))
    user_rows, item_rows = requests.rows(user_tower.features), requests.rows(item_tower.features)
    ranker_rows = requests.rows(ranker.features)
    keys = requests.keys
    items, labels, times = keys.item_id.to_numpy(), keys.label.to_numpy(), keys.event_time.to_numpy()

    # The index: each item as of the first request that has it.
    first: dict[int, int] = {}
    for start, end in requests.runs:
        for row in range(start, end):
            first.setdefault(int(items[row]), row)
    index = np.zeros((int(items.max()) + 1, item_tower(item_rows[:1]).shape[1]), dtype=np.float32)
    index[list(first)] = item_tower(item_rows[list(first.values())])

    known = Known(spec.sources / names["ratings"])
    lists: dict[str, list[tuple[float, float, float]]] = {}
    shown: dict[str, set[int]] = {}
    users = []
    for start, end in requests.runs:
        known.advance(int(times[start]))
        relevant = labels[start:end] >= 4
        if not relevant.any():
            continue
        user, own = int(keys.user_id.iloc[start]), items[start:end]
        users.append(user)
        near = index[own] @ user_tower(user_rows[start : start + 1])[0]
        retrieved = np.argsort(-near, kind="stable")[:candidates]
        scores = ranker(ranker_rows[start:end][retrieved]).reshape(-1)
        orders = {
            "pipeline": retrieved[np.argsort(-scores, kind="stable")],
            "retrieval alone (no ranker)": retrieved,
            "ranker alone (over all items)": np.argsort(
                -ranker(ranker_rows[start:end]).reshape(-1), kind="stable"
            ),
        }
        for name, (kind, *arguments) in BASELINES.items():
            score = (
                known.popular(int(times[start]), *arguments)
                if kind == "popular"
                else known.neighbors(user, *arguments)
            )
            orders[name] = np.argsort(-score[own], kind="stable")
        for name, order in orders.items():
            lists.setdefault(name, []).append(measure(order, relevant))
            shown.setdefault(name, set()).update(own[order[:TOP]].tolist())

    random = np.random.default_rng(spec.seed)
    samples = random.integers(0, len(users), (SAMPLES, len(users)))
    results = {}
    for name, values in lists.items():
        table = np.array(values)
        means = table[samples].mean(1)
        results[name] = {
            **{
                measure_name: {
                    "mean": float(table[:, column].mean()),
                    "low": float(np.quantile(means[:, column], 0.025)),
                    "high": float(np.quantile(means[:, column], 0.975)),
                }
                for column, measure_name in enumerate(("ndcg_at_10", "recall_at_100", "mrr"))
            },
            "coverage": len(shown[name]) / len(first),
        }

    def difference(other: str) -> dict[str, Any]:
        table = np.array(lists["pipeline"])[:, 0] - np.array(lists[other])[:, 0]
        means = table[samples].mean(1)
        return {
            "than": other,
            "mean": float(table.mean()),
            "low": float(np.quantile(means, 0.025)),
            "high": float(np.quantile(means, 0.975)),
        }

    def best(prefix: str) -> str:
        return max((n for n in results if n.startswith(prefix)), key=lambda n: results[n]["ndcg_at_10"]["mean"])

    comparisons = [difference(best(prefix)) for prefix in ("popularity", "item-kNN")]
    report = {
        "scenario": spec.scenario,
        "users": len(users),
        "items": len(first),
        "from_us": from_us,
        "to_us": int(times[requests.runs[-1][0]]),
        "results": results,
        "ndcg_at_10_of_pipeline_is_higher_by": comparisons,
    }
    write_json(out / "report.json", report)
    (out / "REPORT.md").write_text(render(report))


def verdict(results: dict[str, Any], comparison: dict[str, Any]) -> str:
    """What a comparison says, in words no stronger than it is."""
    other, own = comparison["than"], results["pipeline"]["ndcg_at_10"]
    mean, low, high = comparison["mean"], comparison["low"], comparison["high"]
    share = 100 * mean / results[other]["ndcg_at_10"]["mean"]
    span = f"{mean:+.4f} ({share:+.0f}%), 95% interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        clear = own["low"] > results[other]["ndcg_at_10"]["high"]
        tail = (
            "The two intervals of the means do not overlap either."
            if clear
            else "The intervals of the two means overlap; the difference is shown by pairing users."
        )
        return f"The pipeline beats {other}: {span}. {tail}"
    if high < 0:
        return f"The pipeline is worse than {other}: {span}."
    return f"The pipeline and {other} cannot be told apart: {span}."


def render(report: dict[str, Any]) -> str:
    """REPORT.md."""
    results = report["results"]
    day = lambda us: pd.Timestamp(us, unit="us").strftime("%Y-%m-%d")
    lines = [
        f"# Offline evaluation: {report['scenario']}",
        "",
        f"{report['users']} users active from {day(report['from_us'])} to {day(report['to_us'])}, one request each, at "
        f"the first moment there by which enough of their ratings are known; {report['items']:,} items. Relevant: what "
        "the user rated 4 or 5 later. Every method knows what was known at the request's time, and leaves out what the "
        "user had rated. Split by time only: training ends before the first request.",
        "",
        "| | NDCG@10 | recall@100 | MRR | coverage of the top 10 |",
        "| --- | --- | --- | --- | --- |",
    ]
    cell = lambda v: f"{v['mean']:.3f} ({v['low']:.3f} to {v['high']:.3f})"
    for name, result in results.items():
        label = f"**{name}**" if name == "pipeline" else name
        columns = [cell(result[k]) for k in ("ndcg_at_10", "recall_at_100", "mrr")]
        lines.append(f"| {label} | {' | '.join(columns)} | {100 * result['coverage']:.1f}% |")
    lines += [
        "",
        "In brackets: 95% bootstrap intervals over users.",
        "",
        "## What beats what",
        "",
        *[f"- {verdict(results, comparison)}" for comparison in report["ndcg_at_10_of_pipeline_is_higher_by"]],
        "",
        "Differences are of NDCG@10, paired by user, with the variant of each baseline that does best on this very test.",
        "",
        "## How it is measured",
        "",
        "- The index holds items as they were at the first request, as one built at a release would; user features are "
        "as of each request.",
        "- A request brings its user's later likes only; a good film that nobody rated counts as a miss, for every method.",
        "- One data set of one site in one spring: the figures say which method does better here, not what a live test "
        "would show.",
        "",
    ]
    return "\n".join(lines)
