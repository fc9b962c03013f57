"""Daily tiles and the replay of the level rules: literal rows, and a day-by-day oracle on random histories."""

import random
from datetime import date, timedelta

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.tiles import build_member_days
from memberlevel_spark.levels.replay import build_member_levels, levels_on
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEMBER_DAYS

pytestmark = pytest.mark.spark

RULES = LevelRules(
    LevelsConfig.model_validate(
        {
            "metric": "spend_cents",
            "window_days": 10,
            "programme": [{"name": "base"}, {"name": "silver", "at_least": 100}, {"name": "gold", "at_least": 300}],
        }
    )
)
DAY = date(2024, 1, 1)


def day(offset: int) -> date:
    return DAY + timedelta(days=offset)


def test_a_tile_counts_orders_and_sessions_once_nets_refunds_and_leaves_out_guests_and_flagged_events(
    spark: SparkSession,
):
    columns = "member_id string, day date, event_id string, event_type string, order_id string, session_id string,"
    columns += " quantity long, net_cents long, discount_cents long, points long, flag string"
    events = spark.createDataFrame(
        [
            ("a", DAY, "e1", "order", "o1", None, 2, 100, 5, 0, None),
            ("a", DAY, "e2", "order", "o1", "s1", 1, 50, 0, 0, None),
            ("a", DAY, "e3", "order", "o2", None, 1, 7, 0, 0, None),
            ("a", DAY, "e4", "order", None, None, 1, 1, 0, 0, None),
            ("a", DAY, "e5", "order", None, None, 1, 1, 0, 0, None),
            ("a", DAY, "e6", "activity", None, "s9", 1, 0, 0, 0, None),
            ("a", DAY, "e7", "view", None, "s1", 1, 0, 0, 0, None),
            ("a", DAY, "e8", "view", None, "s1", 1, 0, 0, 0, None),
            ("a", DAY, "e9", "search", None, "s2", 1, 0, 0, 0, None),
            ("a", DAY, "f1", "cart_add", None, "s2", 1, 0, 0, 0, None),
            ("a", DAY, "f0", "cart_add", None, "s2", 1, 0, 0, 0, None),
            ("a", DAY, "g1", "cart_add", None, None, 1, 0, 0, 0, None),
            ("a", DAY, "g2", "coupon", None, None, 1, 0, 0, 0, None),
            ("a", day(1), "f2", "activity", "o9", None, 9, 0, 9, 0, None),
            ("a", day(1), "f3", "refund", "o1", None, 9, -30, 9, 0, None),
            ("a", day(1), "f4", "cancellation", "o2", None, 9, -7, 9, 0, None),
            ("a", day(1), "f5", "points", None, None, 9, 0, 0, 40, None),
            ("a", day(1), "f6", "points", None, None, 9, 0, 0, -15, None),
            ("a", day(1), "f7", "order", "o3", None, 9, 900, 9, 9, "robot"),
            (None, day(1), "f8", "view", None, "s1", 9, 0, 9, 9, None),
        ],
        columns,
    )
    expected = spark.createDataFrame(
        [
            ("a", DAY, 4, 6, 159, 5, 1, 2, 1, 3, 2, 0, 0, 1, 1, 1, 13),
            ("a", day(1), 0, 0, -37, 0, 1, 0, 0, 0, 0, 2, 25, 0, 0, 0, 5),
        ],
        MEMBER_DAYS.schema,
    )
    assert_df_equality(build_member_days(events), expected, ignore_nullable=True, ignore_row_order=True)


def tiles(spark: SparkSession, rows: list[tuple[str, date, int]]) -> DataFrame:
    return spark.createDataFrame(rows, "member_id string, day date, spend_cents long")


def members(spark: SparkSession, *rows: tuple[str, date]) -> DataFrame:
    return spark.createDataFrame(list(rows), "member_id string, known_from date")


def test_a_level_is_held_from_the_day_the_window_reaches_it_to_the_day_the_tile_leaves_the_window(spark: SparkSession):
    levels = build_member_levels(
        members(spark, ("a", DAY), ("silent", day(2))),
        tiles(spark, [("a", day(3), 100), ("a", day(5), 200)]),
        RULES,
        through=day(30),
    )
    assert [tuple(row) for row in levels.orderBy("member_id", "valid_from").collect()] == [
        (RULES.version, "a", DAY, day(3), 0, 0, "joined", {"spend_cents": 0}),
        (RULES.version, "a", day(3), day(5), 1, 1, "earned", {"spend_cents": 100}),
        (RULES.version, "a", day(5), day(13), 2, 2, "earned", {"spend_cents": 300}),
        (RULES.version, "a", day(13), day(15), 1, 1, "lapsed", {"spend_cents": 200}),
        (RULES.version, "a", day(15), None, 0, 0, "lapsed", {"spend_cents": 0}),
        (RULES.version, "silent", day(2), None, 0, 0, "joined", {"spend_cents": 0}),
    ]


def test_a_change_after_the_end_of_the_data_is_not_decided(spark: SparkSession):
    frame = build_member_levels(members(spark, ("a", DAY)), tiles(spark, [("a", DAY, 100)]), RULES, through=day(9))
    assert [(row.valid_from, row.valid_to, row.level) for row in frame.collect()] == [(DAY, None, 1)]


def test_the_replay_equals_a_day_by_day_sum_for_random_histories(spark: SparkSession):
    rng = random.Random(5)
    histories = {
        f"m{i}": {rng.randrange(40): rng.randrange(-50, 250) for _ in range(rng.randrange(9))} for i in range(60)
    }
    rows = [(name, day(offset), cents) for name, history in histories.items() for offset, cents in history.items()]
    known = members(spark, *[(name, DAY) for name in histories])
    levels = build_member_levels(known, tiles(spark, rows), RULES, through=day(60))
    asked = spark.createDataFrame(
        [(name, day(t)) for name in histories for t in range(61)], "member_id string, on date"
    )
    got = {(row.member_id, row.on): row.level for row in levels_on(levels, asked, "on").collect()}
    expected = {
        (name, day(t)): RULES.reached(
            {"spend_cents": sum(cents for offset, cents in history.items() if t - 10 < offset <= t)}
        )
        for name, history in histories.items()
        for t in range(61)
    }
    assert got == expected
