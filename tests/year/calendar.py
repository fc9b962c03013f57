"""Which days are lived one by one, which dates a day's model is trained on, and on which day what goes wrong."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.timeline import every

CONFIG = Path("conf") / "year.yaml"
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Faults:
    """The days of the faults; each lies in a week of its own, and none is a day of training."""

    late: date  # the day whose orders come ``days_late`` days later
    bad: date  # the day whose orders come with ``num_broken`` broken lines
    crashed_silver: date  # the day on which silver is killed in the middle of its writes
    crashed_score: date  # the day on which scoring is killed between its two tables
    days_late: int = 3
    num_broken: int = 60


@dataclass(frozen=True)
class Year:
    """The calendar of a year whose last ``num_weeks`` weeks are lived day by day; weeks end with a day of training."""

    config: Config
    num_weeks: int

    @property
    def last(self) -> date:
        """The last day."""
        return self.config.timeline.data_through

    @property
    def opening(self) -> date:
        """The last day of the history that is there when the first model is trained."""
        return self.last - self.num_weeks * WEEK

    @property
    def days(self) -> tuple[date, ...]:
        """The days that are lived, ascending."""
        return every(self.opening + timedelta(days=1), self.last, 1)

    @property
    def trainings(self) -> tuple[date, ...]:
        """The days of training, the opening first."""
        return every(self.opening, self.last, 7)

    @property
    def drifts_from(self) -> date:
        """The first day of the planted drift."""
        assert self.config.world is not None and self.config.world.drift is not None
        return self.config.world.drift.from_day

    @property
    def faults(self) -> Faults:
        """One kind of fault in each of the first three weeks; the drift comes after them."""
        late, bad, crashed = (self.opening + timedelta(days=3) + number * WEEK for number in (0, 1, 2))
        return Faults(late, bad, crashed, crashed + timedelta(days=1))

    def week_of(self, day: date) -> int:
        """The number of a lived day's week, from 1."""
        return (day - self.opening - timedelta(days=1)).days // 7 + 1

    def settings_of(self, training: date) -> list[str]:
        """What the configuration says differently when the newest label is known on a day of training."""
        horizon = timedelta(days=self.config.timeline.horizon_days)
        parts = {"test": training - horizon, "validation": training - 2 * horizon, "train.last": training - 3 * horizon}
        return [f"timeline.{key}={value}" for key, value in parts.items()]

    def training_dates(self, training: date) -> tuple[date, ...]:
        """Every as-of date with a label that a day of training may use."""
        return every(self.config.timeline.train.first, training - timedelta(self.config.timeline.horizon_days), 7)


def year_of(num_weeks: int) -> Year:
    """The calendar of ``conf/year.yaml``."""
    year = Year(load_config(CONFIG, environment={}), num_weeks)
    ends = [year.faults.late + timedelta(days=year.faults.days_late), year.faults.bad, year.faults.crashed_score]
    assert all(day.weekday() != year.opening.weekday() for day in ends) and max(ends) < year.drifts_from <= year.last
    return year
