"""Gradient-boosted trees that Spark fits on all training rows: the rival where there are more than a driver takes.

Spark's boosted trees know two classes. So one model says P(level ≥ k) for each k above the lowest, and the differences
are the probabilities of the levels (Frank and Hall 2001).

In: ``examples`` of the training dates, and those to forecast. Out: level probabilities in the order of row_key.

Shape legend: N rows to forecast, K levels, K1 thresholds, the levels above the lowest.
"""

from dataclasses import dataclass

import numpy as np
from pyspark.ml.classification import GBTClassifier
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.baselines import LEAST_LEAF_ROWS, threshold_probabilities
from memberlevel_spark.evaluation.inputs import FloatArray

# Without Newton's steps a leaf comes near 0 and 1 slowly: at 0.1 a sure member stays at 0.98 after 50 trees.
STEP_SIZE, MAX_BINS = 0.3, 64
# A binned row of 160 inputs takes less than a kilobyte.
ROWS_PER_PARTITION = 25_000
INPUTS, REACHED = "inputs", "reached"


@dataclass(frozen=True)
class SparkTrees:
    """Number and depth of the trees of every threshold, and the seed of the rows that candidate splits come from."""

    num_trees: int
    max_depth: int
    seed: int


def spark_trees_probabilities(
    train: DataFrame, rows: DataFrame, trees: SparkTrees, *, num_inputs: int, num_levels: int
) -> FloatArray:
    """Fit one model per threshold and forecast ``rows``; float64 [N, num_levels], in the order of row_key.

    A threshold that all training rows reach, or none, is as sure as they are. Rows go to partitions by their key, so
    that the trees do not depend on how ``train`` is laid out; of more than one partition a cluster may add up sums in
    another order, which moves the last digits.

    Args:
        train: features, target_level and row_key; at least one row.
        rows: features and row_key.
        trees: how they are grown.
        num_inputs: how many elements of ``features`` are read, from the first on.
        num_levels: K, at least 2.
    """
    counts = {row["target_level"]: row["count"] for row in train.groupBy("target_level").count().collect()}
    num_rows = sum(counts.values())
    learned = _by_key(train.select("row_key", "target_level", _inputs(num_inputs)), num_rows)
    forecast, told = rows.select("row_key", _inputs(num_inputs)), []
    for level in range(1, num_levels):
        num_reached = sum(count for held, count in counts.items() if held >= level)
        if num_reached in (0, num_rows):
            told.append(F.lit(num_reached / num_rows))
            continue
        p_reached = f"p_reached_{level}"
        classifier = _classifier(trees, p_reached, num_rows)
        of_level = learned.withColumn(REACHED, (F.col("target_level") >= level).cast("double"))
        forecast = classifier.fit(of_level).transform(forecast)
        told.append(vector_to_array(F.col(p_reached))[1])
    found = forecast.orderBy("row_key").select(F.array(*told).alias(REACHED)).toPandas()
    return threshold_probabilities(np.stack(found[REACHED].to_list()))


def _inputs(num_inputs: int) -> Column:
    return array_to_vector(F.slice("features", 1, num_inputs).cast("array<double>")).alias(INPUTS)


def _by_key(rows: DataFrame, num_rows: int) -> DataFrame:
    """The rows in partitions, and an order, that follow from their keys."""
    num_partitions = -(-num_rows // ROWS_PER_PARTITION)
    place = F.pmod(F.xxhash64("row_key", F.lit(2)), F.lit(num_partitions)).cast("int")
    return rows.repartitionById(num_partitions, place).sortWithinPartitions("row_key")


def _classifier(trees: SparkTrees, probability: str, num_rows: int) -> GBTClassifier:
    """Columns without a name are not made."""
    classifier = GBTClassifier(
        featuresCol=INPUTS,
        labelCol=REACHED,
        predictionCol="",
        maxIter=trees.num_trees,
        maxDepth=trees.max_depth,
        stepSize=STEP_SIZE,
        maxBins=MAX_BINS,
        minInstancesPerNode=max(1, min(LEAST_LEAF_ROWS, num_rows // 20)),
        seed=trees.seed,
    )
    return classifier.setRawPredictionCol("").setProbabilityCol(probability)
