"""By what members are parted on an as-of date: level, tenure, activity, and categories of their profiles.

In: members with their as-of date and level, ``member_features`` and ``member_days``. Out: one row per member and as-of
date, then one ``Dimension`` each. Everything was known on the as-of date: features are made so, and of the days only
those up to it count.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.slices import UNKNOWN, Dimension, banded
from memberlevel_spark.examples.labels import KEY, build_window_sums
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.timeline import LabelWindow

ACTIVE_DAYS = 91
# From how many days, and from how many orders in 91 days (13 is one a week), a band begins.
TENURE = {"under 3 months": 0, "3 to 6 months": 91, "6 to 12 months": 182, "a year or more": 365}
ORDERS = {"none": 0, "1": 1, "2 to 4": 2, "5 to 12": 5, "13 to 25": 13, "26 or more": 26}
NO_VALUE, OTHER_VALUE = "(none)", "(other)"


def build_slice_columns(
    members: DataFrame,
    features: DataFrame,
    member_days: DataFrame,
    *,
    dates: Sequence[date],
    profile: Sequence[ProfileFeature],
) -> DataFrame:
    """The rows of ``members`` (member_id, as_of_date, …) with tenure_days, recent_orders and a column per category.

    In: features and days may be of more dates. Null tenure and categories for members without features.
    """
    names = [feature.name for feature in profile]
    known = features.where(F.col("as_of_date").isin(list(dates))).select(*KEY, "tenure_days", *names)
    recent = build_window_sums(member_days, dates, LabelWindow(0, ACTIVE_DAYS).before)
    orders = recent.select(*KEY, F.col("num_orders").alias("recent_orders"))
    parted = members.join(known, [*KEY], "left").join(orders, [*KEY], "left")
    return parted.withColumn("recent_orders", F.coalesce("recent_orders", F.lit(0)))


def dimensions_of(
    rows: pd.DataFrame, level_names: Sequence[str], profile: Sequence[ProfileFeature]
) -> tuple[Dimension, ...]:
    """The dimensions from rows of ``build_slice_columns`` that have ``level_now``, in their order."""
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
