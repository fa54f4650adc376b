"""Small training sets for the tests."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weft_training.spec import Spec, read_spec

FEATURES = ["card_velocity:count_1h", "request:amount", "never_there:x", "terminal:rate"]
SECOND_US = 1_000_000


def write_sample(folder: Path, seed: int = 7, rows: int = 2000, groups: int = 60) -> Path:
    """A training set whose label depends on the features, with missing values, a long tail and late labels."""
    random = np.random.default_rng(seed)
    count = random.poisson(2, rows).astype(np.float32)
    amount = random.lognormal(3, 1.5, rows).astype(np.float32)
    rate = random.random(rows).astype(np.float32)
    rate[random.random(rows) < 0.3] = np.nan
    logit = 0.8 * count + 0.6 * np.log(amount) + np.where(np.isnan(rate), 1.5, rate) - 5
    label = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    time = (1_700_000_000 + np.sort(random.integers(0, 86_400, rows))) * SECOND_US
    table = pa.table(
        {
            "event_time": pa.array(time, pa.int64()),
            "label": label,
            FEATURES[0]: count,
            FEATURES[1]: amount,
            FEATURES[2]: pa.nulls(rows, pa.float32()),
            FEATURES[3]: pa.array(rate, from_pandas=False),
            "query": random.integers(0, groups, rows),
            "label_time": pa.array(time + 3600 * SECOND_US, pa.int64()),
        }
    )
    path = folder / "train.parquet"
    pq.write_table(table, path)
    return path


def write_spec(folder: Path, output: str, **parameters: object) -> Path:
    """The specification of a model on that training set; the last quarter of the day is the test split."""
    path = folder / "spec.json"
    path.write_text(
        json.dumps(
            {
                "scenario": "sample",
                "model": "sample_model",
                "features": FEATURES,
                "output": output,
                "train_file": str(write_sample(folder)),
                "content_hash": "0" * 64,
                "test_from_us": str((1_700_000_000 + 64_800) * SECOND_US),
                "parameters": parameters,
                "seed": 1,
            }
        )
    )
    return path


def sample_spec(folder: Path, output: str, **parameters: object) -> Spec:
    return read_spec(write_spec(folder, output, **parameters))
