"""Level rules as the engine and the features need them. No Spark; the laws are in ``README.md``."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from memberlevel_spark.config.levels import LONGEST_DAYS, LevelsConfig
from memberlevel_spark.errors import ConfigError, first_five


@dataclass(frozen=True)
class LevelRules:
    """The programme of a shop: levels are numbered from 0, metrics are measures of the daily tiles."""

    config: LevelsConfig

    @classmethod
    def of(cls, config: LevelsConfig, measures: Sequence[str]) -> "LevelRules":
        """Errors: ConfigError when a metric is not a measure of the daily tiles."""
        unknown = [metric for metric in config.metrics if metric not in measures]
        if unknown:
            raise ConfigError(f"not measures, in levels: {first_five(unknown)}. Use some of: {', '.join(measures)}.")
        return cls(config)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each level."""
        return tuple(level.name for level in self.config.programme)

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.config.programme)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The measures that levels are earned by."""
        return self.config.metrics

    @cached_property
    def thresholds(self) -> tuple[dict[str, int], ...]:
        """Metric -> threshold of each level; the lowest needs nothing."""
        return self.config.thresholds

    @property
    def version(self) -> str:
        """12 hex digits that change when a rule does; what levels are worth to members is no rule."""
        rules = self.config.model_dump(mode="json", exclude={"programme": {"__all__": {"benefits"}}})
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def needs_categories(self) -> bool:
        """Whether points depend on what was bought."""
        return any(multiplier.category is not None for multiplier in self.config.earn.multipliers)

    @property
    def window_days(self) -> int:
        """Days a metric reaches back at most."""
        window = self.config.counted
        return window.days or LONGEST_DAYS[window.period or "year"]

    @property
    def memory_days(self) -> int:
        """Days before a day on which, besides the level held, the level of that day may depend."""
        kept = self.config.kept_for
        periods = (kept.periods or 0) + 1 if self.config.counted.period else 0
        earned = kept.days or periods * LONGEST_DAYS[self.config.counted.period or "year"]
        return self.window_days + earned + self.config.grace_days

    def reached(self, metrics: Mapping[str, int]) -> int:
        """The highest level whose thresholds are met."""
        needed = any if self.config.reach == "any" else all
        met = [needed(metrics[name] >= value for name, value in level.items()) for level in self.thresholds[1:]]
        return max((number for number, level in enumerate(met, 1) if level), default=0)
