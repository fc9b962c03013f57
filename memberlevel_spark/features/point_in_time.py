"""From silver to features: the builders of the stages member_days, levels and features, composed once.

In: ``events``, ``members`` and ``products`` of silver. Out: named frames, of which each row with an ``as_of_date`` may
depend on nothing that the shop came to know after that date. The stages use the parts, ``leakage.py`` the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.features.assemble import build_member_features, build_member_sequences
from memberlevel_spark.features.breakdown_tiles import build_member_day_breakdowns
from memberlevel_spark.features.breakdowns import Breakdown, declared_breakdowns, dimensions_of
from memberlevel_spark.features.declare import declared_features, used_measures
from memberlevel_spark.features.event_sequences import build_event_sequences
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import ProfileFeature, profile_features
from memberlevel_spark.features.recent_events import SequencePlan, build_recent_events
from memberlevel_spark.features.tiles import build_member_days
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.levels.points import points_of_event, with_categories
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES


@dataclass(frozen=True)
class Sources:
    """The tables of silver that features are made from; ``products`` is None in a shop that has none."""

    events: DataFrame
    members: DataFrame
    products: DataFrame | None = None

    @property
    def frames(self) -> dict[str, DataFrame]:
        """Those that are there, by name."""
        return {name: frame for name, frame in vars(self).items() if frame is not None}


def as_it_is(frame: DataFrame) -> DataFrame:
    """The frame, not kept."""
    return frame


def configured_rules(config: Config) -> LevelRules:
    """The level rules. Errors: ConfigError when a metric is not a measure of the daily tiles."""
    return LevelRules.of(config.levels, MEASURES)


def configured_measures(config: Config) -> tuple[str, ...]:
    """The measures the features are made of. Errors: ConfigError for a name that is none."""
    return used_measures(config.features, config.levels.metrics, MEASURES)


def configured_features(config: Config) -> tuple[Feature, ...]:
    """The features that are made of tiles. Errors: ConfigError for a declaration that does not fit."""
    return declared_features(config.features, configured_measures(config))


def configured_dimensions(config: Config) -> tuple[str, ...]:
    """The dimensions by which the days of members are broken down."""
    return dimensions_of(declared_breakdowns(configured_features(config)))


def window_plan(
    config: Config,
    dates: Sequence[date],
    *,
    profile: tuple[ProfileFeature, ...] = (),
    breakdowns: tuple[Breakdown, ...] = (),
) -> WindowPlan:
    """What the window kernel computes for some as-of dates."""
    features = config.features
    return WindowPlan(
        measures=configured_measures(config),
        as_of_days=days_since_epoch(dates),
        declared=configured_features(config),
        sequence_weeks=features.sequence_weeks,
        rules=configured_rules(config),
        reach_days=config.timeline.label.reach_days,
        holidays=days_since_epoch(features.holidays),
        profile=profile,
        breakdowns=breakdowns,
    )


def build_tiles(events: DataFrame, products: DataFrame | None, config: Config) -> DataFrame:
    """``member_days`` of some days' events, with the points that the programme gives for them."""
    rules = configured_rules(config)
    if rules.needs_categories:
        assert products is not None, "points depend on categories, and there are no products"
        events = with_categories(events, products)
    points = points_of_event(rules.config.earn, minor_units=10 ** shop_digits(config.money))
    return build_member_days(events, points)


def build_breakdown_tiles(events: DataFrame, products: DataFrame | None, config: Config) -> DataFrame | None:
    """``member_day_breakdowns`` of some days' events; None where no feature asks for any."""
    dimensions = configured_dimensions(config)
    if not dimensions:
        return None
    return build_member_day_breakdowns(events, products, dimensions, zone=config.timeline.business_zone)


def build_levels(members: DataFrame, member_days: DataFrame, config: Config) -> DataFrame:
    """``member_levels`` through ``timeline.data_through``, of whoever is known by then."""
    through = config.timeline.data_through
    known = members.where(F.col("known_from") <= F.lit(through))
    return build_member_levels(known, member_days, configured_rules(config), through=through)


def build_feature_tables(
    windows: DataFrame, config: Config, *, profile: Sequence[ProfileFeature] = ()
) -> dict[str, DataFrame]:
    """The tables that the window kernel's rows become, by name."""
    features = build_member_features(windows, configured_features(config), configured_rules(config), profile=profile)
    sequences = build_member_sequences(windows, configured_measures(config), config.features.sequence_weeks)
    return {"member_features": features, "member_sequences": sequences}


def build_point_in_time(
    sources: Sources,
    config: Config,
    *,
    dates: Sequence[date],
    vocabulary: Vocabulary | None = None,
    keep: Callable[[DataFrame], DataFrame] = as_it_is,
) -> dict[str, DataFrame]:
    """Every frame that features are read from, for some as-of dates, as the stages make them from silver.

    Levels are replayed through ``timeline.data_through``, so that later stretches are there to be ignored. With a
    vocabulary, by which categories are numbers, profile features and event sequences are among them. ``keep`` is
    done to the two frames that are read more than once, where a stage would have a table: a caller may persist them.
    """
    profile = profile_features(config.profile_read, vocabulary) if vocabulary else ()
    member_days = keep(build_tiles(sources.events, sources.products, config))
    member_levels = build_levels(sources.members, member_days, config)
    day_breakdowns = build_breakdown_tiles(sources.events, sources.products, config)
    breakdowns = declared_breakdowns(configured_features(config), vocabulary)
    plan = window_plan(config, dates, profile=profile, breakdowns=breakdowns)
    windows = keep(build_windows(sources.members, member_days, member_levels, plan, day_breakdowns))
    frames = build_feature_tables(windows, config, profile=profile)
    if vocabulary and config.features.sequence_events:
        sequences = SequencePlan.of(config, vocabulary, dates)
        recent = build_recent_events(sources.events, sequences, sources.products)
        frames["member_event_sequences"] = build_event_sequences(sources.members, recent, sequences)
    return frames
