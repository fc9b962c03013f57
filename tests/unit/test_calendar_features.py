"""Which features move with the calendar while members stay the same: literal cases, and no aggregate left out."""

from pathlib import Path

import pytest

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.config.load import load_config
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.features.declare import scalar_features
from memberlevel_spark.features.feature import AS_OF, Feature
from memberlevel_spark.features.meanings import AGGREGATES
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.monitoring.stage import calendar_columns
from memberlevel_spark.run import Shop

OF_THE_DATE = {"year_sin", "year_cos", "weekday", "month", "days_to_holiday"}
ACCUMULATING = {
    *("sum", "count", "min", "max", "days_since_first", "longest_streak_weeks", "repeat_days", "first_to_last_days"),
    "num_distinct",
}
# Recency, means, shares and what may go either way.
STAYING = {
    *("mean", "std", "last", "days_since", "trend", "lag_sum", "window_share", "share", "shortfall", "ratio"),
    *("weekend_share", "weekday_share", "weekday_entropy", "gap_mean", "gap_std", "streak_weeks", "repeat_mean"),
    *("part_share", "entropy", "top"),
}
PROGRAMME = [{"name": "base"}, {"name": "top", "at_least": 100}]
SINCE_JOINING = {"tenure_days", "days_in_level", "num_level_ups", "num_level_downs", "best_level"}
OF_THE_WINDOW = {
    *("level_points_now", "level_points_carry_over", "to_level_1_points_now", "to_level_1_points_carry_over"),
    "to_keep_points",
}


def test_every_aggregate_is_of_the_date_accumulating_or_neither():
    assert {*OF_THE_DATE, *ACCUMULATING, *STAYING} == set(AGGREGATES)
    assert {name for name, kind in AGGREGATES.items() if kind.source == "calendar"} == OF_THE_DATE
    assert {name for name, kind in AGGREGATES.items() if kind.accumulates} == ACCUMULATING


@pytest.mark.parametrize(
    ("feature", "moves"),
    [
        (Feature(AS_OF, "days_to_holiday"), True),
        (Feature(AS_OF, "year_sin"), True),
        (Feature("num_orders", "days_since_first"), True),
        (Feature("num_orders", "days_since_first", window_days=91), False),
        (Feature("num_orders", "days_since"), False),
        (Feature("spend_cents", "sum"), True),
        (Feature("spend_cents", "sum", window_days=182), False),
        (Feature("spend_cents", "max"), True),
        (Feature("spend_cents", "mean"), False),
        (Feature("products", "num_distinct"), True),
        (Feature("products", "num_distinct", window_days=28), False),
        (Feature("num_orders", "streak_weeks"), False),
        (Feature("num_orders", "longest_streak_weeks"), True),
        (Feature("spend_cents_by_category", "top", part=0), False),
    ],
    ids=lambda given: given.name if isinstance(given, Feature) else "",
)
def test_only_what_has_no_window_and_accumulates_or_is_of_the_date_moves(feature: Feature, moves: bool):
    assert feature.moves_with_the_calendar == moves


@pytest.mark.parametrize(
    ("given", "besides"),
    [
        ({"window": {"days": 91}}, set()),
        ({"window": {"period": "year"}}, OF_THE_WINDOW),
        ({"window": {"period": "month"}}, OF_THE_WINDOW),
        ({"window": {"period": "anniversary"}, "review": {"every": "anniversary"}, "kept_for": {"periods": 1}}, set()),
        ({"window": {"days": 91}, "review": {"every": "month"}}, {"days_to_review"}),
    ],
    ids=lambda given: "",
)
def test_level_facts_move_that_count_since_joining_or_within_periods_that_all_members_share(given, besides):
    rules = LevelRules(LevelsConfig.model_validate({"metric": "points", "programme": PROGRAMME, **given}))
    facts = scalar_features(rules)
    assert {fact.name for fact in facts if fact.moves_with_the_calendar} == SINCE_JOINING | besides
    assert {"level_now", "level_if_idle", "days_to_review"} < {fact.name for fact in facts}


def test_a_shop_has_them_by_its_configuration_and_a_model_by_the_columns_it_reads():
    shop = Shop(load_config(Path(__file__).parents[2] / "conf" / "complete_journey.yaml"))
    columns = calendar_columns(shop)
    assert columns == {*SINCE_JOINING, "num_orders_days_since_first"}
    inputs = (Input("tenure_days"), Input("of_an_older_release"), Input("city", equals=2), Input("weekly_num_items", 0))
    encoder = Encoder(inputs, 2, (), (), (Need("points", 1, "to_level_1_points_carry_over"), Need("points", 2)))
    assert encoder.names_of(columns) == {"tenure_days"}
    assert encoder.names_of(OF_THE_WINDOW) == {"needs_points_to_level_1"}
    assert encoder.names_of(OF_THE_WINDOW) < set(encoder.names)
