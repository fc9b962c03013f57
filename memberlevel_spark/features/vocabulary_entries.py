"""Which texts a vocabulary holds: one row per column and entry, fitted through the last training date.

In: ``events``, ``members`` and ``products``. Out: ``name``, ``place`` (from 1, the most frequent first), ``value``.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame

from memberlevel_spark.config import Config
from memberlevel_spark.features.breakdowns import WITH_ENTRIES, spread_dimensions
from memberlevel_spark.features.point_in_time import configured_features
from memberlevel_spark.features.profiles import build_profile_values
from memberlevel_spark.features.recent_events import build_entries, build_event_values


def vocabulary_names(config: Config) -> tuple[str, ...]:
    """The columns that need a vocabulary."""
    of_profile = [f"profile_{attribute}" for attribute in _categories(config)]
    return (*(f"event_{dimension}" for dimension in event_dimensions(config)), *of_profile)


def event_dimensions(config: Config) -> tuple[str, ...]:
    """The columns of events that need a vocabulary: for event sequences, or for features spread over their values."""
    return WITH_ENTRIES if config.features.sequence_events else spread_dimensions(configured_features(config))


def build_vocabulary(frames: Mapping[str, DataFrame], config: Config) -> DataFrame | None:
    """The entries with their place, fitted through the last training date; None where no column needs any.

    Later dates have no say, so that what validation and test brought is as unknown as it was.
    """
    through, limits = max(config.timeline.split.train), config.features.vocabulary
    values: list[DataFrame] = []
    if event_dimensions(config):
        values.append(build_event_values(frames["events"], frames.get("products"), through=through))
    if _categories(config):
        values.append(build_profile_values(frames["members"], _categories(config), through=through))
    if not values:
        return None
    together = reduce(DataFrame.unionByName, values)
    return build_entries(together, min_count=limits.min_count, max_entries=limits.max_entries)


def _categories(config: Config) -> list[str]:
    return sorted(attribute for attribute, kind in config.profile_read.items() if kind == "category")
