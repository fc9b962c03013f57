"""What would tip members, for the report; made in Spark.

In: ``member_advice`` and ``member_reasons`` of one as-of date and model. Out: frames of a few rows, ready to collect.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.scoring.topics import STANDING

ACCURACY = 10_000
# Which goal belongs to a way that members move.
GOAL_OF = {"up": "rise", "down": "keep"}


def tips(advice: DataFrame) -> DataFrame:
    """Members by goal, level and metric: who holds it likely anyway, who would with more, who not by this alone.

    ``extra_low`` and ``extra_median`` are quartiles of what those need who would with more; null without any.
    """
    extra = F.col("extra")
    quartiles = F.percentile_approx(F.when(extra > 0, extra), [0.25, 0.5], ACCURACY)
    grouped = advice.groupBy("goal", "target_level", "metric").agg(
        F.count("*").alias("members"),
        F.count_if(extra == 0).alias("likely"),
        F.count_if(extra > 0).alias("tipped"),
        F.count_if(extra.isNull()).alias("not_alone"),
        F.get(quartiles, F.lit(0)).alias("extra_low"),
        F.get(quartiles, F.lit(1)).alias("extra_median"),
    )
    return grouped.orderBy(F.col("goal").desc(), "target_level", "metric")


def nearest(advice: DataFrame, *, metric: str, limit: int) -> DataFrame:
    """The members whom the smallest amounts of a metric would tip to the next level, the smallest first."""
    would = advice.where((F.col("goal") == "rise") & (F.col("metric") == metric) & (F.col("extra") > 0))
    columns = ("member_id", "level_now", "target_level", "p_now", "extra", "needed")
    return would.select(*columns).orderBy("extra", "member_id").limit(limit)


def with_tips(movers: DataFrame, reasons: DataFrame, advice: DataFrame, *, way: str, metric: str) -> DataFrame:
    """The movers with ``reasons`` of their chance to move ``up`` or ``down``, and the ``extra`` that would tip them.

    Their progress to other levels stands beside them already and is left out of the reasons. Both are null for members
    whose reasons are not kept.
    """
    others = F.filter(F.col(f"reasons_{way}"), lambda reason: reason["topic"] != STANDING)
    told = reasons.select("member_id", others.alias("reasons"))
    wanted = advice.where((F.col("goal") == GOAL_OF[way]) & (F.col("metric") == metric)).select("member_id", "extra")
    joined = movers.join(told, "member_id", "left").join(wanted, "member_id", "left")
    return joined.orderBy(F.col("p_move").desc_nulls_last(), F.col("member_id").asc_nulls_last())
