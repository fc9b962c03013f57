"""The rivals of the next category on a test date.

In: order lines up to the test date, and the examples that the model has learned from. Out: the forecasts
``persistence`` and ``majority``, which then speak of the next category too.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray
from memberlevel_spark.evaluation.tastes import build_tastes, came_true_share, category_shares, taste_probabilities
from memberlevel_spark.examples.labels import build_order_lines
from memberlevel_spark.examples.next_category import NO_CATEGORY, named
from memberlevel_spark.run import Run

SOURCES = ("events", "products")


def with_category_rivals(
    run: Run,
    rivals: Mapping[str, Forecast],
    learned: DataFrame,
    *,
    test: date,
    member_N: np.ndarray,
    categories: tuple[str, ...],
) -> tuple[dict[str, Forecast], dict[str, int]]:
    """The rivals for the members of a test date, and the versions of the tables that were read for it.

    ``majority`` gives everybody the shares of the learned rows. ``persistence`` names the category that a member bought
    most in the last 91 days, then the shop's most frequent ones; the first gets the share of the last learned date's
    buyers in which it came true. ``categories`` are those with a name.
    """
    read = {name: run.tables.version(name) for name in SOURCES}
    lines = build_order_lines(*(run.tables.read(name, version) for name, version in read.items()))
    known = learned.select("member_id", "as_of_date", F.col("next_category")[0].alias("category"))
    shares_C = _shares(known, len(named(categories)))
    last_day: date = known.agg(F.max("as_of_date")).collect()[0][0]
    before = known.where(F.col("as_of_date") == F.lit(last_day)).toArrow()
    member_M, category_M = (before.column(name).to_numpy() for name in ("member_id", "category"))
    share = came_true_share(favourites(lines, categories, last_day, member_M), category_M)
    favourite_N = favourites(lines, categories, test, member_N)
    by_taste_NC, by_shop_NC = taste_probabilities(favourite_N, share, shares_C), np.tile(shares_C, (len(member_N), 1))
    return {
        **rivals,
        "persistence": replace(rivals["persistence"], p_category_NC=by_taste_NC, first_category_N=favourite_N),
        "majority": replace(rivals["majority"], p_category_NC=by_shop_NC),
    }, read


def favourites(order_lines: DataFrame, categories: tuple[str, ...], as_of: date, member_N: np.ndarray) -> IntArray:
    """The favourite of each member, -1 without one."""
    tastes = build_tastes(order_lines, categories, as_of).toArrow()
    of_member = dict(zip(*(tastes.column(name).to_pylist() for name in ("member_id", "favourite")), strict=True))
    return np.array([of_member.get(member, NO_CATEGORY) for member in member_N.tolist()], dtype=np.int64)


def _shares(known: DataFrame, num_categories: int) -> FloatArray:
    counts_C = np.zeros(num_categories, dtype=np.int64)
    for row in known.where(F.col("category") >= 0).groupBy("category").count().collect():
        counts_C[row["category"]] = row["count"]
    return category_shares(counts_C)
