"""Configuration of the level programme. What each word means on which day is said in ``levels/README.md``."""

from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from memberlevel_spark.config.base import Model
from memberlevel_spark.timeline import MONTHS_OF

Period = Literal["month", "quarter", "year", "anniversary"]
# Days a period has at most.
LONGEST_DAYS = {"day": 1, "month": 31, "quarter": 92, "year": 366, "anniversary": 366}


class LevelConfig(Model):
    """One member level: what must be reached to hold it (metric -> threshold), and what its members get."""

    name: str = Field(min_length=1)
    at_least: int | dict[str, int] = 0
    benefits: tuple[str, ...] = ()


class WindowConfig(Model):
    """The days whose metrics count: the last ``days``, or those of the present ``period`` so far."""

    days: int | None = Field(default=None, ge=1, le=3660)
    period: Period | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "WindowConfig":
        if (self.days is None) == (self.period is None):
            raise ValueError("either days or period (month, quarter, year, anniversary)")
        return self


class ReviewConfig(Model):
    """The days on which members may fall: every day, or the given ``day`` of every month, quarter or year, or the
    anniversary of the day on which the shop knew the member first."""

    every: Literal["day", "month", "quarter", "year", "anniversary"] = "day"
    month: int = Field(default=1, ge=1, le=12)
    day: int = Field(default=1, ge=1, le=28)

    @model_validator(mode="after")
    def _only_what_counts(self) -> "ReviewConfig":
        if self.month != 1 and self.every != "year":
            raise ValueError("a month only for a review every year")
        if self.day != 1 and self.every in ("day", "anniversary"):
            raise ValueError("a day only for a review every month, quarter or year")
        return self


class KeptConfig(Model):
    """How long a level stays earned after a day on which its thresholds were reached: further ``days``, or to the end
    of the n-th of the window's ``periods`` after the present one (0: of the present one)."""

    days: int | None = Field(default=None, ge=0, le=3660)
    periods: int | None = Field(default=None, ge=0, le=10)

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "KeptConfig":
        if (self.days is None) == (self.periods is None):
            raise ValueError("either days or periods")
        return self


class ManualConfig(Model):
    """Levels given by hand, as two attributes of the member profiles: the level's name, and the first day on which it
    no longer holds. It begins on the profile's ``valid_from``, or later: on the day the shop learned of it."""

    level: str = Field(min_length=1)
    until: str = Field(min_length=1)
    mode: Literal["at_least", "exactly"] = "at_least"


class MultiplierConfig(Model):
    """More points for events of a product category, or of the days of a campaign, or both."""

    times: float = Field(ge=0, le=100)
    category: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    @field_validator("times")
    @classmethod
    def _two_decimals(cls, times: float) -> float:
        if round(times, 2) != times:
            raise ValueError("at most two decimals")
        return times

    @model_validator(mode="after")
    def _some_condition(self) -> "MultiplierConfig":
        if self.category is None and self.first_day is None and self.last_day is None:
            raise ValueError("a category, or days, to which the multiplier applies")
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise ValueError("first_day on or before last_day")
        return self


class EarnConfig(Model):
    """How members earn the metric ``points``, besides the points that events of the log carry."""

    per_currency_unit: int = Field(default=0, ge=0)
    per_event: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    multipliers: tuple[MultiplierConfig, ...] = ()
    expire_days: int | None = Field(default=None, ge=1, le=3660)


class LevelsConfig(Model):
    """The level programme. ``metric`` and ``window_days`` are the short form for one metric over trailing days."""

    metric: str | None = None
    window_days: int | None = Field(default=None, ge=1, le=3660)
    window: WindowConfig | None = None
    reach: Literal["all", "any"] = "all"
    programme: tuple[LevelConfig, ...] = Field(min_length=2, max_length=32)
    upgrade: Literal["at_once", "at_review"] = "at_once"
    review: ReviewConfig = ReviewConfig()
    kept_for: KeptConfig = KeptConfig(days=0)
    grace_days: int = Field(default=0, ge=0, le=366)
    soft_landing: bool = False
    manual: ManualConfig | None = None
    earn: EarnConfig = EarnConfig()

    @model_validator(mode="after")
    def _makes_sense(self) -> "LevelsConfig":
        problems = [*self._form_problems(), *self._threshold_problems(), *self._review_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def counted(self) -> WindowConfig:
        """The qualification window, whichever way it was given."""
        return self.window or WindowConfig(days=self.window_days)

    @property
    def thresholds(self) -> tuple[dict[str, int], ...]:
        """Metric -> threshold of each level; the lowest needs nothing."""
        given = [level.at_least for level in self.programme]
        needed = [{self.metric or "": value} if isinstance(value, int) else value for value in given]
        return ({}, *needed[1:])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a threshold speaks of, in the order of their first mention."""
        return tuple(dict.fromkeys(name for level in self.thresholds for name in level))

    def _form_problems(self) -> list[str]:
        problems = []
        if (self.window is None) == (self.window_days is None):
            problems.append("either window_days or window")
        numbers = [level.name for level in self.programme[1:] if isinstance(level.at_least, int)]
        if numbers and self.metric is None:
            problems.append(f"metric, since thresholds are plain numbers (of {', '.join(numbers[:5])})")
        if self.metric is not None and len(numbers) < len(self.programme) - 1:
            problems.append("metric only where every threshold is a plain number")
        if len({level.name for level in self.programme}) < len(self.programme):
            problems.append("level names that differ")
        return problems

    def _threshold_problems(self) -> list[str]:
        lowest, problems = self.programme[0], []
        if lowest.at_least not in (0, {}):
            problems.append(
                f"programme thresholds that start at 0 and strictly increase ({lowest.name} is the lowest level)"
            )
        for below, level in pairwise(range(len(self.programme))):
            easier, harder = self.thresholds[below], self.thresholds[level]
            if not harder or min(harder.values()) < 1 or easier == harder or not self._rises(easier, harder):
                names = f"{self.programme[below].name} to {self.programme[level].name}"
                problems.append(f"programme thresholds that start at 0 and strictly increase ({names})")
        return problems

    def _rises(self, easier: dict[str, int], harder: dict[str, int]) -> bool:
        """Whether everybody who reaches the harder level reaches the easier one."""
        if not easier:
            return True
        if self.reach == "all":
            return all(harder.get(metric, 0) >= value for metric, value in easier.items())
        return all(easier.get(metric, value + 1) <= value for metric, value in harder.items())

    def _reviews_begin_periods(self, period: str | None) -> bool:
        """Whether every review falls on the first day of one of the window's periods."""
        review = self.review
        if "anniversary" in (period, review.every):
            return period == review.every
        finer = ("month", "quarter", "year")
        if period not in finer or review.every not in finer or review.day != 1:
            return False
        months = {"month": range(12), "quarter": (0, 3, 6, 9), "year": (review.month - 1,)}[review.every]
        return all(month % MONTHS_OF[period] == 0 for month in months)

    def _review_problems(self) -> list[str]:
        review, kept, problems = self.review, self.kept_for, []
        period = self.counted.period if self.window or self.window_days else None
        interval = LONGEST_DAYS[review.every]
        if kept.periods is not None and period is None:
            problems.append("kept_for.periods only for a window that is a period")
        elif kept.periods is not None and period is not None and interval > max(kept.periods, 1) * LONGEST_DAYS[period]:
            problems.append("a review at least as often as a level is kept_for")
        elif kept.days and interval > kept.days:
            problems.append(f"a review at least as often as a level is kept_for ({kept.days} days)")
        if self.upgrade == "at_review" and not (kept.days or kept.periods) and self._reviews_begin_periods(period):
            problems.append(
                "levels that can be reached: a review on a period's first day sees that day only; set kept_for"
            )
        if self.soft_landing and review.every == "day":
            problems.append("soft_landing only with reviews that are not every day")
        return problems
