"""The next category: of which category a member's first order after the as-of date is, as a number to be learned.

In: labelled rows with ``first_category``, null where nothing was ordered or the product has no category. Out: the
categories with a number of their own, and the number of each row.

The most frequent category is 0 and so on; one number more stands for all others, those that training never met too.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# What all categories without a number of their own are called.
OTHER = "(other)"
# The number of rows without a category.
NO_CATEGORY = -1


def build_next_categories(training_rows: DataFrame, num_categories: int) -> DataFrame:
    """The ``num_categories`` most frequent of ``first_category`` as ``category``, in order; of equally frequent ones
    the smaller text comes first. A category that is called "(other)" itself is one of the others."""
    known = training_rows.where(F.col("first_category").isNotNull() & (F.col("first_category") != OTHER))
    counted = known.groupBy(F.col("first_category").alias("category")).agg(F.count("*").alias("num"))
    return counted.orderBy(F.col("num").desc(), F.col("category").asc()).limit(num_categories).select("category")


def named(categories: Sequence[str]) -> tuple[str, ...]:
    """The name of every number; none where no category is told."""
    return (*categories, OTHER) if categories else ()


def category_number(category: Column, categories: Sequence[str]) -> Column:
    """The number of a category as int, never null: −1 for a null."""
    place = F.array_position(F.array(*map(F.lit, categories)), category)
    number = F.when(place > 0, place - 1).otherwise(len(categories))
    return F.when(category.isNull(), NO_CATEGORY).otherwise(number).cast("int")
