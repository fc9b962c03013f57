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


def sample_of(encoded: DataFrame, num_rows: int) -> DataFrame:
    """The rows of those who have so many rows, by a hash of their ids: the same ones every time."""
    # The ids alone are cheap to look through; the features of the others are never encoded for it.
    first = encoded.select("member_id").orderBy(F.xxhash64("member_id")).limit(num_rows).collect()
    return encoded.where(F.col("member_id").isin(sorted({row["member_id"] for row in first})))


def prove_parity(sample: DataFrame, model: PackedModel, *, method: str) -> float:
    """The largest difference of a level's probability between the ways of training and of scoring, 0 without rows.

    ``sample`` has member_id, as_of_date, level_now and ``features`` (array<float>), few enough rows for the driver.

    Errors: DataQualityError when it is more than 1e-6.
    """
    # Calibrators come after the network, and training does not have them.
    plain = replace(model, calibrators_json=Calibrators().to_json())
    both = apply_model(sample.withColumn("read", F.col("features")), plain, method=method, extra=("read",))
    answers = both.select("read", "p_level").toArrow()
    if not len(answers):
        return 0.0
    features_NF = feature_matrix(answers.column("read").combine_chunks())
    scored_NK = np.stack(answers.column("p_level").to_numpy())
    largest = float(np.abs(scored_NK - level_probabilities(load_network(plain), features_NF)).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise DataQualityError(
            f"scoring and training say different things of the same members: probabilities differ by up to"
            f" {largest:.3g}. Score with the library versions it was trained with, or train it again."
        )
    return largest
