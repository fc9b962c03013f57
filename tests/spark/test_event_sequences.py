"""The last events of each member before each as-of date: boundaries, order, padding, the cap, and the vocabulary."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.features.event_sequences import build_event_sequences, whole_members
from memberlevel_spark.features.recent_events import (
    SequencePlan,
    build_entries,
    build_event_values,
    build_recent_events,
)
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.ingest.canonical import EVENT_TYPES
from memberlevel_spark.schemas import EVENT_ARRAYS, MEMBER_EVENT_SEQUENCES

pytestmark = pytest.mark.spark

ZONE, AS_OF = "Europe/Berlin", date(2024, 3, 10)
PLAN = SequencePlan((AS_OF,), 3, ZONE, 16, categories=("food", "wine"), channels=("web", "app"))
ORDER, VIEW = EVENT_TYPES.index("order") + 1, EVENT_TYPES.index("view") + 1
COLUMNS = (
    "member_id string, flag string, day date, event_ts timestamp, event_id string, event_type string,"
    " net_cents bigint, product_id string, channel string"
)
# A Sunday, 22:30 in Berlin.
EVENT = {
    "member_id": "a",
    "flag": None,
    "day": AS_OF,
    "event_ts": datetime(2024, 3, 10, 21, 30, tzinfo=UTC),
    "event_id": "e1",
    "event_type": "order",
    "net_cents": 99,
    "product_id": None,
    "channel": "web",
}


def events(spark: SparkSession, *rows: dict[str, object]) -> DataFrame:
    """Events that differ from EVENT in what is given; ``ts`` is an ISO instant in UTC, and the day follows from it."""
    full = []
    for row in rows:
        event = {**EVENT, **{name: value for name, value in row.items() if name != "ts"}}
        if "ts" in row:
            event["event_ts"] = datetime.fromisoformat(f"{row['ts']}+00:00")
        full.append(tuple(event.values()))
    frame = spark.createDataFrame(full, COLUMNS)
    return frame.withColumn("day", F.to_date(F.from_utc_timestamp("event_ts", ZONE)))


def members(spark: SparkSession, *names: str, since: date = date(2024, 1, 1)) -> DataFrame:
    return spark.createDataFrame([(name, since) for name in names], "member_id string, known_from date")


def products(spark: SparkSession, *rows: tuple[str, str | None, date | None]) -> DataFrame:
    return spark.createDataFrame(list(rows), "product_id string, category string, valid_from date")


def sequences(
    known: DataFrame, log: DataFrame, plan: SequencePlan = PLAN, catalogue: DataFrame | None = None
) -> list[Row]:
    frame = build_event_sequences(known, build_recent_events(log, plan, catalogue), plan)
    assert frame.columns == MEMBER_EVENT_SEQUENCES.schema.names
    return frame.orderBy("member_id", "as_of_date").collect()


def test_every_array_says_what_it_means_newest_first_and_zero_behind_the_oldest(spark: SparkSession):
    log = events(
        spark,
        {"ts": "2024-03-09T12:00:00", "event_id": "old", "event_type": "view", "net_cents": 0, "product_id": "p1"},
        {"ts": "2024-03-10T21:30:00", "event_id": "new", "net_cents": -99, "channel": "fax"},
    )
    [row] = sequences(members(spark, "a"), log, catalogue=products(spark, ("p1", "wine", None)))
    assert (row.member_id, row.as_of_date, row.num_events) == ("a", AS_OF, 2)
    assert row.event_type == [ORDER, VIEW, 0]
    assert row.age_seconds == [5400, 5400 + 33.5 * 3600, 0]  # the day ends at 23:00 UTC
    assert row.gap_seconds == [33.5 * 3600, 0, 0]
    assert row.amount_log == pytest.approx([-np.log1p(99), 0, 0])
    assert (row.hour, row.weekday) == ([23, 14, 0], [7, 6, 0])
    assert (row.category, row.channel) == ([1, 3, 0], [1, 2, 0])
    assert row.product_bucket[0] == row.product_bucket[2] == 0 < row.product_bucket[1] <= 16


def test_the_as_of_date_ends_at_midnight_of_the_business_zone(spark: SparkSession):
    log = events(
        spark,
        {"ts": "2024-03-10T22:59:59", "event_id": "last"},
        {"ts": "2024-03-10T23:00:00", "event_id": "next", "event_type": "view"},
    )
    plan = replace(PLAN, as_of_dates=(AS_OF, AS_OF + timedelta(days=1)))
    today, tomorrow = sequences(members(spark, "a"), log, plan)
    assert (today.event_type, today.age_seconds) == ([ORDER, 0, 0], [1, 0, 0])
    assert (tomorrow.event_type, tomorrow.gap_seconds) == ([VIEW, ORDER, 0], [1, 0, 0])
    assert tomorrow.hour == [1, 24, 0]


def test_silent_members_have_rows_of_padding_and_nobody_before_the_shop_knew_them(spark: SparkSession):
    known = members(spark, "silent").unionAll(members(spark, "late", since=AS_OF + timedelta(days=1)))
    rows = sequences(known, events(spark, {"member_id": "stranger"}))
    assert [(row.member_id, row.num_events) for row in rows] == [("silent", 0)]
    assert all(rows[0][name] == [0, 0, 0] for name in EVENT_ARRAYS)


def test_guests_and_flagged_events_are_left_out_as_from_the_tiles(spark: SparkSession):
    log = events(spark, {"member_id": None}, {"event_id": "e2", "flag": "robot"}, {"event_id": "e3", "net_cents": 1})
    [row] = sequences(members(spark, "a"), log)
    assert row.num_events == 1 and row.amount_log[0] == pytest.approx(np.log(2))


def test_events_of_one_instant_are_in_the_order_of_their_ids_and_the_gap_reaches_past_the_cap(spark: SparkSession):
    ties = [{"event_id": f"e{k}", "net_cents": k} for k in (2, 4, 1, 3)]
    log = events(spark, *ties, {"event_id": "e0", "ts": "2024-03-10T21:00:00"})
    [row] = sequences(members(spark, "a"), log)
    assert np.round(np.expm1(row.amount_log)).tolist() == [4, 3, 2] and row.gap_seconds == [0, 0, 0]
    [row] = sequences(members(spark, "a"), log, replace(PLAN, num_events=4))
    assert row.gap_seconds == [0, 0, 0, 1800] and row.num_events == 4


def test_a_category_does_not_come_from_the_future_of_its_event(spark: SparkSession):
    log = events(
        spark,
        {"event_id": "e1", "product_id": "new"},
        {"event_id": "e2", "product_id": "today"},
        {"event_id": "e3", "product_id": "odd"},
        {"event_id": "e4", "product_id": "nobody knows"},
    )
    catalogue = products(
        spark, ("new", "food", AS_OF + timedelta(days=1)), ("today", "food", AS_OF), ("odd", "silk", None)
    )
    [row] = sequences(members(spark, "a"), log, replace(PLAN, num_events=4), catalogue)
    assert row.category == [1, 1, 2, 1]  # unknown product, not in the vocabulary, known since today, not yet known


def made_log(spark: SparkSession, num_rows: int = 4000) -> DataFrame:
    """Events of 40 members over 60 days, several of them at the same second."""
    return (
        spark.range(num_rows)
        .select(
            F.concat(F.lit("m"), F.col("id") % 40).alias("member_id"),
            F.lit(None).cast("string").alias("flag"),
            (F.timestamp_seconds(F.lit(1704067200) + F.pmod(F.xxhash64("id"), F.lit(60 * 24)) * 3600)).alias(
                "event_ts"
            ),
            F.col("id").cast("string").alias("event_id"),
            F.element_at(F.array(*map(F.lit, EVENT_TYPES)), (F.col("id") % 13 + 1).cast("int")).alias("event_type"),
            (F.col("id") % 500 - 100).alias("net_cents"),
            F.concat(F.lit("p"), F.col("id") % 9).alias("product_id"),
            F.element_at(F.array(F.lit("web"), F.lit("app"), F.lit(None)), (F.col("id") % 3 + 1).cast("int")).alias(
                "channel"
            ),
        )
        .withColumn("day", F.to_date(F.from_utc_timestamp("event_ts", ZONE)))
    )


def test_many_dates_at_once_are_each_date_alone_under_any_partitioning(spark: SparkSession):
    log, known = made_log(spark), members(spark, *[f"m{k}" for k in range(41)])
    dates = tuple(date(2024, 1, 5) + timedelta(days=9 * k) for k in range(6))
    together = sequences(known, log, replace(PLAN, as_of_dates=dates, num_events=20))
    alone = [sequences(known, log, replace(PLAN, as_of_dates=(day,), num_events=20)) for day in dates]
    assert together == sorted((row for rows in alone for row in rows), key=lambda row: (row.member_id, row.as_of_date))
    assert len(together) == 41 * 6 and {row.num_events for row in together} > {0, 20}
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        again = sequences(known, log.repartition(5), replace(PLAN, as_of_dates=dates, num_events=20))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(before))
    assert again == together


def test_a_member_with_many_events_is_capped_before_the_shuffle(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
):
    whale = made_log(spark, 300_000).withColumn("member_id", F.lit("whale"))
    log = whale.unionByName(events(spark, {"ts": "2024-02-01T00:00:00"}).select(whale.columns))
    plan = replace(PLAN, as_of_dates=(date(2024, 1, 20), date(2024, 2, 10)), num_events=8)
    recent = build_recent_events(log, plan)
    assert {row[0]: row[1] for row in recent.groupBy("member_id").count().collect()} == {"whale": 18, "a": 1}
    recent.explain()
    shuffle_and_below = capsys.readouterr().out.split("Exchange hashpartitioning(member_id", 1)[1]
    assert "WindowGroupLimit" in shuffle_and_below and "Partial" in shuffle_and_below
    rows = sequences(members(spark, "whale"), log, plan)
    assert [row.num_events for row in rows] == [8, 8] and rows[0].event_type != rows[1].event_type


def test_the_vocabulary_knows_what_the_last_training_date_knew_most_frequent_first(spark: SparkSession):
    log = events(
        spark,
        *[{"event_id": f"w{k}", "channel": "web", "product_id": "p1"} for k in range(3)],
        *[{"event_id": f"a{k}", "channel": "app", "product_id": "p2"} for k in range(2)],
        *[{"event_id": f"b{k}", "channel": "bot", "flag": "robot"} for k in range(9)],
        *[{"event_id": f"n{k}", "channel": "new", "ts": "2024-03-11T00:00:00"} for k in range(9)],
        *[{"event_id": f"c{k}", "channel": "call"} for k in range(2)],
        {"event_id": "rare", "channel": "fax"},
        {"event_id": "none", "channel": None},
    )
    catalogue = products(spark, ("p1", "food", None), ("p2", "wine", None))
    values = build_event_values(log, catalogue, through=AS_OF)

    def entries(frame: DataFrame, **limits: int) -> dict[str, tuple[str, ...]]:
        rows = [tuple(row) for row in build_entries(frame, **limits).collect()]
        return dict(Vocabulary.of(AS_OF, rows, ("event_channel", "event_category")).entries)

    assert entries(values, min_count=2, max_entries=9) == {
        "event_channel": ("web", "app", "call"),
        "event_category": ("food", "wine"),
    }
    assert entries(values, min_count=1, max_entries=1)["event_channel"] == ("web",)
    no_products = build_event_values(log, None, through=AS_OF)
    assert entries(no_products, min_count=1, max_entries=9)["event_category"] == ()


def test_a_member_is_never_cut_by_the_end_of_an_arrow_batch():
    ids = ["a"] * 3 + ["b"] * 5 + ["c"] + ["d"] * 4
    whole = pa.record_batch({"member_id": ids, "row": list(range(len(ids)))})
    for size in range(1, len(ids) + 1):
        cut = [whole.slice(start, size) for start in range(0, len(ids), size)]
        batches = list(whole_members(iter([whole.slice(0, 0), *cut])))
        assert [row for batch in batches for row in batch.column("row").to_pylist()] == list(range(len(ids)))
        ends = [batch.column("member_id")[-1].as_py() for batch in batches]
        assert len(set(ends)) == len(ends) and ends[-1] == "d"


def test_rows_of_a_member_meet_also_where_both_sides_are_partitioned_by_member_already(spark: SparkSession):
    recent = build_recent_events(made_log(spark), replace(PLAN, as_of_dates=PLAN.as_of_dates[:1]))
    known = members(spark, "m1", "m2")
    parted = [frame.repartition(4, "member_id") for frame in (known, recent)]
    plan = build_event_sequences(*parted, PLAN)._jdf.queryExecution().executedPlan().toString()
    # Without this shuffle Spark lays part beside part, whatever their sizes became.
    assert "hashpartitioning(xxhash64(member_id" in plan and "REPARTITION_BY_COL" in plan.split("Union")[0]
