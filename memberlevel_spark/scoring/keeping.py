"""Whose score is kept: members that are encoded as they were when the same model scored them before.

In: rows of ``member_scores`` by one model, encoded members with ``features_hash``. Out: rows of ``member_scores``.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window as W

from memberlevel_spark.forecast_schemas import MEMBER_SCORES

SAME = ("member_id", "level_now", "features_hash")
_KEPT = tuple(name for name in MEMBER_SCORES.schema.names if name not in (*SAME, "as_of_date"))


def build_earlier(own: DataFrame) -> DataFrame:
    """Of one model's rows of the ledger the latest of each member, level and array, without its date."""
    newest = W.partitionBy(*SAME).orderBy(F.col("as_of_date").desc())
    latest = own.withColumn("place", F.row_number().over(newest)).where("place = 1")
    return latest.select(*SAME, F.struct(*_KEPT).alias("earlier"))


def build_matched(encoded: DataFrame, earlier: DataFrame) -> DataFrame:
    """Encoded members with their ``earlier`` score, null where there is none of the same array."""
    return encoded.join(earlier, list(SAME), "left")


def build_kept(matched: DataFrame) -> DataFrame:
    """The rows of ``member_scores`` of those who have an earlier score."""
    kept = matched.where(F.col("earlier").isNotNull())
    return kept.select(*SAME, "as_of_date", "earlier.*").select(*MEMBER_SCORES.schema.names)
