"""Which features a shop has: those of its tiles by the configuration, and those that follow from its level rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from memberlevel_spark.config.model import FeaturesConfig
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.features.breakdowns import BREAKDOWNS, DIMENSION_OF_ITEMS, SPREAD_OVER, fits_its_source
from memberlevel_spark.features.feature import AS_OF, Feature, require_distinct_names
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import BREAKDOWN_MEASURES

ORDERS = "num_orders"
# Windows and reviews of these begin on the same day for all members; anniversaries do not.
CALENDAR_PERIODS = ("month", "quarter", "year")


@dataclass(frozen=True)
class ScalarFeature:
    """One number per member and as-of date that is not made of tiles; never null. ``moves_with_the_calendar``: it
    changes as days pass even where members stay the same."""

    name: str
    meaning: str
    moves_with_the_calendar: bool = False


def used_measures(features: FeaturesConfig, metrics: Sequence[str], measures: Sequence[str]) -> tuple[str, ...]:
    """The configured ones of the tiles' ``measures``, and those every shop needs: orders and the level metrics.

    Errors: ConfigError for a name that is not a measure of the daily tiles.
    """
    unknown = set(features.measures) - set(measures)
    if unknown:
        raise ConfigError(
            f"not measures of the daily tiles: {first_five(unknown)}. Use some of: {', '.join(measures)}."
        )
    needed = {*features.measures, *metrics, ORDERS}
    return tuple(measure for measure in measures if measure in needed)


def declared_features(config: FeaturesConfig, measures: Sequence[str]) -> tuple[Feature, ...]:
    """Sum and count of every measure over every window, the first and the last order, and what the shop adds.

    Errors: ConfigError for a further feature that does not fit its aggregate, or of a measure that is not used.
    """
    windows = [
        Feature(measure, aggregate, window_days=days)
        for measure in measures
        for aggregate in ("sum", "count")
        for days in sorted(set(config.windows_days))
    ]
    recency = [Feature(ORDERS, "days_since"), Feature(ORDERS, "days_since_first")]
    more = [Feature(**given.model_dump()) for given in config.more]
    declared = (*windows, *recency, *more)
    unknown = {measure for feature in more for measure in feature.measures} - {*measures, AS_OF, *BREAKDOWNS}
    if unknown:
        raise ConfigError(
            f"features.more speaks of measures that are not used: {first_five(unknown)}. Add them to features.measures."
            f" Breakdowns are called {', '.join(DIMENSION_OF_ITEMS)}, or <measure>_by_{'|'.join(SPREAD_OVER)}, of:"
            f" {', '.join(BREAKDOWN_MEASURES)}."
        )
    _require_fitting_breakdowns(more)
    require_distinct_names(declared)
    return declared


def _require_fitting_breakdowns(more: Sequence[Feature]) -> None:
    wrong = [f"{feature.measure} {feature.aggregate}" for feature in more if not fits_its_source(feature)]
    if wrong:
        raise ConfigError(
            f"features.more takes aggregates of what they cannot be made of, or parts that are not there:"
            f" {first_five(wrong)}. num_distinct is of {', '.join(DIMENSION_OF_ITEMS)}; part_share, top and entropy of"
            " <measure>_by_<dimension>; all others of the measures of the daily tiles."
        )


def to_level_features(rules: LevelRules) -> list[tuple[str, str, int]]:
    """Name, the feature it is measured from, and the threshold of every distance to a level above the lowest."""
    return [
        (f"to_level_{level}_{metric}_{when}", f"level_{metric}_{when}", needed)
        for when in ("now", "carry_over")
        for level, needs in enumerate(rules.thresholds)
        for metric, needed in needs.items()
    ]


def scalar_features(rules: LevelRules) -> tuple[ScalarFeature, ...]:
    """Tenure, level history and how far the level metrics reach, now and by what is carried over."""
    label = {"now": "today", "carry_over": "on the label date, if nothing more is earned"}
    calendar = partial(ScalarFeature, moves_with_the_calendar=True)
    of_window = partial(ScalarFeature, moves_with_the_calendar=rules.config.counted.period in CALENDAR_PERIODS)
    of_review = partial(ScalarFeature, moves_with_the_calendar=rules.config.review.every in CALENDAR_PERIODS)
    return (
        calendar("tenure_days", "days since the shop has known the member"),
        ScalarFeature("level_now", "level held on the as-of date, 0 the lowest"),
        calendar("days_in_level", "days since that level began"),
        calendar("num_level_ups", "rises so far"),
        calendar("num_level_downs", "falls so far"),
        calendar("best_level", "highest level ever held"),
        ScalarFeature("level_if_idle", "level on the label date if nothing more happens"),
        of_review("days_to_review", "days to the next day on which levels may fall"),
        *(of_window(f"level_{m}_now", f"{m} over the level window that ends today") for m in rules.metrics),
        *(of_window(f"level_{m}_carry_over", f"{m} that still counts on the label date") for m in rules.metrics),
        *(
            of_window(
                name, f"missing to level {name.split('_')[2]} {label['now' if name.endswith('_now') else 'carry_over']}"
            )
            for name, _, _ in to_level_features(rules)
        ),
        *(of_window(f"to_keep_{m}", f"{m} to earn by the label date to keep the level held") for m in rules.metrics),
    )
