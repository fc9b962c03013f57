"""Parity: a sample passes the network as training judges it, on the driver, and as scoring does, in Spark's workers.

In: encoded members of a run and its model. Out: how far apart the two are, or an error.

Shape legend: N members of the sample, F features, K levels.
"""

from dataclasses import replace

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.models.calibrators import Calibrators
from memberlevel_spark.scoring.apply import apply_model, feature_matrix
from memberlevel_spark.scoring.predictor import PackedModel, load_network
from memberlevel_spark.training.artefacts import level_probabilities

LARGEST_DIFFERENCE = 1e-6


def sample_of(encoded: DataFrame, num_members: int) -> DataFrame:
    """The rows of so many members, by a hash of their ids: the same ones every time."""
    # The ids alone are cheap to look through; the features of the others are never encoded for it.
    members = encoded.select("member_id").distinct().orderBy(F.xxhash64("member_id")).limit(num_members).collect()
    return encoded.where(F.col("member_id").isin([row["member_id"] for row in members]))


def prove_parity(sample: DataFrame, model: PackedModel, *, method: str) -> float:
    """The largest difference of a level's probability between the ways of training and of scoring, 0 without rows.

    ``sample`` has member_id, as_of_date, level_now and ``features`` (array<float>), few enough rows for the driver.

    Errors: DataQualityError when it is more than 1e-6.
    """
    order = ["member_id", "as_of_date"]
    sample = sample.cache()
    try:
        # Calibrators come after the network, and training does not have them.
        plain = replace(model, calibrators_json=Calibrators().to_json())
        scored = apply_model(sample, plain, method=method).orderBy(*order).select("p_level").toArrow()
        features = sample.orderBy(*order).select("features").toArrow()
    finally:
        sample.unpersist()
    if not len(features):
        return 0.0
    features_NF, scored_NK = (feature_matrix(table.column(0).combine_chunks()) for table in (features, scored))
    largest = float(np.abs(scored_NK - level_probabilities(load_network(plain), features_NF)).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise DataQualityError(
            f"scoring and training say different things of the same members: probabilities differ by up to"
            f" {largest:.3g}. Score with the library versions it was trained with, or train it again."
        )
    return largest
