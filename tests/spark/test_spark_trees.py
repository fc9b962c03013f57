"""Boosted trees that Spark fits, one model for each level above the lowest, on rows that one number splits."""

import math

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.evaluation.spark_trees import STEP_SIZE, SparkTrees, spark_trees_probabilities

pytestmark = pytest.mark.spark

TREES = SparkTrees(num_trees=3, max_depth=2, seed=7)
COLUMNS = "row_key bigint, features array<float>, target_level int"


def rows_of(spark: SparkSession, levels: list[int]) -> DataFrame:
    """The first number tells the level, the second nothing; the third is not read."""
    rows = [(key, [10.0 * level + key % 3, float(key % 2), float(level)], level) for key, level in enumerate(levels)]
    return spark.createDataFrame(rows, COLUMNS)


def to_forecast(spark: SparkSession) -> DataFrame:
    """In another order than their keys: a member of level 1, 2 and 0."""
    rows = [(30, [11.0, 1.0, 0.0], 1), (10, [20.0, 0.0, 1.0], 2), (20, [2.0, 1.0, 2.0], 0)]
    return spark.createDataFrame(rows, COLUMNS).drop("target_level")


def forecast(train: DataFrame, rows: DataFrame, num_levels: int = 3) -> np.ndarray:
    return spark_trees_probabilities(train, rows, TREES, num_inputs=2, num_levels=num_levels)


def missed_by_a_sure_leaf() -> float:
    """P(the other class) in a leaf of one class: the first tree says ±1, each other one goes down the log-loss."""
    score = 1.0
    for _ in range(TREES.num_trees - 1):
        score += STEP_SIZE * 4 / (1 + math.exp(2 * score))
    return 1 / (1 + math.exp(2 * score))


def test_the_level_that_a_number_tells_is_likeliest_in_the_order_of_row_key(spark: SparkSession) -> None:
    p_level, missed = forecast(rows_of(spark, [0, 1, 2] * 30), to_forecast(spark)), missed_by_a_sure_leaf()
    sure = [[missed, 0, 1 - missed], [1 - missed, 0, missed], [missed, 1 - 2 * missed, missed]]
    assert p_level == pytest.approx(np.array(sure), abs=3e-6)
    assert p_level.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-12)
    assert p_level.min() > 0


def test_numbers_behind_the_inputs_are_not_read(spark: SparkSession) -> None:
    train = spark.createDataFrame([(key, [1.0, 2.0, float(key % 2)], key % 2) for key in range(40)], COLUMNS)
    assert forecast(train, train, num_levels=2) == pytest.approx(np.full((40, 2), 0.5), abs=1e-9)


def noisy_rows(spark: SparkSession, number: int) -> DataFrame:
    """Two levels that both numbers tell something of."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(number, 2))
    levels = (x.sum(axis=1) + rng.normal(size=number) > 0).astype(int).tolist()
    rows = [(key, of_row, level) for key, (of_row, level) in enumerate(zip(x.tolist(), levels, strict=True))]
    return spark.createDataFrame(rows, COLUMNS)


def test_the_same_rows_give_the_same_trees_in_any_partitions(spark: SparkSession) -> None:
    # Of more than 10,000 rows Spark draws those whose numbers it may split at.
    train, some = noisy_rows(spark, 12_000), noisy_rows(spark, 200)
    one, other = (forecast(train.repartition(n), some, num_levels=2) for n in (1, 5))
    assert len(np.unique(one[:, 1])) > 4
    assert np.array_equal(one, other)


def test_what_many_partitions_add_up_is_one_model(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    train = noisy_rows(spark, 120)
    one = forecast(train, train, num_levels=2)
    monkeypatch.setattr("memberlevel_spark.evaluation.spark_trees.ROWS_PER_PARTITION", 20)
    assert forecast(train, train, num_levels=2) == pytest.approx(one, abs=1e-9)


def test_a_threshold_that_all_training_rows_reach_or_none_is_as_sure_as_they_are(spark: SparkSession) -> None:
    """Levels 1 and 2 of four were held: only the threshold between them is learned."""
    p_level = forecast(rows_of(spark, [1, 2] * 20), to_forecast(spark), num_levels=4)
    assert p_level[:, [0, 3]].max() < 1.1e-6
    missed = missed_by_a_sure_leaf()
    assert p_level[:, 2] == pytest.approx([1 - missed, missed, missed], abs=3e-6)
    alone = forecast(rows_of(spark, [1] * 4), to_forecast(spark))
    assert alone == pytest.approx(np.tile([1e-6, 1 - 2e-6, 1e-6], (3, 1)), abs=1e-9)
