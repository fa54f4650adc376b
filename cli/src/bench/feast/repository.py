"""Fills a Feast repository with the rows of a CSV file: arguments are the repository's folder and the file.

The repository holds one view of float32 features keyed by an int64 entity, and one feature service of all of them.
"""

import datetime
import sys

import pandas
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

repository, rows = sys.argv[1:]
frame = pandas.read_csv(rows)
names = [name for name in frame.columns if name not in ("user", "event_time")]
frame["event_timestamp"] = pandas.to_datetime(frame["event_time"], unit="us", utc=True)
frame[names] = frame[names].astype("float32")
parquet = f"{repository}/rows.parquet"
frame.drop(columns=["event_time"]).to_parquet(parquet)

user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
view = FeatureView(
    name="users",
    entities=[user],
    ttl=datetime.timedelta(0),
    schema=[Field(name=name, dtype=Float32) for name in names],
    source=FileSource(name="rows", path=parquet, timestamp_field="event_timestamp"),
)
store = FeatureStore(repository)
store.apply([user, view, FeatureService(name="model", features=[view])])
day = datetime.timedelta(days=1)
store.materialize(frame["event_timestamp"].min() - day, frame["event_timestamp"].max() + day)
