"""The two-tower trainer and what the evaluation of a recommender is made of."""

import json

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weft_training.__main__ import main
from weft_training.trainers import evaluate_recommender as evaluation

USER = ["history:seen_1", "history:seen_2", "person:age"]
ITEM = ["thing:id", "thing:size"]
ITEMS = 20


def write_spec(folder, tower):
    """Users want items of their own parity; the history gives it away. The last fifth is the test split."""
    random = np.random.default_rng(11)
    n = 3000
    user = random.integers(1, 60, n)
    wanted = 2 * random.integers(1, ITEMS // 2, n) + user % 2
    other = random.integers(1, ITEMS, n)
    seen = [2 * random.integers(1, ITEMS // 2, n) + user % 2 for _ in range(2)]
    double = lambda column: np.repeat(column, 2)
    item = np.stack([wanted, other], 1).ravel()
    table = pa.table(
        {
            "event_time": double(np.arange(n) * 1_000_000),
            "label": np.tile([1.0, 0.0], n),
            USER[0]: double(seen[0]).astype(np.float32),
            USER[1]: np.where(double(user) % 3 == 0, np.nan, double(seen[1])).astype(np.float32),
            USER[2]: double(random.random(n)).astype(np.float32),
            ITEM[0]: item.astype(np.float32),
            ITEM[1]: random.random(2 * n).astype(np.float32),
            "group_id": double(np.arange(n)),
            "user_id": double(user),
            "item_id": item,
            "rating": np.tile([5.0, 0.0], n).astype(np.float32),
        }
    )
    pq.write_table(table, folder / "train.parquet")
    spec = {
        "scenario": "sample",
        "model": tower,
        "features": USER if tower == "user" else ITEM,
        "output": "embedding",
        "train_file": str(folder / "train.parquet"),
        "content_hash": "0" * 64,
        "test_from_us": str(int(n * 0.8) * 1_000_000),
        "parameters": {
            "tower": tower,
            "group": "group_id",
            "user": "user_id",
            "item": "item_id",
            "rating": "rating",
            "userFeatures": USER,
            "itemFeatures": ITEM,
            "itemKey": ITEM[0],
            "histories": ["history:seen_"],
            "dimension": 8,
            "hidden": 16,
            "epochs": 15,
            "learningRate": 0.02,
            "batchRows": 128,
        },
        "seed": 1,
    }
    path = folder / f"{tower}.json"
    path.write_text(json.dumps(spec))
    return path


def test_both_towers_come_of_one_training_and_take_any_key(tmp_path):
    metrics = {}
    for tower in ("user", "item"):
        assert main(["two_tower", "--spec", str(write_spec(tmp_path, tower)), "--out", str(tmp_path / tower)]) == 0
        metrics[tower] = json.loads((tmp_path / tower / "metrics.json").read_text())["metrics"]
    assert metrics["user"]["auc"] == metrics["item"]["auc"] > 0.7
    assert max(m["onnx_max_abs_diff"] for m in metrics.values()) <= 1e-5
    for tower, width in (("user", len(USER)), ("item", len(ITEM))):
        session = onnxruntime.InferenceSession(tmp_path / tower / "model.onnx", providers=["CPUExecutionProvider"])
        rows = np.full((3, width), np.nan, dtype=np.float32)
        rows[1] = 1e9
        rows[2] = -5
        answer = session.run(["embedding"], {"features": rows})[0]
        assert answer.shape == (3, 8)
        assert np.linalg.norm(answer, axis=1) == pytest.approx([1, 1, 1], abs=1e-4)


def test_a_tower_must_read_its_own_features(tmp_path):
    path = write_spec(tmp_path, "user")
    spec = json.loads(path.read_text())
    spec["features"] = ITEM
    path.write_text(json.dumps(spec))
    assert main(["two_tower", "--spec", str(path), "--out", str(tmp_path / "out")]) == 1


def test_measures_by_hand():
    relevant = np.array([False, True, False, True])
    ndcg, recall, reciprocal = evaluation.measure(np.array([0, 1, 2]), relevant)
    assert ndcg == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert (recall, reciprocal) == (0.5, 0.5)
    assert evaluation.measure(np.array([0, 2]), relevant) == (0.0, 0.0, 0.0)


def test_baselines_know_only_the_past(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("event_time,user_id,item_id,rating\n10,1,1,5\n11,1,2,5\n20,2,1,4\n30,2,2,4\n")
    known = evaluation.Known(path)
    known.advance(20)
    assert known.popular(20, True, None).tolist() == [0, 1, 1]
    assert known.neighbors(2, "rated", None, 0.0).tolist() == [0, 0, 0]
    known.advance(30)
    scores = known.neighbors(2, "rated", None, 0.0)
    assert scores[2] == pytest.approx(1 / np.sqrt(2))
    assert known.popular(30, False, None).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.03, "beats"), (-0.01, 0.03, "cannot be told apart"), (-0.03, -0.01, "worse")],
)
def test_a_verdict_is_no_stronger_than_its_interval(low, high, words):
    mean = {"mean": 0.2, "low": 0.1, "high": 0.3}
    results = {"pipeline": {"ndcg_at_10": mean}, "popularity": {"ndcg_at_10": mean}}
    text = evaluation.verdict(results, {"than": "popularity", "mean": (low + high) / 2, "low": low, "high": high})
    assert words in text
    if words == "beats":
        assert "overlap" in text
