"""All date arithmetic of the project; no Spark.

A day is a business day in the configured zone. Every window is half-open, ``(start, end]``: an as-of date is the last
day whose events may be used, so a lookback of N days is ``(as_of - N, as_of]`` and a label with gap g and horizon H
looks at ``(as_of + g, as_of + g + H]``. Features and labels therefore never share a day.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from memberlevel_spark.errors import ConfigError, LeakageError, first_five

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayWindow:
    """The days d with ``after < d <= through``."""

    after: date
    through: date

    def __contains__(self, day: date) -> bool:
        return self.after < day <= self.through


def lookback(as_of: date, num_days: int) -> DayWindow:
    """The ``num_days`` days that end with, and include, the as-of date: ``(as_of - N, as_of]``."""
    return DayWindow(as_of - timedelta(days=num_days), as_of)


EPOCH = date(1970, 1, 1)
MONTHS_OF = {"month": 1, "quarter": 3, "year": 12}


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def date_of(number: int) -> date:
    """The date of a day number."""
    return EPOCH + timedelta(days=number)


def day_end_second(day: date, zone: str) -> int:
    """The instant at which a business day of a zone is over, in seconds since 1970-01-01 UTC."""
    return int(datetime.combine(day + ONE_DAY, time.min, ZoneInfo(zone)).timestamp())


def period_start(day: date, period: str, later: int = 0) -> date:
    """First day of the calendar ``month``, ``quarter`` or ``year`` of a day, or of one ``later`` periods after it."""
    length = MONTHS_OF[period]
    months = ((day.year * 12 + day.month - 1) // length + later) * length
    return date(months // 12, months % 12 + 1, 1)


def anniversary(first: date, years: int) -> date:
    """The same day ``years`` later; 28 February for the 29th where there is none."""
    last_day = monthrange(first.year + years, first.month)[1]
    return date(first.year + years, first.month, min(first.day, last_day))


@dataclass(frozen=True)
class LabelWindow:
    """The days a label looks at: ``(as_of + gap, as_of + gap + horizon]``, lengths in days."""

    gap_days: int
    horizon_days: int

    @property
    def reach_days(self) -> int:
        """Days from an as-of date to the last day of its label."""
        return self.gap_days + self.horizon_days

    def of(self, as_of: date) -> DayWindow:
        """The label window of one as-of date."""
        return DayWindow(as_of + timedelta(days=self.gap_days), self.label_date(as_of))

    def label_date(self, as_of: date) -> date:
        """The day whose level is predicted, also the first day on which the label is known."""
        return as_of + timedelta(days=self.reach_days)

    def last_known_by(self, day: date) -> date:
        """The last as-of date whose label is known on a day."""
        return day - timedelta(days=self.reach_days)

    @property
    def before(self) -> "LabelWindow":
        """As many days that end with the as-of date: ``(as_of - horizon, as_of]``."""
        return LabelWindow(-self.horizon_days, self.horizon_days)

    def require_mature(self, as_of_dates: Sequence[date], data_through: date) -> None:
        """Refuse as-of dates whose label window ends after the data; a partial sum would look like a small one."""
        immature = [day for day in as_of_dates if self.label_date(day) > data_through]
        if immature:
            latest = self.last_known_by(data_through)
            raise LeakageError(
                f"labels are not mature for as-of dates: {first_five(immature)} (data reaches {data_through}, a label"
                f" needs {self.reach_days} days). Use as-of dates up to {latest} or wait for the data."
            )


def every(first: date, last: date, num_days: int) -> tuple[date, ...]:
    """As-of dates from ``last`` backwards in steps of ``num_days`` down to ``first``, in ascending order.

    Anchored at the end, so that the newest date is always among them.
    """
    if first > last:
        raise ConfigError(f"a date range ends before it starts: {first} to {last}. Swap the two dates.")
    count = (last - first).days // num_days + 1
    return tuple(sorted(last - timedelta(days=num_days * step) for step in range(count)))


def steps_after(start: date, last: date, num_days: int) -> tuple[date, ...]:
    """The dates after ``start`` in steps of ``num_days`` up to ``last``, ascending; none when ``last`` is too early."""
    count = max((last - start).days // num_days, 0)
    return tuple(start + timedelta(days=num_days * step) for step in range(1, count + 1))


@dataclass(frozen=True)
class Split:
    """As-of dates of training, validation and test; later parts start only after the labels of earlier ones ended.

    ``late`` dates lie after those of training; their labels are known by the test date. What was chosen on validation
    is fitted once more on training, late and validation dates.
    """

    train: tuple[date, ...]
    validation: tuple[date, ...]
    test: tuple[date, ...]
    late: tuple[date, ...] = ()

    @property
    def dates(self) -> tuple[date, ...]:
        """All as-of dates that need a label, ascending."""
        return tuple(sorted({*self.train, *self.validation, *self.test, *self.late}))

    def name_of(self, as_of: date) -> str:
        """``train``, ``validation``, ``test`` or ``late``; KeyError for a date of none of them."""
        for name in ("train", "validation", "test", "late"):
            if as_of in getattr(self, name):
                return name
        raise KeyError(as_of)

    def require_embargo(self, label: LabelWindow) -> None:
        """Refuse splits in which a label window of one part reaches past the first as-of date of the next."""
        pairs = [("train", "validation"), ("validation", "test"), *([("late", "test")] if self.late else [])]
        for earlier, later in pairs:
            last, first = max(getattr(self, earlier)), min(getattr(self, later))
            if label.label_date(last) > first:
                raise LeakageError(
                    f"{earlier} labels overlap {later}: as-of {last} is labelled through {label.label_date(last)},"
                    f" after the {later} date {first}. Leave {label.reach_days} days between the two."
                )
