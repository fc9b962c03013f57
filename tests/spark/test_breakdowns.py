"""Daily tiles by category, channel, product and hour: which events are in which row, and the features made of them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.features.breakdown_tiles import (
    MAX_ROWS,
    breakdown_chunks,
    build_member_day_breakdowns,
)
from memberlevel_spark.features.breakdowns import declared_breakdowns
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.tiles_stage import run_member_days
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch, names_of_type
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import EVENTS, MEASURES, MEMBER_DAY_BREAKDOWNS, PRODUCTS
from memberlevel_spark.tables import DAYS_STAMP, DeltaTables
from tests.made_world import world_config
from tests.spark.test_boundaries import AS_OF, RULES, at

pytestmark = pytest.mark.spark

DIMENSIONS = ("category", "channel", "hour", "product")
VOCABULARY = Vocabulary(AS_OF, {"event_category": ("food", "toys"), "event_channel": ("web",)})
DECLARED = (
    Feature("spend_cents_by_category", "part_share", window_days=7, part=0),
    Feature("spend_cents_by_category", "part_share", window_days=7, part=15),
    Feature("spend_cents_by_category", "top", window_days=7, part=0),
    Feature("spend_cents_by_category", "top", window_days=7, part=1),
    Feature("num_events_by_hour", "part_share", window_days=7, part=1),
    Feature("products", "num_distinct", window_days=7),
    Feature("products", "num_distinct"),
)


def event(member: str, day: date, **other: Any) -> tuple[object, ...]:
    """A row of ``events``: an order of one item at noon, unless said otherwise."""
    given = {
        "event_id": f"{member}-{day}-{sorted(other.items())}",
        "member_id": member,
        "event_type": "order",
        "event_ts": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        "day": day,
        "month": day.replace(day=1),
        "quantity": 1,
        "amount_cents": 0,
        "discount_cents": 0,
        "net_cents": 0,
        "points": 0,
        "stitched": False,
        "source": "orders",
    }
    return tuple({**dict.fromkeys(EVENTS.schema.names), **given, **other}.values())


def events_of(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), EVENTS.schema)


@pytest.fixture(scope="module")
def products(spark: SparkSession) -> DataFrame:
    rows = [("p1", "food", None, {}), ("p2", "toys", None, {}), ("new", "food", at(0), {}), ("odd", "art", None, {})]
    return spark.createDataFrame(rows, PRODUCTS.schema)


def test_every_event_is_in_the_row_of_each_value_it_has(spark: SparkSession, products: DataFrame):
    midnight = datetime(2024, 3, 9, 23, 30, tzinfo=UTC)  # half past midnight of the tenth in Berlin
    day = date(2024, 3, 10)
    rows = build_member_day_breakdowns(
        events_of(
            spark,
            event("a", day, product_id="p1", channel="web", net_cents=500, quantity=2, discount_cents=7),
            event("a", day, product_id="p1", channel="app", net_cents=200, event_ts=midnight),
            event("a", day, product_id="p2", event_type="view", quantity=9, discount_cents=9),
            event("a", day, product_id="unknown", event_type="cart_add"),
            event("a", day, product_id="p2", flag="bot", net_cents=900),
            event("", day, product_id="p2", member_id=None, net_cents=900),
            event("b", day, event_type="activity", channel="web"),
        ),
        products,
        DIMENSIONS,
        zone="Europe/Berlin",
    )
    expected = [
        ("a", "category", "food", 3, 700, 7, 0, 0, 2),
        ("a", "category", "toys", 0, 0, 0, 1, 0, 1),
        ("a", "channel", "app", 1, 200, 0, 0, 0, 1),
        ("a", "channel", "web", 2, 500, 7, 0, 0, 1),
        ("a", "hour", "0", 1, 200, 0, 0, 0, 1),
        ("a", "hour", "13", 2, 500, 7, 1, 1, 3),
        ("a", "product", "p1", 3, 700, 7, 0, 0, 2),
        ("a", "product", "p2", 0, 0, 0, 1, 0, 1),
        ("a", "product", "unknown", 0, 0, 0, 0, 1, 1),
        ("b", "channel", "web", 0, 0, 0, 0, 0, 1),
        ("b", "hour", "13", 0, 0, 0, 0, 0, 1),
    ]
    literal = [(member, day, *rest) for member, *rest in expected]
    made = spark.createDataFrame(literal, MEMBER_DAY_BREAKDOWNS.schema)
    assert_df_equality(rows, made, ignore_row_order=True, ignore_nullable=True)


def test_only_what_is_asked_for_is_made_and_a_shop_without_products_has_no_categories(spark: SparkSession):
    of_day = events_of(spark, event("a", at(0), product_id="p1"))
    rows = build_member_day_breakdowns(of_day, None, ("category", "product"), zone="UTC").collect()
    assert [(row.dimension, row.value) for row in rows] == [("product", "p1")]


def answers(spark: SparkSession, events: DataFrame, products: DataFrame) -> list[object]:
    """The declared features of member a on the as-of date, in their order."""
    known = spark.createDataFrame([("a", at(-100))], "member_id string, known_from date")
    tiles = spark.createDataFrame([], "member_id string, day date, " + ", ".join(f"{m} long" for m in MEASURES))
    breakdowns = declared_breakdowns(DECLARED, VOCABULARY)
    plan = WindowPlan(MEASURES, days_since_epoch([AS_OF]), DECLARED, 1, RULES, 7, breakdowns=breakdowns)
    levels = build_member_levels(known, tiles, RULES, through=at(20))
    made = build_member_day_breakdowns(events, products, DIMENSIONS, zone="UTC")
    (row,) = build_windows(known, tiles, levels, plan, made).collect()
    named = dict(zip(names_of_type(DECLARED, (), "long"), row.longs, strict=True))
    named |= dict(zip(names_of_type(DECLARED, (), "double"), row.doubles, strict=True))
    return [named[feature.name] for feature in DECLARED]


def test_features_spread_a_measure_over_the_days_of_their_window(spark: SparkSession, products: DataFrame):
    night = datetime(at(0).year, at(0).month, at(0).day, 1, tzinfo=UTC)
    events = events_of(
        spark,
        event("a", at(-7), product_id="p2", net_cents=10_000),  # the day before the window
        event("a", at(-6), product_id="p2", net_cents=300),
        event("a", at(0), product_id="new", net_cents=500, event_ts=night),  # a food from this day on
        event("a", at(-1), product_id="new", net_cents=50),  # of no category yet
        event("a", at(-1), product_id="odd", net_cents=200),
        event("a", at(1), product_id="p1", net_cents=10_000),  # the day after
    )
    assert answers(spark, events, products) == [0.5, 0.2, 0, 1, 0.25, 3, 3]


def test_a_member_without_any_row_has_no_shares_and_has_met_nothing(spark: SparkSession, products: DataFrame):
    assert answers(spark, events_of(spark, event("b", at(0), product_id="p1")), products) == [
        *[None] * 5,
        0,
        0,
    ]


def test_members_are_taken_in_parts_whose_rows_fit_the_memory_of_a_worker():
    lengths = [MAX_ROWS - 1, 1, 1, 0, 2 * MAX_ROWS, 5]
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.nulls(offsets[-1], pa.int8()))
    batch = pa.record_batch([pa.array(range(6)), lists], names=["member", "breakdown_day"])
    parts = list(breakdown_chunks(batch, declared_breakdowns(DECLARED)))
    assert [part.column("member").to_pylist() for part in parts] == [[0, 1], [2, 3], [4], [5]]
    assert list(breakdown_chunks(batch, ())) == [batch]


@pytest.fixture
def stored(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A shop whose features ask for categories, hours and products, after a run of its tiles."""
    folder = tmp_path_factory.mktemp("breakdowns")
    more = [
        {"measure": "spend_cents_by_category", "aggregate": "entropy", "window_days": 28},
        {"measure": "products", "aggregate": "num_distinct", "window_days": 28},
    ]
    config = world_config(num_members=10)
    features = type(config.features).model_validate({**config.features.model_dump(), "more": more})
    timeline = config.timeline.model_copy(update={"data_through": at(1)})
    config = config.model_copy(update={"features": features, "timeline": timeline, "output_dir": folder})
    run = Run(config, DeltaTables(spark, str(folder / "tables"), {"run_id": "test"}))
    rows = [event("a", at(day), product_id=product) for day, product in ((-1, "p1"), (0, "p2"), (1, "p1"))]
    run.tables.replace(EVENTS, events_of(spark, *rows))
    run.tables.replace(PRODUCTS, spark.createDataFrame([("p1", "food", None, {})], PRODUCTS.schema))
    run_member_days(run)
    yield run


def rows_of(run: Run) -> set[tuple[object, ...]]:
    made = run.tables.read("member_day_breakdowns")
    return {tuple(row) for row in made.select("day", "dimension", "value", "num_events").collect()}


def test_changed_days_are_made_anew_and_the_others_stay(stored: Run, spark: SparkSession):
    before = rows_of(stored)
    assert before == {
        (at(-1), "category", "food", 1),
        (at(-1), "product", "p1", 1),
        (at(0), "product", "p2", 1),
        (at(1), "category", "food", 1),
        (at(1), "product", "p1", 1),
    }
    stamped = stored.tables.with_stamp(**{DAYS_STAMP: [str(at(0))]})
    stamped.replace_slice(EVENTS, events_of(spark, event("a", at(0), product_id="p1")), {"day": [at(0)]})
    result = run_member_days(stored)
    assert result.note == "1 days" and set(result.written) == {"member_days", "member_day_breakdowns"}
    gone, new = {(at(0), "product", "p2", 1)}, {(at(0), "product", "p1", 1), (at(0), "category", "food", 1)}
    assert rows_of(stored) == before - gone | new
    assert run_member_days(stored).written == {}


def test_other_categories_of_products_make_all_days_of_the_breakdowns_anew(stored: Run, spark: SparkSession):
    stored.tables.replace(PRODUCTS, spark.createDataFrame([("p1", "toys", None, {})], PRODUCTS.schema))
    assert set(run_member_days(stored).written) == {"member_day_breakdowns"}
    assert {row[2] for row in rows_of(stored) if row[1] == "category"} == {"toys"}
