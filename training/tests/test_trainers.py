"""Each trainer, whole: from a specification to the files."""

import json

import numpy as np
import onnx
import pytest
from samples import FEATURES, SECOND_US, sample_spec, write_spec

from weft_training import onnx_model
from weft_training.__main__ import main
from weft_training.spec import SpecError
from weft_training.training_set import read_training_set

CASES = {
    "lightgbm_classifier": ("probability", {"trees": 20, "leaves": 7, "labelTime": "label_time"}),
    "lightgbm_ranker": ("score", {"trees": 20, "leaves": 7, "group": "query"}),
    "mlp": ("probability", {"layers": [8], "epochs": 20, "batchRows": 64, "learningRate": 0.01}),
}


@pytest.mark.parametrize("trainer", CASES)
def test_writes_the_model_and_its_records(tmp_path, trainer):
    output, parameters = CASES[trainer]
    spec_file = write_spec(tmp_path, output, **parameters)
    out = tmp_path / "out"
    assert main([trainer, "--spec", str(spec_file), "--out", str(out)]) == 0

    records = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
    assert sorted(records) == ["lineage", "metrics", "reference", "signature"]
    assert records["signature"] == {
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, len(FEATURES)]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": [-1]}],
    }
    metrics = records["metrics"]["metrics"]
    assert metrics["onnx_max_abs_diff"] <= 1e-5
    assert metrics["ndcg_at_10" if trainer == "lightgbm_ranker" else "auc"] > 0.6
    assert records["lineage"]["trainer"] == trainer
    assert "onnxruntime" in records["lineage"]["libraries"]

    reference = records["reference"]
    assert reference["rows"] == records["lineage"]["training_rows"]
    assert list(reference["features"]) == sorted(FEATURES)
    assert reference["features"]["never_there:x"] == {"edges": [], "shares": [0.0], "missing_ratio": 1.0}
    assert 0.2 < reference["features"]["terminal:rate"]["missing_ratio"] < 0.4
    for bins in [*reference["features"].values(), reference["scores"]]:
        assert len(bins["shares"]) == len(bins["edges"]) + 1 <= 10
        assert bins["edges"] == sorted(set(bins["edges"]))
        assert sum(bins["shares"]) == pytest.approx(1 if bins["edges"] else 0)

    domains = {opset.domain for opset in onnx.load(out / "model.onnx").opset_import}
    assert domains <= {"", "ai.onnx.ml"}
    spec = sample_spec(tmp_path, output)
    rows = read_training_set(spec).test.features
    together = onnx_model.run(out / "model.onnx", output, rows[:32])
    one_by_one = [onnx_model.run(out / "model.onnx", output, rows[i : i + 1])[0] for i in range(32)]
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)


@pytest.mark.parametrize("trainer", CASES)
def test_the_same_specification_gives_the_same_bytes(tmp_path, trainer):
    output, parameters = CASES[trainer]
    spec_file = write_spec(tmp_path, output, **parameters)
    for name in ["first", "second"]:
        assert main([trainer, "--spec", str(spec_file), "--out", str(tmp_path / name)]) == 0
    for file in ["model.onnx", "metrics.json", "reference.json"]:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


def test_the_test_split_is_later_and_training_ends_where_all_labels_were_known(tmp_path):
    spec = sample_spec(tmp_path, "probability")
    plain = read_training_set(spec)
    late = read_training_set(spec, label_time="label_time")
    assert plain.train.event_time_us.max() < spec.test_from_us <= plain.test.event_time_us.min()
    assert late.train.event_time_us.max() <= spec.test_from_us - 3600 * SECOND_US
    assert 0 < late.train.rows < plain.train.rows
    assert late.test.rows == plain.test.rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": []}, "features"),
        ({"features": ["nowhere:x"]}, "nowhere:x"),
        ({"test_from_us": "soon"}, "test_from_us"),
        ({"test_from_us": "1"}, "0 rows to train"),
        ({"train_file": "/nowhere.parquet"}, "nowhere"),
        ({"parameters": {"treees": 3}}, "treees"),
        ({"parameters": {"trees": 0}}, "trees"),
    ],
)
def test_says_what_is_wrong_with_a_specification(tmp_path, capsys, change, message):
    spec_file = write_spec(tmp_path, "probability")
    spec_file.write_text(json.dumps(json.loads(spec_file.read_text()) | change))
    assert main(["lightgbm_classifier", "--spec", str(spec_file), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


def test_a_column_that_the_training_set_lacks(tmp_path):
    with pytest.raises(SpecError, match="no columns"):
        read_training_set(sample_spec(tmp_path, "probability"), extra=["nothing"])


def test_a_model_that_answers_otherwise_fails(tmp_path):
    output, parameters = CASES["lightgbm_classifier"]
    assert main(["lightgbm_classifier", "--spec", str(write_spec(tmp_path, output)), "--out", str(tmp_path)]) == 0
    rows = read_training_set(sample_spec(tmp_path, output)).test.features
    answers = onnx_model.run(tmp_path / "model.onnx", output, rows)
    assert onnx_model.check_equal(tmp_path / "model.onnx", output, rows, answers) == 0
    answers[3] += 1e-3
    with pytest.raises(onnx_model.OnnxMismatch):
        onnx_model.check_equal(tmp_path / "model.onnx", output, rows, answers)
    answers[3] = np.nan
    with pytest.raises(onnx_model.OnnxMismatch):
        onnx_model.check_equal(tmp_path / "model.onnx", output, rows, answers)
