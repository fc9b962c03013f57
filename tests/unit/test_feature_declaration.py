"""Which measures a shop's features are made of."""

from datetime import date

import pytest

from memberlevel_spark.config.model import FeaturesConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.features.breakdowns import (
    declared_breakdowns,
    first_day_read,
    published_features,
    spread_dimensions,
)
from memberlevel_spark.features.declare import declared_features, used_measures
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.vocabulary import Vocabulary
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


def more_of(**declared: object) -> FeaturesConfig:
    return FeaturesConfig.model_validate({**features("num_orders").model_dump(), "more": [declared]})


@pytest.mark.parametrize(
    "declared",
    [
        {"measure": "num_orders", "aggregate": "entropy"},
        {"measure": "products", "aggregate": "entropy"},
        {"measure": "spend_cents_by_category", "aggregate": "sum"},
        {"measure": "spend_cents_by_category", "aggregate": "num_distinct"},
        {"measure": "spend_cents_by_category", "aggregate": "part_share", "part": 16},
        {"measure": "num_views_by_hour", "aggregate": "part_share", "part": 24},
    ],
)
def test_an_aggregate_of_what_it_cannot_be_made_of_is_refused_before_any_work(declared: dict[str, object]):
    with pytest.raises(ConfigError, match=f"cannot be made of, or parts that are not there: {declared['measure']} "):
        declared_features(more_of(**declared), ("num_orders",))


def test_a_breakdown_nobody_has_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"not used: points_by_category.*Breakdowns are called categories"):
        declared_features(more_of(measure="points_by_category", aggregate="entropy"), ("num_orders",))


def test_parts_that_are_entries_of_a_vocabulary_belong_to_the_meaning_of_a_feature():
    by_category = Feature("spend_cents_by_category", "top", part=0)
    declared = (Feature("num_orders", "sum"), by_category, Feature("num_views_by_hour", "entropy"))

    def meanings(*categories: str) -> list[str]:
        known = Vocabulary(date(2024, 1, 1), {"event_category": categories})
        return [f.digest for f in published_features(declared, declared_breakdowns(declared, known))]

    food, toys = meanings("food", "toys"), meanings("toys", "food")
    assert [food[0], food[2]] == [toys[0], toys[2]] == [declared[0].digest, declared[2].digest]
    assert food[1] != toys[1]
    assert spread_dimensions(declared) == ("category",)


def test_breakdowns_are_read_from_the_first_day_that_a_feature_looks_at():
    week = Feature("products", "num_distinct", window_days=7)
    month = Feature("spend_cents_by_hour", "entropy", window_days=28)
    always = Feature("num_orders", "sum")
    assert first_day_read((week, month, always), 100) == 73
    assert first_day_read((week, Feature("channels", "num_distinct")), 100) is None
