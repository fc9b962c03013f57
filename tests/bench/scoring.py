"""Arrow scoring against moving the rows without a model, the pandas UDF and Spark's own predict_batch_udf; and of ten
times the members."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from safetensors.torch import save

from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import PackedModel, predict
from tests.bench.memory import peak_memory
from tests.bench.timing import best_seconds

ROWS, MANY, FEATURES, WEEKLY = 1_000_000, 10_000_000, 64, (4, 13)
DEFAULT = {"num_features": FEATURES, "num_levels": 4, "level_head": "gate", "metrics": ("spend_cents",)}


def measure(spark: SparkSession) -> dict[str, tuple[float, str, str]]:
    """Rows per second of one over the other, on 1 million rows of 64 features: the default network and one of weeks."""
    rows = _rows(spark, ROWS).persist()
    rows.count()
    transfer = best_seconds(lambda: _drain(rows.mapInArrow(_first_level, "member_id string, p double")))
    figures: dict[str, tuple[float, str, str]] = {}
    for name, more in (("mlp", {"periodic": 4}), ("gru", {"weekly": WEEKLY})):
        called = "score" if name == "mlp" else f"score_{name}"
        figures |= _of_model(rows, _packed(name=name, **more), called, transfer)
    rows.unpersist()
    return figures | _ten_times(spark, _packed(name="mlp", periodic=4))


def _of_model(rows: DataFrame, model: PackedModel, name: str, transfer: float) -> dict[str, tuple[float, str, str]]:
    ways: dict[str, Callable[[], None]] = {
        "arrow": lambda: _drain(apply_model(rows, model, method="map_in_arrow")),
        "pandas": lambda: _drain(apply_model(rows, model, method="pandas_udf")),
        "batch": lambda: _drain(rows.select("member_id", _batch_udf(model)("features").alias("forecast"))),
    }
    seconds = {way: best_seconds(run, repeats=2) for way, run in ways.items()}
    arrow = seconds["arrow"]
    return {
        f"{name}_vs_transfer_ceiling": (
            transfer / arrow,
            "x rows/s",
            "the same rows through mapInArrow without a model",
        ),
        f"{name}_vs_pandas_udf": (seconds["pandas"] / arrow, "x rows/s", "the iterator pandas_udf switch"),
        f"{name}_vs_predict_batch_udf": (seconds["batch"] / arrow, "x rows/s", "the same through predict_batch_udf"),
        f"{name}_rows_per_second": (ROWS / arrow, "rows/s", "nothing: 1 million rows x 64 features on local[2]"),
    }


def _ten_times(spark: SparkSession, model: PackedModel) -> dict[str, tuple[float, str, str]]:
    """Rows that are made on the way, so that ten times as many need no more memory than the job itself does."""
    seconds, peaks = [], []
    for number in (ROWS, MANY):
        with peak_memory(os.getpid()) as peak:
            rows = _rows(spark, number)
            seconds.append(best_seconds(lambda rows=rows: _drain(apply_model(rows, model, method="map_in_arrow")), 1))  # type: ignore[misc]
        peaks.append(peak.gb)
    return {
        "score_10m_vs_1m": (
            seconds[1] / seconds[0],
            "x seconds",
            f"{seconds[0]:.1f} s of 1 million rows (10 is linear)",
        ),
        "score_10m_memory_vs_1m": (peaks[1] / peaks[0], "x bytes", f"{peaks[0]:.2f} GB: driver, JVM and workers"),
    }


def _packed(**given: Any) -> PackedModel:
    spec = ModelSpec(**DEFAULT, **given)
    return PackedModel(save(build_network(spec).state_dict()), json.dumps(spec.to_dict()))


def _rows(spark: SparkSession, number: int) -> DataFrame:
    x = F.transform(F.sequence(F.lit(1), F.lit(FEATURES)), lambda i: (F.hash("id", i) / 2**31).cast("float"))
    return spark.range(number, numPartitions=8).select(
        F.col("id").cast("string").alias("member_id"),
        F.lit("2024-01-01").cast("date").alias("as_of_date"),
        F.lit(1).alias("level_now"),
        x.alias("features"),
    )


def _batch_udf(model: PackedModel) -> Any:
    def make() -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        return lambda features: predict(model, features)

    # Batches as large as those of Arrow, so that it is the ways that differ.
    kind = T.ArrayType(T.DoubleType())
    return predict_batch_udf(make, return_type=kind, batch_size=10_000, input_tensor_shapes=[[FEATURES]])


def _first_level(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        values = batch.column("features").flatten().to_numpy()[: batch.num_rows].astype("float64")
        yield pa.RecordBatch.from_arrays([batch.column("member_id"), pa.array(values)], ["member_id", "p"])


def _drain(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()
