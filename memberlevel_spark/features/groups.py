"""Protected groups: which value of a protected attribute a member's profile said on an as-of date, for judging alone.

In: rows with member_id and as_of_date, and ``members``. Out: the same rows with the value as text; null without one.

The same profile counts as for features (``profiles.py``): the one that was valid, and known, on the as-of date.
"""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from memberlevel_spark.feed.fields import group_column
from memberlevel_spark.levels.batches import known_from

KEY = ["member_id", "as_of_date"]
NEVER = date(9999, 12, 31)


def with_groups(rows: DataFrame, members: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """``rows``, each with the column ``group_column`` of every attribute; text, null without a value."""
    for attribute in attributes:
        rows = rows.join(_groups(rows.select(*KEY), members, attribute), KEY, "left")
    return rows


def _groups(asked: DataFrame, members: DataFrame, attribute: str) -> DataFrame:
    """One row per asked member and date with a profile. Of several that are valid the one that began last counts."""
    in_order, known = W.partitionBy("member_id").orderBy(F.col("valid_from").asc()), known_from(attribute)
    ends = F.coalesce("valid_to", F.lit(NEVER))
    # A row that ends where the next one begins ends no sooner than that one is known.
    followed = F.lead("valid_from").over(in_order) == ends
    until = F.when(followed, F.greatest(ends, F.lead(known).over(in_order))).otherwise(ends)
    # A row that stands for a member's first event says nothing of them.
    histories = members.where("declared").select(
        "member_id",
        "valid_from",
        until.alias("valid_until"),
        known.alias("known"),
        F.element_at("attributes", attribute).alias(group_column(attribute)),
    )
    as_of = F.col("as_of_date")
    valid = (F.col("valid_from") <= as_of) & (as_of < F.col("valid_until")) & (F.col("known") <= as_of)
    found = asked.join(histories, "member_id", "inner").where(valid)
    return found.groupBy(*KEY).agg(F.max_by(group_column(attribute), "valid_from").alias(group_column(attribute)))
