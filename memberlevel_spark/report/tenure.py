"""How long members hold a level, for the report; spells are made in Spark.

In: ``member_levels``. Out: numbers of spells by length, and a survival curve per level.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.evaluation.survival import kaplan_meier, median_days


def build_spells(member_levels: DataFrame, as_of: date) -> DataFrame:
    """Spells on a level by length, as known on the as-of date: columns level, ended, days, spells.

    A spell is a row of stretches with one level shown. ``days`` is how long an ended one lasted; one that is held on
    the as-of date has lasted longer than the days before that date.
    """
    known = member_levels.where(F.col("valid_from") <= F.lit(as_of)).select("member_id", "valid_from", "level")
    history = W.Window.partitionBy("member_id").orderBy(F.col("valid_from").asc_nulls_first())
    is_first = ~F.coalesce(F.lag("level").over(history) == F.col("level"), F.lit(False))
    begun = known.withColumn("is_first", is_first).where("is_first")
    until = F.lead("valid_from").over(history)
    spells = begun.withColumn("until", until).select(
        "level",
        F.col("until").isNotNull().alias("ended"),
        F.date_diff(F.coalesce("until", F.lit(as_of)), "valid_from").alias("days"),
    )
    return spells.groupBy("level", "ended", "days").agg(F.count("*").alias("spells"))


def survival_curves(counted: Iterable[Sequence[Any]], num_levels: int) -> list[dict[str, Any]]:
    """A row per level for ReportData, from the rows of ``build_spells``; a level that nobody held has no steps."""
    spells: dict[tuple[int, bool], dict[int, int]] = {}
    for level, ended, days, number in counted:
        spells.setdefault((level, ended), {})[days] = number
    return [_curve(level, spells.get((level, True), {}), spells.get((level, False), {})) for level in range(num_levels)]


def _curve(level: int, ended: dict[int, int], ongoing: dict[int, int]) -> dict[str, Any]:
    steps = kaplan_meier(ended, ongoing)
    days, shares = [step.days for step in steps], [step.share for step in steps]
    longest = max([0, *ended, *ongoing])
    if longest > days[-1]:
        days, shares = [*days, longest], [*shares, shares[-1]]
    num_ended, num_ongoing = sum(ended.values()), sum(ongoing.values())
    has_any = bool(num_ended + num_ongoing)
    return {
        "level": level,
        "spells": num_ended + num_ongoing,
        "ended": num_ended,
        "median_days": median_days(steps) if has_any else None,
        "days": days if has_any else [],
        "shares": shares if has_any else [],
    }
