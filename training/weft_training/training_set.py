"""Reads a point-in-time training set and splits it by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weft_training.spec import Spec, SpecError


@dataclass(frozen=True)
class Split:
    """Rows in event-time order."""

    features: np.ndarray
    """float32[rows, features]; missing = NaN."""
    label: np.ndarray
    """float64[rows]."""
    event_time_us: np.ndarray
    """int64[rows]."""
    extra: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray) -> Split:
        """The rows that an index or a mask names, in its order."""
        return Split(
            self.features[rows],
            self.label[rows],
            self.event_time_us[rows],
            {name: column[rows] for name, column in self.extra.items()},
        )


@dataclass(frozen=True)
class TrainingSet:
    """Training never sees the test split, which is later in time."""

    train: Split
    test: Split


def read_training_set(spec: Spec, extra: Sequence[str] = (), label_time: str | None = None) -> TrainingSet:
    """Reads the columns of the model's features, the label and the named extra columns.

    label_time names an extra column with the time at which each label was known, in microseconds. Labels mature at
    different speeds (a fraud is reported early or late, an honest payment is only presumed so when the time to dispute
    has passed), so keeping the rows that happen to be known would bend the base rate: training ends where, allowing for
    the slowest label, all of them were known when the test split begins.
    """
    wanted = [*extra, *([label_time] if label_time is not None and label_time not in extra else [])]
    columns = ["event_time", "label", *spec.features, *wanted]
    try:
        schema = pq.read_schema(spec.train_file)
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise SpecError(f"{spec.train_file}: no columns {missing}")
        table = pq.read_table(spec.train_file, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{spec.train_file}: {error}") from error

    features = np.empty((table.num_rows, len(spec.features)), dtype=np.float32)
    for index, name in enumerate(spec.features):
        features[:, index] = _floats(table[name], np.float32)
    everything = Split(
        features,
        _floats(table["label"], np.float64),
        table["event_time"].to_numpy().astype(np.int64),
        {name: table[name].to_numpy() for name in wanted},
    )
    if np.isnan(everything.label).any():
        raise SpecError(f"{spec.train_file}: {int(np.isnan(everything.label).sum())} rows have no label")
    everything = everything.take(np.argsort(everything.event_time_us, kind="stable"))

    in_test = everything.event_time_us >= spec.test_from_us
    in_train = ~in_test
    if label_time is not None:
        slowest_us = int((everything.extra[label_time].astype(np.int64) - everything.event_time_us).max(initial=0))
        in_train &= everything.event_time_us + slowest_us <= spec.test_from_us
    if not in_train.any() or not in_test.any():
        raise SpecError(
            f"{spec.train_file}: {int(in_train.sum())} rows to train on and {int(in_test.sum())} to test; "
            f"the test split begins at {spec.test_from_us}"
        )
    return TrainingSet(everything.take(in_train), everything.take(in_test))


def _floats(column: pa.ChunkedArray, kind: type) -> np.ndarray:
    """Floats with NaN where the column is null."""
    return column.to_numpy(zero_copy_only=False).astype(kind) if column.null_count == 0 else np.array(
        [np.nan if value is None else value for value in column.to_pylist()], dtype=kind
    )
