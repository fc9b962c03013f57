"""Scores against what was expected and, once labels are mature, against what happened.

In: ``member_scores`` and ``member_labels``. Out: rows of ``monitor_metrics`` (metric, slice, as_of_date, model_version,
value), one per metric, slice, as-of date and model version. Slices are levels (``2``) or moves (``1->2``).
"""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

RUN = ["as_of_date", "model_version"]


def build_migration(scores: DataFrame) -> DataFrame:
    """Members per level now, and expected members per move: sums of probabilities, to the millionth of a member."""
    # Sums of rounded decimals do not depend on the order of the partitions.
    exact = scores.select(*RUN, "level_now", F.transform("p_level", lambda p: p.cast("decimal(18,9)")).alias("p_level"))
    moves = exact.select(*RUN, "level_now", F.posexplode("p_level").alias("level_then", "p"))
    move = F.concat_ws("->", "level_now", "level_then")
    expected = moves.groupBy(*RUN, move.alias("slice")).agg(F.sum("p").cast("double").alias("value"))
    now = scores.groupBy(*RUN, F.col("level_now").cast("string").alias("slice")).agg(
        F.count("*").cast("double").alias("value")
    )
    parts = [_named("members_expected", expected), _named("members_now", now)]
    return reduce(DataFrame.unionByName, parts)


def build_outcomes(scores: DataFrame, labels: DataFrame) -> DataFrame:
    """Accuracy, log-loss and shares that moved up, of the scored members whose label is mature; no rows before."""
    joined = scores.join(labels.select("member_id", "as_of_date", "target_level"), ["member_id", "as_of_date"], "inner")
    p_target = F.greatest(F.get("p_level", F.col("target_level")), F.lit(1e-15))
    measured = {
        "outcome_accuracy": (F.col("level_predicted") == F.col("target_level")).cast("double"),
        "outcome_log_loss": -F.log(p_target),
        "outcome_share_up": (F.col("target_level") > F.col("level_now")).cast("double"),
        "outcome_expected_share_up": F.col("p_up"),
    }
    means = joined.groupBy(*RUN).agg(*[_exact_mean(value).alias(name) for name, value in measured.items()])
    parts = [
        _named(name, means.select(*RUN, F.lit("all").alias("slice"), F.col(name).alias("value"))) for name in measured
    ]
    return reduce(DataFrame.unionByName, parts)


def _exact_mean(value: Column) -> Column:
    return (F.sum(value.cast("decimal(18,9)")) / F.count("*")).cast("double")


def _named(metric: str, rows: DataFrame) -> DataFrame:
    return rows.select(F.lit(metric).alias("metric"), "slice", *RUN, "value")
