"""Level rules: a measure summed over a trailing window, with a threshold per level. No Spark."""

from bisect import bisect_right
from dataclasses import dataclass

from memberlevel_spark.config.model import LevelsConfig
from memberlevel_spark.errors import ConfigError


@dataclass(frozen=True)
class LevelRules:
    """Levels are numbered from 0; level k is held on a day when the metric over ``(day - window, day]`` reaches
    ``thresholds[k]``. The lowest threshold is 0, so every member holds a level."""

    names: tuple[str, ...]
    metric: str
    window_days: int
    thresholds: tuple[int, ...]

    @classmethod
    def of(cls, config: LevelsConfig, measures: tuple[str, ...]) -> "LevelRules":
        """Errors: ConfigError when the metric is not a measure of the daily tiles."""
        if config.metric not in measures:
            raise ConfigError(f"levels.metric is not a measure: {config.metric}. Use one of: {', '.join(measures)}.")
        programme = config.programme
        thresholds = tuple(level.at_least for level in programme)
        return cls(tuple(level.name for level in programme), config.metric, config.window_days, thresholds)

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.names)

    def level_of(self, metric_value: int) -> int:
        """The highest level whose threshold the value reaches; a negative value (net refunds) holds level 0."""
        return max(bisect_right(self.thresholds, metric_value) - 1, 0)

    def to_next(self, metric_value: int, level: int) -> int:
        """What is missing to a level, 0 when the value reaches it."""
        return max(self.thresholds[level] - metric_value, 0)

    def carry_over_days(self, reach_days: int) -> int:
        """Days before the as-of date that still lie in the window ``reach_days`` later; 0 when none does."""
        return max(self.window_days - reach_days, 0)
