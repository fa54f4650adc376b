"""Runs SQL statements over Parquet files on Spark, as a manifest says, and writes what they answer as lines of JSON."""

import base64
import json
import sys

from pyspark.sql import SparkSession

with open(sys.argv[1]) as file:
    manifest = json.load(file)

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "4")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.ansi.enabled", "true")
    .config("spark.driver.memory", "1g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.local.dir", manifest["temporary"])
    .config("spark.sql.warehouse.dir", manifest["temporary"] + "/warehouse")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def plain(value):
    """Integers as texts, so that no reader rounds them."""
    if isinstance(value, bool) or value is None or isinstance(value, (float, str)):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode()
    return [plain(element) for element in value]


for table, path in manifest["tables"].items():
    spark.read.parquet(path).createOrReplaceTempView(table)
for statement in manifest["statements"]:
    answer = spark.sql(statement["sql"])
    if "view" in statement:
        answer.cache()
        answer.createOrReplaceTempView(statement["view"])
        continue
    with open(statement["output"], "w") as output:
        for row in answer.collect():
            output.write(json.dumps([plain(value) for value in row]) + "\n")
spark.stop()
