"""The level rules on single values."""

import pytest

from memberlevel_spark.config.model import LevelsConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES

CONFIG = LevelsConfig.model_validate(
    {
        "metric": "spend_cents",
        "window_days": 91,
        "programme": [
            {"name": "bronze", "at_least": 0},
            {"name": "silver", "at_least": 20000},
            {"name": "gold", "at_least": 50000},
        ],
    }
)
RULES = LevelRules.of(CONFIG, MEASURES)


@pytest.mark.parametrize(
    ("value", "level"), [(-5, 0), (0, 0), (19999, 0), (20000, 1), (49999, 1), (50000, 2), (10**12, 2)]
)
def test_a_level_is_held_from_its_threshold_on(value: int, level: int):
    assert RULES.level_of(value) == level


def test_distance_to_a_level_ends_at_zero():
    assert [RULES.to_next(value, 1) for value in (-100, 0, 19999, 20000, 30000)] == [20100, 20000, 1, 0, 0]


def test_what_is_carried_over_is_the_part_of_the_window_the_horizon_leaves():
    assert [RULES.carry_over_days(reach) for reach in (0, 28, 91, 120)] == [91, 63, 0, 0]


def test_a_metric_that_is_no_measure_is_refused():
    with pytest.raises(ConfigError, match=r"levels.metric is not a measure: clicks. Use one of: num_orders, "):
        LevelRules.of(CONFIG.model_copy(update={"metric": "clicks"}), MEASURES)
