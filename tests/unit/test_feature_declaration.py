"""Which measures a shop's features are made of."""

import pytest

from memberlevel_spark.config.model import FeaturesConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.features.declare import declared_features, used_measures
from memberlevel_spark.schemas import MEASURES


def features(*measures: str) -> FeaturesConfig:
    return FeaturesConfig.model_validate({"measures": list(measures), "windows_days": [7], "sequence_weeks": 1})


def test_the_level_metric_and_orders_are_always_among_the_measures_in_the_order_of_the_tiles():
    assert used_measures(features("num_views"), ["points"], MEASURES) == tuple(
        name for name in MEASURES if name in ("num_orders", "num_views", "points")
    )


def test_a_measure_the_tiles_do_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"not measures of the daily tiles: num_likes. Use some of: .*num_orders"):
        used_measures(features("num_views", "num_likes"), ["points"], MEASURES)


def test_further_features_follow_the_declared_ones_and_may_speak_of_used_measures_only():
    more = {"measure": "spend_cents", "aggregate": "trend", "window_days": 28}
    config = FeaturesConfig.model_validate({**features("spend_cents").model_dump(), "more": [more]})
    names = [feature.name for feature in declared_features(config, ("num_orders", "spend_cents"))]
    assert names == [
        "num_orders_sum_7d",
        "num_orders_count_7d",
        "spend_cents_sum_7d",
        "spend_cents_count_7d",
        "num_orders_days_since",
        "num_orders_days_since_first",
        "spend_cents_trend_28d",
    ]
    with pytest.raises(ConfigError, match=r"features.more speaks of measures that are not used: spend_cents. Add them"):
        declared_features(config, ("num_orders",))
