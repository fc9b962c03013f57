"""The aggregates a feature may be declared with: what each means, in which unit, and what stands for its null.

Texts are templates: ``{measure}`` as in a name, ``{what}`` as in a sentence, ``{unit}`` of the measure, ``{of}`` and
``{below}`` the other measures, ``{window}`` in a sentence, ``{days}`` and ``{over}`` window lengths, ``{part}``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NEVER_DAYS = 730  # stands for "never" in a count of days over the whole history
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Source = Literal["tiles", "items", "categories", "calendar"]
# What stands for a null: a number, or the length of the window (NEVER_DAYS without one); None: there is no null
Default = int | Literal["window"] | None
# none: the whole history always; any: a window or the whole history; needed: a window; weeks: any, of whole weeks
Window = Literal["none", "any", "needed", "weeks"]


@dataclass(frozen=True)
class Aggregate:
    """One way to make a number of a measure. ``version`` goes up whenever the definition changes."""

    meaning: str
    unit: str
    name: str = ""  # of the feature, before its window; empty: {measure}_<key of the registry>
    dtype: Literal["long", "double"] = "double"
    when_null: Default = 0
    source: Source = "tiles"
    window: Window = "any"
    needs: tuple[str, ...] = ()  # of the fields of, part, over_days
    num_parts: int | None = None  # parts are 0 … num_parts - 1; None: as many as there are
    accumulates: bool = False  # over all days it moves one way only: a sum, a count, an extreme, a span
    version: int = 1


def _long(meaning: str, unit: str, when_null: Default = 0, *, accumulates: bool = False) -> Aggregate:
    return Aggregate(meaning, unit, dtype="long", when_null=when_null, accumulates=accumulates)


def _calendar(meaning: str, unit: str, *, long: bool, when_null: Default = None) -> Aggregate:
    dtype: Literal["long", "double"] = "long" if long else "double"
    return Aggregate(meaning, unit, dtype=dtype, when_null=when_null, source="calendar", window="none")


ACTIVE = "days with {what} other than 0"
AGGREGATES: Mapping[str, Aggregate] = {
    "sum": _long("Sum of {what} over {window}.", "{unit}", None, accumulates=True),
    "count": _long(f"Number of {ACTIVE} in {{window}}.", "days", None, accumulates=True),
    "mean": Aggregate(f"Sum of {{what}} over the number of {ACTIVE}, in {{window}}.", "{unit} per active day"),
    "min": _long(f"Smallest {{what}} among {ACTIVE} in {{window}}.", "{unit}", accumulates=True),
    "max": _long(f"Largest {{what}} among {ACTIVE} in {{window}}.", "{unit}", accumulates=True),
    "std": Aggregate(f"Population standard deviation of {{what}} over {ACTIVE} in {{window}}.", "{unit}"),
    "last": _long("{what} on the last day on which it was not 0, in {window}.", "{unit}"),
    "days_since": _long(
        "Days from the last day with {what} other than 0 in {window} to the as-of date.", "days", "window"
    ),
    "days_since_first": _long(
        "Days from the first day with {what} other than 0 in {window} to the as-of date.",
        "days",
        "window",
        accumulates=True,
    ),
    "trend": Aggregate(
        "Least squares slope of {what} per day over {window}, a day without a tile being 0.",
        "{unit} per day",
        when_null=None,
        window="needed",
    ),
    "lag_sum": Aggregate(
        "Sum of {what} over the {days} days that end {part} times {days} days before the as-of date.",
        "{unit}",
        name="{measure}_lag_{part}_sum",
        dtype="long",
        when_null=None,
        window="needed",
        needs=("part",),
    ),
    "window_share": Aggregate(
        "Sum of {what} over {window} as a share of the sum over {over} days, kept within 0 and 1.",
        "share",
        name="{measure}_sum_{days}d_share_of",
        window="needed",
        needs=("over_days",),
    ),
    "share": Aggregate(
        "Sum of {what} as a share of the sum of {below}, kept within 0 and 1, over {window}.",
        "share",
        name="{measure}_share_of_{of}",
        needs=("of",),
    ),
    "shortfall": Aggregate(
        "1 less the sum of {what} as a share of the sum of {below}, kept within 0 and 1, over {window}.",
        "share",
        name="{measure}_shortfall_of_{of}",
        needs=("of",),
    ),
    "ratio": Aggregate(
        "Sum of {what} divided by the sum of {below}, over {window}.",
        "{unit} per {of_unit}",
        name="{measure}_per_{of}",
        needs=("of",),
    ),
    "weekend_share": Aggregate("Share of positive {what} on Saturdays and Sundays in {window}.", "share"),
    "weekday_share": Aggregate(
        "Share of positive {what} on {weekday}s in {window}.",
        "share",
        name="{measure}_{weekday}_share",
        needs=("part",),
        num_parts=7,
    ),
    "weekday_entropy": Aggregate("Entropy of positive {what} over the seven weekdays in {window}.", "nats"),
    "gap_mean": Aggregate(f"Mean days between {ACTIVE} in {{window}}.", "days", when_null="window"),
    "gap_std": Aggregate(f"Population standard deviation of the days between {ACTIVE} in {{window}}.", "days"),
    "streak_weeks": Aggregate(
        f"Consecutive weeks with {ACTIVE}, counted back from the as-of date, in {{window}}.",
        "weeks",
        dtype="long",
        when_null=None,
        window="weeks",
    ),
    "longest_streak_weeks": Aggregate(
        f"Longest run of consecutive weeks with {ACTIVE} in {{window}}; weeks end on the as-of date's weekday.",
        "weeks",
        dtype="long",
        when_null=None,
        window="weeks",
        accumulates=True,
    ),
    "repeat_days": _long(f"Number of {ACTIVE} after the first one, in {{window}}.", "days", accumulates=True),
    "first_to_last_days": _long(
        "Days from the first to the last day with {what} other than 0 in {window}.", "days", accumulates=True
    ),
    "repeat_mean": Aggregate(
        "Mean of {what} over the days with {below} other than 0 after the first such day, in {window}.",
        "{unit} per active day",
        name="{measure}_mean_per_repeat_day_of_{of}",
        needs=("of",),
    ),
    "num_distinct": Aggregate(
        "Number of different {what} met in {window}.",
        "items",
        dtype="long",
        when_null=None,
        source="items",
        accumulates=True,
    ),
    "part_share": Aggregate(
        "Share of positive {what} in category {part} in {window}.",
        "share",
        name="{measure}_{part}_share",
        source="categories",
        needs=("part",),
    ),
    "entropy": Aggregate("Entropy of positive {what} over its categories in {window}.", "nats", source="categories"),
    "top": Aggregate(
        "Number of the category that is in place {part} (0: the first) by positive {what} in {window}; of equal ones"
        " the lowest number is first.",
        "category",
        name="{measure}_top_{part}",
        dtype="long",
        when_null=-1,
        source="categories",
        needs=("part",),
    ),
    "year_sin": _calendar("Sine of the as-of date's place in its year.", "-1 to 1", long=False),
    "year_cos": _calendar("Cosine of the as-of date's place in its year.", "-1 to 1", long=False),
    "weekday": _calendar("Weekday of the as-of date, 0 for Monday.", "weekday", long=True),
    "month": _calendar("Month of the as-of date, 1 for January.", "month", long=True),
    "days_to_holiday": _calendar(
        "Days from the as-of date to the next holiday, 0 on one.", "days", long=True, when_null=365
    ),
}
