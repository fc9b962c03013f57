"""Arrow scoring against moving the rows without a model, and against the pandas UDF."""

import json
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from safetensors.torch import save

from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import PackedModel
from tests.bench.timing import best_seconds

ROWS, FEATURES = 400_000, 64


def measure(spark: SparkSession) -> dict[str, tuple[float, str, str]]:
    """Rows per second of one over the other, on 400 k rows of 64 features and the default network."""
    default = {"level_head": "gate", "metrics": ("spend_cents",), "periodic": 4}
    spec = ModelSpec(name="mlp", num_features=FEATURES, num_levels=4, **default)
    model = PackedModel(save(build_network(spec).state_dict()), json.dumps(spec.to_dict()))
    x = F.transform(F.sequence(F.lit(1), F.lit(FEATURES)), lambda i: (F.hash("id", i) / 2**31).cast("float"))
    rows = spark.range(ROWS, numPartitions=4).select(
        F.col("id").cast("string").alias("member_id"),
        F.lit("2024-01-01").cast("date").alias("as_of_date"),
        F.lit(1).alias("level_now"),
        x.alias("features"),
    )
    rows = rows.persist()
    rows.count()
    arrow, pandas = (
        best_seconds(lambda method=method: _drain(apply_model(rows, model, method=method)))  # type: ignore[misc]
        for method in ("map_in_arrow", "pandas_udf")
    )
    transfer = best_seconds(lambda: _drain(rows.mapInArrow(_first_level, "member_id string, p double")))
    rows.unpersist()
    return {
        "score_vs_transfer_ceiling": (transfer / arrow, "x rows/s", "the same rows through mapInArrow without a model"),
        "score_vs_pandas_udf": (pandas / arrow, "x rows/s", "the iterator pandas_udf switch"),
        "score_rows_per_second": (ROWS / arrow, "rows/s", "nothing: 400 k rows x 64 features on local[2]"),
    }


def _first_level(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        values = batch.column("features").flatten().to_numpy()[: batch.num_rows].astype("float64")
        yield pa.RecordBatch.from_arrays([batch.column("member_id"), pa.array(values)], ["member_id", "p"])


def _drain(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()
