"""The protected group of each example as a number, by which training weighs rows and which no network reads.

In: rows with the column ``group_column`` of an attribute as text, null without one. Out: the groups with a number of
their own, and the number of each row.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def build_groups(training_rows: DataFrame, column: str, *, min_members: int) -> DataFrame:
    """The texts of ``column`` that at least ``min_members`` members of the rows have, as ``group``, in their order."""
    counted = training_rows.where(F.col(column).isNotNull()).groupBy(F.col(column).alias("group"))
    large = counted.agg(F.countDistinct("member_id").alias("members")).where(F.col("members") >= min_members)
    return large.select("group").orderBy(F.col("group").asc())


def group_number(group: Column, groups: Sequence[str]) -> Column:
    """The place of a group among those with a number as int, never null: small ones come after them together, then the
    rows without a group."""
    place = F.array_position(F.array(*map(F.lit, groups)).cast("array<string>"), group)
    number = F.when(place > 0, place - 1).otherwise(len(groups))
    return F.when(group.isNull(), len(groups) + 1).otherwise(number).cast("int")
