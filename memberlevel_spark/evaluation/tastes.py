"""What stands beside the model's forecast of the next category: members' taste so far, and the shop's.

In: order lines with their category, and the numbers of categories of first orders. Out: one number per member, and
probabilities [N, C] given an order.

Shape legend: N members, M rows that were learned from, C categories, the last of them all others.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.inputs import FloatArray, IntArray
from memberlevel_spark.examples.next_category import category_number

TASTE_DAYS = 91


def build_tastes(order_lines: DataFrame, categories: Sequence[str], as_of: date) -> DataFrame:
    """``favourite``: the number of the category of most of a member's order lines in ``(as_of − 91, as_of]``.

    Of two with as many lines the one that is more frequent in the shop. Members without a line with a category in these
    days have no row.
    """
    first_day = as_of - timedelta(days=TASTE_DAYS - 1)
    recent = order_lines.where(F.col("day").between(F.lit(first_day), F.lit(as_of)) & F.col("category").isNotNull())
    numbered = recent.select("member_id", category_number(F.col("category"), categories).alias("number"))
    counted = numbered.groupBy("member_id", "number").agg(F.count("*").alias("num_lines"))
    most = F.max_by("number", F.struct("num_lines", -F.col("number")))
    return counted.groupBy("member_id").agg(most.alias("favourite"))


def category_shares(counts_C: IntArray) -> FloatArray:
    """The share of each category, as if each had been met once more than it was."""
    return np.asarray((counts_C + 1.0) / (counts_C + 1.0).sum())


def came_true_share(favourite_M: IntArray, category_M: IntArray) -> float:
    """Of the rows with a favourite and a category, how many had the same, as if one more had and one more had not."""
    both_M = (favourite_M >= 0) & (category_M >= 0)
    return float(((favourite_M == category_M)[both_M].sum() + 1) / (both_M.sum() + 2))


def taste_probabilities(favourite_N: IntArray, share: float, shares_C: FloatArray) -> FloatArray:
    """The favourite with ``share``, the others as in the shop; without one (-1) all as in the shop."""
    p_NC = np.tile(shares_C, (len(favourite_N), 1))
    rows = np.flatnonzero(favourite_N >= 0)
    favourite_R = favourite_N[rows]
    p_NC[rows] *= ((1 - share) / (1 - shares_C[favourite_R]))[:, None]
    p_NC[rows, favourite_R] = share
    return p_NC
