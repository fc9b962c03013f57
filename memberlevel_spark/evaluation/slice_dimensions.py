"""By what the members of the test date are parted: level, tenure, activity, and categories of their profiles.

In: ``examples`` of the test date, ``member_features`` and ``member_days``. Out: one row per member in the order of
row_key, then one ``Dimension`` each. Everything was known on the as-of date: features are made so, and of the days
only those up to it count.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.slices import UNKNOWN, Dimension, banded
from memberlevel_spark.features.profiles import ProfileFeature

ACTIVE_DAYS = 91
# From how many days, and from how many orders in 91 days (13 is one a week), a band begins.
TENURE = {"under 3 months": 0, "3 to 6 months": 91, "6 to 12 months": 182, "a year or more": 365}
ORDERS = {"none": 0, "1": 1, "2 to 4": 2, "5 to 12": 5, "13 to 25": 13, "26 or more": 26}
NO_VALUE, OTHER_VALUE = "(none)", "(other)"


def build_slice_columns(
    test: DataFrame, features: DataFrame, member_days: DataFrame, *, as_of: date, profile: Sequence[ProfileFeature]
) -> DataFrame:
    """row_key, level_now, tenure_days, recent_orders and one column per category; null for members without features."""
    first = as_of - timedelta(days=ACTIVE_DAYS - 1)
    recent = member_days.where(F.col("day").between(F.lit(first), F.lit(as_of)))
    orders = recent.groupBy("member_id").agg(F.sum("num_orders").alias("num_orders"))
    names = [feature.name for feature in profile]
    known = features.where(F.col("as_of_date") == F.lit(as_of)).select("member_id", "tenure_days", *names)
    beside = test.select("member_id", "row_key", "level_now").join(known, "member_id", "left")
    return (
        beside.join(orders, "member_id", "left")
        .withColumn("recent_orders", F.coalesce("num_orders", F.lit(0)))
        .select("row_key", "level_now", "tenure_days", "recent_orders", *names)
        .orderBy("row_key")
    )


def dimensions_of(
    rows: pd.DataFrame, level_names: Sequence[str], profile: Sequence[ProfileFeature]
) -> tuple[Dimension, ...]:
    """The dimensions from the rows of ``build_slice_columns``, in their order."""
    return (
        Dimension("level now", level_names, rows["level_now"].to_numpy(np.int64)),
        banded("tenure", TENURE, rows["tenure_days"].to_numpy(np.float64)),
        banded(f"orders in {ACTIVE_DAYS} days", ORDERS, rows["recent_orders"].to_numpy(np.float64)),
        *(_category(feature, rows[feature.name].to_numpy(np.float64)) for feature in profile),
    )


def _category(feature: ProfileFeature, index_N: np.ndarray) -> Dimension:
    names = [NO_VALUE, OTHER_VALUE, *feature.entries, UNKNOWN]
    part_N = np.where(np.isnan(index_N), len(names) - 1, np.nan_to_num(index_N)).astype(np.int64)
    return Dimension(feature.attribute.replace("_", " "), names, part_N)
