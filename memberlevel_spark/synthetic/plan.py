"""Everything the laws of one world need to know: knobs, level rules and one factor per day.

A day is a number, 0 the first day of the world. The plan is small and travels to every task.
Shapes: D days, through the last label date; C campaigns.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.config import Config
from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.config.world import CampaignKnobs, WorldConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.synthetic.draws import Floats, Purpose, normals, root_key
from memberlevel_spark.timeline import LabelWindow

DAY_SECONDS = 86_400
WEEKS_PER_YEAR = 52.18
# Rates are whole numbers of this share of a unit, so that amounts convert exactly.
RATE_STEPS = 10**8
RATE_SPREAD = 0.01


@dataclass(frozen=True)
class SpendLevels:
    """The programmes whose truth the world can tell: spend over trailing days, the level following it every day."""

    window_days: int
    thresholds: tuple[int, ...]

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.thresholds)

    @classmethod
    def of(cls, config: LevelsConfig) -> "SpendLevels":
        """Errors: ConfigError for any other programme."""
        days, programme = config.window_days, config.programme
        short = config.metric == "spend_cents" and days is not None
        if not short or config != LevelsConfig(metric="spend_cents", window_days=days, programme=programme):
            raise ConfigError(
                "the world knows levels by spend over trailing days only, decided every day: see levels."
                " Use metric: spend_cents and window_days, without further rules."
            )
        return cls(days or 1, (0, *(level["spend_cents"] for level in config.thresholds[1:])))


@dataclass(frozen=True)
class WorldPlan:
    """One world: its knobs, its calendar and the rules its members play by."""

    world: WorldConfig
    seed: int
    zone: str
    first_day: date
    num_days: int  # days with data
    rules: SpendLevels
    label: LabelWindow
    as_of_days: tuple[int, ...]  # the days the truth is told for, ascending
    currency: str  # of the shop
    money_digits: int
    rate_factor_D: Floats
    log_basket_shift_D: Floats
    utc_offset_D: NDArray[np.int64]  # seconds

    def date_of(self, day: int) -> date:
        """The date of a day."""
        return self.first_day + timedelta(days=day)

    def day_of(self, day: date) -> int:
        """The number of a date; negative before the world begins."""
        return (day - self.first_day).days

    def campaigns_on(self, day: int) -> list[tuple[int, CampaignKnobs]]:
        """Number and knobs of the campaigns that run on a day."""
        return [
            (number, campaign)
            for number, campaign in enumerate(self.world.campaigns)
            if 0 <= day - self.day_of(campaign.first_day) < campaign.num_days
        ]


def plan_of(config: Config) -> WorldPlan:
    """The plan of a shop's world.

    Errors: ConfigError when there is no ``world:`` section, or it does not fit the timeline, the levels or the money.
    """
    world = config.world
    if world is None:
        raise ConfigError(f"the configuration has no world to make: {config.name}. Add a section world:.")
    timeline, label = config.timeline, config.timeline.label
    rules = SpendLevels.of(config.levels)
    dates = set(timeline.as_of_dates if world.truth.train_dates else (timeline.validation, timeline.test))
    dates |= set(timeline.score)
    _require_fitting_days(world, sorted({*timeline.as_of_dates, timeline.data_through}))
    digits = shop_digits(config.money)
    _require_small_units(world, digits)
    last = max(timeline.data_through, *[label.label_date(day) for day in dates])
    days = [world.first_day + timedelta(days=day) for day in range((last - world.first_day).days + 1)]
    return WorldPlan(
        world=world,
        seed=config.seed,
        zone=timeline.business_zone,
        first_day=world.first_day,
        num_days=(timeline.data_through - world.first_day).days + 1,
        rules=rules,
        label=label,
        as_of_days=tuple(sorted((day - world.first_day).days for day in dates)),
        currency=config.money.currency,
        money_digits=digits,
        rate_factor_D=np.array([rate_factor(world, day) for day in days]),
        log_basket_shift_D=np.log([_drifted(world, day)[1] for day in days]),
        utc_offset_D=np.array([_utc_offset(day, timeline.business_zone) for day in days]),
    )


def rate_factor(world: WorldConfig, day: date) -> float:
    """Season, weekday and drift: the factor on every purchase rate of a date."""
    season = world.season
    phase = 2.0 * np.pi * (day.timetuple().tm_yday / 7.0 - season.peak_week) / WEEKS_PER_YEAR
    yearly = 1.0 + season.amplitude * np.cos(phase)
    return float(yearly * season.weekday_factors[day.weekday()] * _drifted(world, day)[0])


def exchange_rates(plan: WorldPlan, number: int) -> NDArray[np.int64]:
    """The shop's currency per unit of currency ``number`` on each day with data, in steps of 1e-8; int64 [days]."""
    days = np.arange(plan.num_days)
    key = root_key(plan.seed, Purpose.RATE)
    wave = np.sin(2.0 * np.pi * (days / 180.0 + number / 3.0))
    jitter = np.clip(normals(key, days * 16 + number * 2), -3.0, 3.0)
    rate = plan.world.currencies[number].rate * np.exp(RATE_SPREAD * wave + 0.001 * jitter)
    return np.rint(rate * RATE_STEPS).astype(np.int64)


def _drifted(world: WorldConfig, day: date) -> tuple[float, float]:
    drift = world.drift
    return (drift.rate_factor, drift.basket_factor) if drift and day >= drift.from_day else (1.0, 1.0)


def _utc_offset(day: date, zone: str) -> int:
    """Seconds to subtract from local time at noon; nobody shops in the hours in which clocks change."""
    noon = datetime.combine(day, time(12), ZoneInfo(zone))
    return int((noon.replace(tzinfo=UTC) - noon.astimezone(UTC)).total_seconds())


def _require_fitting_days(world: WorldConfig, dates: list[date]) -> None:
    if dates[0] < world.first_day:
        raise ConfigError(
            f"the world begins after an as-of date: {world.first_day} is after {dates[0]}."
            " Move world.first_day or the timeline."
        )
    late = [campaign.name for campaign in world.campaigns if campaign.first_day < world.first_day]
    if late:
        raise ConfigError(f"a campaign begins before the world: {late[0]}. Give it a day from {world.first_day} on.")


def _require_small_units(world: WorldConfig, digits: int) -> None:
    """Each amount in the shop's currency must be reachable in the other one, or truth and data would differ."""
    for currency in world.currencies:
        unit = currency.rate * 10.0 ** (digits - currency.minor_unit_digits)
        if unit * np.exp(2.0 * RATE_SPREAD) >= 1:
            raise ConfigError(
                f"the minor unit of a currency is worth too much: {currency.code}, {unit:.3g} of the shop's."
                " Choose one whose minor unit is worth less than the shop's."
            )
