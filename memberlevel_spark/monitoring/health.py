"""Health of the tables: rows of a day against the weeks before, how old the newest day is; no Spark.

In: rows per source and day. Out: watched values, None where there is too little to tell.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from memberlevel_spark.monitoring.watched import Watched

# Days of the same weekday that a median is taken of, at least.
MIN_DAYS = 4


@dataclass(frozen=True)
class Usual:
    """What a day is compared with: the same weekday in so many ``weeks`` before, holidays left out; nothing is said
    where the median is below ``min_rows``."""

    weeks: int
    min_rows: int
    holidays: Collection[date] = ()


def volume(subject: str, rows_by_day: Mapping[date, int], as_of: date, usual: Usual) -> Iterator[Watched]:
    """``volume_drop``, the share of the usual rows that is missing, and ``volume_rise``, what is on top of them.

    None on a holiday, before there are four such weekdays since the first day with rows, and where rows are few. A day
    without rows has none, unless it lies before the first one.
    """
    ratio = _ratio(rows_by_day, as_of, usual)
    yield Watched("volume_drop", subject, as_of, None if ratio is None else 1 - ratio)
    yield Watched("volume_rise", subject, as_of, None if ratio is None else ratio - 1)


def freshness(subject: str, days: Collection[date], as_of: date, *, since: date) -> Watched:
    """``stale_days``: from the newest of ``days`` up to the as-of date, to that date; only days from ``since`` on are
    looked at, so that without any it is the time since then."""
    newest = max((day for day in days if since <= day <= as_of), default=since)
    return Watched("stale_days", subject, as_of, float((as_of - newest).days))


def _ratio(rows_by_day: Mapping[date, int], as_of: date, usual: Usual) -> float | None:
    if as_of in usual.holidays or not rows_by_day:
        return None
    first = min(rows_by_day)
    days = (as_of - timedelta(days=7 * week) for week in range(1, usual.weeks + 1))
    before = [rows_by_day.get(day, 0) for day in days if day >= first and day not in usual.holidays]
    if len(before) < MIN_DAYS or median(before) < usual.min_rows:
        return None
    return rows_by_day.get(as_of, 0) / median(before)
