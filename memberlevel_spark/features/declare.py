"""Feature declarations: names, meaning and null behaviour follow from them, never the other way round. No Spark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memberlevel_spark.config.model import FeaturesConfig, LevelsConfig
from memberlevel_spark.errors import ConfigError, first_five


@dataclass(frozen=True)
class WindowFeature:
    """A measure over the lookback ``(as_of - N, as_of]``: its sum, or the count of days on which it was not zero."""

    measure: str
    aggregate: Literal["sum", "count"]
    window_days: int

    @property
    def name(self) -> str:
        """``spend_cents_sum_28d``."""
        return f"{self.measure}_{self.aggregate}_{self.window_days}d"


@dataclass(frozen=True)
class ScalarFeature:
    """One other number per member and as-of date; ``when_null`` is what the encoder takes for a null."""

    name: str
    meaning: str
    when_null: int = 0


NEVER_DAYS = 730  # stands for "never" in a count of days: further back than any window


def used_measures(features: FeaturesConfig, metric: str, measures: Sequence[str]) -> tuple[str, ...]:
    """The configured ones of the tiles' ``measures``, and the two every shop needs: orders and the level metric.

    Errors: ConfigError for a name that is not a measure of the daily tiles.
    """
    unknown = set(features.measures) - set(measures)
    if unknown:
        raise ConfigError(
            f"not measures of the daily tiles: {first_five(unknown)}. Use some of: {', '.join(measures)}."
        )
    needed = {*features.measures, metric, "num_orders"}
    return tuple(measure for measure in measures if measure in needed)


def window_features(config: FeaturesConfig, measures: Sequence[str]) -> tuple[WindowFeature, ...]:
    """Sum and count of every measure over every window, in a fixed order."""
    return tuple(
        WindowFeature(measure, aggregate, days)
        for measure in measures
        for aggregate in ("sum", "count")
        for days in sorted(set(config.windows_days))
    )


def scalar_features(levels: LevelsConfig) -> tuple[ScalarFeature, ...]:
    """Recency, tenure, level and how far the level metric reaches, now and by what is carried over."""
    higher = range(1, len(levels.programme))
    return (
        ScalarFeature("days_since_last_order", "days from the last order to the as-of date", NEVER_DAYS),
        ScalarFeature("days_since_first_order", "days from the first order to the as-of date", NEVER_DAYS),
        ScalarFeature("tenure_days", "days since the shop has known the member"),
        ScalarFeature("level_now", "level held on the as-of date, 0 the lowest"),
        ScalarFeature("level_metric_now", f"{levels.metric} over the level window that ends on the as-of date"),
        ScalarFeature("level_metric_carry_over", f"part of {levels.metric} that still counts on the label date"),
        *(
            ScalarFeature(f"to_level_{k}_now", f"{levels.metric} missing to level {k} today, 0 when held")
            for k in higher
        ),
        *(
            ScalarFeature(f"to_level_{k}_carry_over", f"{levels.metric} to earn by the label date to hold level {k}")
            for k in higher
        ),
    )
