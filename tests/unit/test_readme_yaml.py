"""The YAML that README shows for levels and features is accepted."""

import re
from pathlib import Path

import pytest
import yaml

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.config.model import FeaturesConfig
from memberlevel_spark.features.declare import declared_features
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("levels", [block["levels"] for block in BLOCKS if "levels" in block])
def test_levels(levels: dict[str, object]):
    assert LevelRules.of(LevelsConfig.model_validate(levels), MEASURES).num_levels >= 2


@pytest.mark.parametrize("features", [block["features"] for block in BLOCKS if "features" in block])
def test_features(features: dict[str, object]):
    given = {"measures": MEASURES, "windows_days": [7], "sequence_weeks": 1, **features}
    assert len(declared_features(FeaturesConfig.model_validate(given), MEASURES)) > 2 * len(MEASURES)
