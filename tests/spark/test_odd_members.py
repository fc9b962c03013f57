"""Members with hardly any history, and rules with hardly any levels: each has the answer that README documents."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.assemble import build_member_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from tests.spark.test_boundaries import AS_OF, at

pytestmark = pytest.mark.spark

MEASURES = ("num_orders", "spend_cents", "discount_cents")
DECLARED = (
    Feature("spend_cents", "sum", window_days=7),
    Feature("spend_cents", "sum", window_days=3660),
    Feature("spend_cents", "max", window_days=28),
    Feature("spend_cents", "trend", window_days=7),
    Feature("spend_cents", "weekend_share", window_days=28),
    Feature("num_orders", "days_since"),
    Feature("num_orders", "gap_mean", window_days=28),
    Feature("discount_cents", "share", window_days=28, of=("discount_cents", "spend_cents")),
)
# Orders, spend and discount of each day relative to the as-of date, 10 March 2024, a Sunday.
HISTORIES: dict[str, dict[int, tuple[int, int, int]]] = {
    "no events": {},
    "one event": {-2: (1, 500, 0)},
    "only refunds": {-3: (0, -200, 0), -1: (0, -100, 0)},
    "nothing but the as-of day": {0: (2, 700, 300)},
    "before its first event": {5: (1, 900, 0)},
    "before the shop knew it": {},
}
EXPECTED: dict[str, tuple[Any, ...]] = {
    "no events": (0, 0, None, 0.0, None, None, None, None),
    "one event": (500, 500, 500, 500 / 28, 0.0, 2, None, 0.0),
    "only refunds": (-300, -300, -100, pytest.approx(-200 * 0 / 28 - 100 * 2 / 28), None, None, None, None),
    "nothing but the as-of day": (700, 700, 700, 700 * 3 / 28, 1.0, 0, None, 0.3),
    "before its first event": (0, 0, None, 0.0, None, None, None, None),
}


def rules(*at_least: int) -> LevelRules:
    programme = [{"name": f"level {number}", "at_least": cents} for number, cents in enumerate(at_least)]
    return LevelRules(LevelsConfig.model_validate({"metric": "spend_cents", "window_days": 10, "programme": programme}))


def features_of(spark: SparkSession, level_rules: LevelRules, as_of: date = AS_OF) -> dict[str, Row]:
    since = {name: at(1) if name == "before the shop knew it" else at(-5) for name in HISTORIES}
    known = spark.createDataFrame(list(since.items()), "member_id string, known_from date")
    rows = [(name, at(day), *values) for name, tiles in HISTORIES.items() for day, values in tiles.items()]
    columns = ", ".join(f"{measure} long" for measure in MEASURES)
    tiles = spark.createDataFrame(rows, f"member_id string, day date, {columns}")
    levels = build_member_levels(known, tiles, level_rules, through=at(20))
    plan = WindowPlan(MEASURES, days_since_epoch([as_of]), DECLARED, 1, level_rules, 7)
    made = build_member_features(build_windows(known, tiles, levels, plan), DECLARED, level_rules)
    return {row["member_id"]: row for row in made.collect()}


def test_a_member_with_hardly_any_history_has_the_documented_answers(spark: SparkSession):
    made = features_of(spark, rules(0, 400))
    assert {name: tuple(row[f.name] for f in DECLARED) for name, row in made.items()} == EXPECTED
    assert {name: row.level_now for name, row in made.items() if row.level_now} == {
        "one event": 1,
        "nothing but the as-of day": 1,
    }
    assert made["only refunds"].to_level_1_spend_cents_now == 700


def test_a_date_before_everybody_has_no_rows(spark: SparkSession):
    assert features_of(spark, rules(0, 400), at(-6)) == {}


@pytest.mark.parametrize(
    ("at_least", "words"), [((0,), "programme.*at least 2 items"), ((0, 0), "start at 0 and strictly increase")]
)
def test_one_level_and_a_second_threshold_of_0_are_no_programme(at_least: tuple[int, ...], words: str):
    with pytest.raises(ValidationError, match=f"(?s){words}"):
        rules(*at_least)
