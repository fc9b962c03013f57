"""Principal components of encoded rows: those of scikit-learn, whatever the partitions."""

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.decomposition import PCA

from memberlevel_spark.examples.components import build_moments, components_of
from memberlevel_spark.examples.encoder import Encoder, Input

pytestmark = pytest.mark.spark

NEEDS = 1e9  # after the elements that are read: it must not count


def rows_NP(num_rows: int = 300) -> np.ndarray:
    """Six elements that differ in three directions: two are sums of the others, one never varies."""
    draws = np.random.default_rng(5)
    free_N3 = draws.normal(size=(num_rows, 3)) * (2.0, 1.0, 0.3) + (0.5, -1.0, 0.0)
    sums_N2 = np.stack([free_N3[:, 0] - free_N3[:, 1], free_N3.sum(axis=1)], axis=1)
    exact = np.hstack([free_N3, sums_N2, np.full((num_rows, 1), 3.0)]).astype(np.float32)
    return np.rint(exact * 2**16) / 2**16


def frame(spark: SparkSession, rows: np.ndarray) -> DataFrame:
    return spark.createDataFrame([([*row.tolist(), NEEDS],) for row in rows], "features array<float>")


def test_they_are_those_of_scikit_learn_whitened(spark: SparkSession):
    rows = rows_NP()
    found = components_of(build_moments(frame(spark, rows), num_elements=6).collect(), 2)
    weights_CP, constant_C = np.array(found)[:, :-1], np.array(found)[:, -1]
    got = rows @ weights_CP.T + constant_C
    known = PCA(2, whiten=True, svd_solver="full").fit_transform(rows)
    known *= np.sqrt(len(rows) / (len(rows) - 1))  # scikit-learn divides by one row less
    known *= np.sign((known * got).sum(axis=0))  # and points to either side
    assert got == pytest.approx(known, abs=1e-5)
    assert all(row[np.abs(row).argmax()] > 0 for row in weights_CP)


def test_they_do_not_depend_on_partitions_and_are_no_more_than_directions(spark: SparkSession):
    rows = frame(spark, rows_NP())
    found = [components_of(build_moments(rows.repartition(n), num_elements=6).collect(), 99) for n in (1, 3)]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_an_encoder_keeps_them_and_encodes_as_before(spark: SparkSession):
    rows = spark.createDataFrame([(1, 0), (5, 1), (9, 1)], "x int, level_now int")
    plain = Encoder.fit(rows, [Input("x")], 2)
    encoded = rows.select(plain.encode().alias("features"))
    found = components_of(build_moments(encoded, num_elements=plain.num_scaled).collect(), 2)
    encoder = Encoder.from_json(plain.to_json().replace("{", f'{{"components": {[*map(list, found)]}, ', 1))
    assert encoder.components == found and encoder.to_json() != plain.to_json()
    assert [row[0] for row in rows.select(encoder.encode()).collect()] == [row[0] for row in encoded.collect()]
    assert "components" not in plain.to_json()
