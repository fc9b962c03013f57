"""An encoder of normal scores: its knots are the training rows' quantiles, whatever the partitions."""

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from scipy.stats import norm

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.examples.quantiles import SHARES, SMALLEST_SHARE

pytestmark = pytest.mark.spark

INPUTS = (Input("x", when_null=7), Input("a", 0))


def rows_of(spark: SparkSession, values: list[int | None]) -> DataFrame:
    return spark.createDataFrame([(value, [5], 0) for value in values], "x int, a array<int>, level_now int")


def test_knots_are_the_quantiles_of_the_rows_with_nulls_as_declared(spark: SparkSession):
    values = [None, -3, 0, 0, 0, 0, 7, 40, 100, None, 2_000_000]
    fitted = [Encoder.fit(rows_of(spark, values).repartition(n), INPUTS, 2, numbers="quantile") for n in (1, 4)]
    assert fitted[0] == fitted[1]
    told = [7 if value is None else value for value in values]
    assert fitted[0].quantiles[0] == pytest.approx(np.percentile(told, SHARES * 100).tolist(), rel=1e-12)
    assert fitted[0].quantiles[1] == (5.0,) * 33
    assert fitted[0].means == fitted[0].deviations == ()
    with pytest.raises(ArtefactError, match="no training rows to fit the encoder on"):
        Encoder.fit(rows_of(spark, values).limit(0), INPUTS, 2, numbers="quantile")


def test_rows_are_encoded_as_normal_scores_and_read_again(spark: SparkSession):
    encoder = Encoder.fit(rows_of(spark, [0] * 17 + list(range(1, 17))), INPUTS, 1, numbers="quantile")
    asked = [0, 1, None, 15, 16, 99, -1]
    rows = rows_of(spark, asked).coalesce(1)
    got = np.array([row[0] for row in rows.select(encoder.encode()).collect()], dtype=np.float32)
    shares = [0.25, 17 / 32, 23 / 32, 31 / 32, 1 - SMALLEST_SHARE, 1 - SMALLEST_SHARE, 0.25]
    assert got[:, 0] == pytest.approx(norm.ppf(shares), abs=1e-6)
    assert got[:, 1].tolist() == [0.0] * 7 and got[:, 2].tolist() == [1.0] * 7
    assert encoder.decode("x", got) == pytest.approx([0, 1, 7, 15, 16, 16, 0], abs=1e-4)


def test_knots_are_kept_and_an_encoder_without_them_is_the_text_it_was(spark: SparkSession):
    encoder = Encoder.fit(rows_of(spark, [1, 2, 9]), INPUTS, 2, numbers="quantile")
    assert Encoder.from_json(encoder.to_json()) == encoder
    plain = Encoder((Input("x"),), 2, (0.5,), (2.0,))
    assert plain.to_json() == (
        '{"deviations": [2.0], "events": null, "inputs": [{"column": "x", "equals": null, "index": null,'
        ' "meaning": null, "when_null": 0}], "means": [0.5], "needs": [], "num_levels": 2}'
    )
