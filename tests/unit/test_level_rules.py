"""The level rules on single values."""

import pytest

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES

PROGRAMME = [
    {"name": "bronze", "at_least": 0},
    {"name": "silver", "at_least": 20000},
    {"name": "gold", "at_least": 50000, "benefits": ["parking"]},
]
CONFIG = LevelsConfig.model_validate({"metric": "spend_cents", "window_days": 91, "programme": PROGRAMME})
RULES = LevelRules.of(CONFIG, MEASURES)


@pytest.mark.parametrize(
    ("value", "level"), [(-5, 0), (0, 0), (19999, 0), (20000, 1), (49999, 1), (50000, 2), (10**12, 2)]
)
def test_a_level_is_reached_from_its_threshold_on(value: int, level: int):
    assert RULES.reached({"spend_cents": value}) == level


def test_a_metric_that_is_no_measure_is_refused():
    with pytest.raises(ConfigError, match=r"not measures, in levels: clicks. Use some of: num_orders, "):
        LevelRules.of(CONFIG.model_copy(update={"metric": "clicks"}), MEASURES)


def test_the_version_changes_with_a_rule_and_not_with_a_benefit():
    without_benefits = [{**level, "benefits": []} for level in PROGRAMME]
    assert LevelRules(CONFIG.model_copy(update={"window_days": 90})).version != RULES.version
    same = LevelsConfig.model_validate({**CONFIG.model_dump(), "programme": without_benefits})
    assert LevelRules(same).version == RULES.version


def test_memory_is_window_validity_and_grace():
    longer = {"window_days": 30, "kept_for": {"days": 40}, "grace_days": 5}
    assert LevelRules(CONFIG.model_copy(update={"window_days": 91})).memory_days == 91
    config = LevelsConfig.model_validate({**CONFIG.model_dump(), **longer})
    assert LevelRules(config).memory_days == 75
