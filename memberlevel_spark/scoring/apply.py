"""Apply the predictor in Spark, by Arrow batches or as an iterator pandas UDF.

In: rows with member_id, as_of_date, level_now and ``features`` (array<float>). Out: the same without ``features`` and
with ``p_level`` (array<double>, one probability per level), the predictor's ``NUMBERS`` (double) and, by a model that
tells the next category, ``p_category`` (array<double>, given an order).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.scoring.predictor import NUMBERS, P_CATEGORY, PackedModel, predict

KEPT = ("member_id", "as_of_date", "level_now")


def apply_model(encoded: DataFrame, model: PackedModel, *, method: str, extra: tuple[str, ...] = ()) -> DataFrame:
    """Predict every row; ``method`` is ``map_in_arrow`` or ``pandas_udf``, ``extra`` names further columns to keep."""
    kept = (*KEPT, *extra)
    if method == "pandas_udf":
        forecasts = encoded.select(*kept, _pandas_udf(model)("features").alias("forecast"))
    else:
        fields = [f"{name} {encoded.schema[name].dataType.simpleString()}" for name in kept]
        schema = ", ".join([*fields, "forecast array<double>"])
        forecasts = encoded.select(*kept, "features").mapInArrow(_arrow_mapper(model), schema)
    num_levels, num_categories = model.spec.num_levels, model.spec.num_p_category
    columns = [F.slice("forecast", 1, num_levels).alias("p_level")]
    columns += [F.element_at("forecast", num_levels + 1 + place).alias(name) for place, name in enumerate(NUMBERS)]
    if num_categories:
        first = num_levels + len(NUMBERS) + 1
        columns.append(F.slice("forecast", first, num_categories).alias(P_CATEGORY))
    return forecasts.select(*kept, *columns)


def _arrow_mapper(model: PackedModel) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield score_batch(batch, model)

    return score


def score_batch(batch: pa.RecordBatch, model: PackedModel) -> pa.RecordBatch:
    """Replace the column ``features`` of one batch by ``forecast``."""
    return with_result(batch, predict(model, feature_matrix(batch.column("features"))), name="forecast")


def with_result(batch: pa.RecordBatch, values_NP: NDArray[Any], *, name: str) -> pa.RecordBatch:
    """The batch with a list of ``values_NP`` per row, as its last column ``name``, in the place of ``features``.

    Errors: ArtefactError when there is not one list for each row.
    """
    if len(values_NP) != len(batch):
        raise ArtefactError(
            f"a model does not answer for every row: {len(values_NP)} forecasts of {len(batch)} rows. Register another"
            " model; nothing was written."
        )
    offsets = pa.array(np.arange(len(values_NP) + 1, dtype=np.int32) * values_NP.shape[1])
    kept = [column for column in batch.schema.names if column != "features"]
    lists = pa.ListArray.from_arrays(offsets, pa.array(values_NP.ravel()))
    return pa.RecordBatch.from_arrays([*[batch.column(column) for column in kept], lists], [*kept, name])


def feature_matrix(column: pa.ListArray) -> NDArray[np.float32]:
    """Rows of an array column as a float32 matrix [N, F].

    Errors: ArtefactError for a null row: flattening would silently shift every row after it.
    """
    values = column.flatten()
    if column.null_count or values.null_count or len(values) % max(len(column), 1):
        raise ArtefactError(
            f"encoded features are null or ragged: {column.null_count} null rows, {values.null_count} null values in"
            f" {len(column)} rows. Run the stage features again."
        )
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(column), -1)


def _pandas_udf(model: PackedModel) -> Callable[..., Column]:
    @F.pandas_udf("array<double>")  # type: ignore[call-overload]
    def forecasts(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for features in batches:
            matrix = np.stack(features.to_list()).astype(np.float32) if len(features) else np.empty((0, 0), np.float32)
            yield pd.Series(list(predict(model, matrix)))

    return forecasts
