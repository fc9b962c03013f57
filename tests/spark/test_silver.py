"""The steps from typed rows to events, members and products: literal rows in, literal rows out."""

from datetime import date, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.ingest import RuleConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.ingest.identity import links_by_device, with_linked_members
from memberlevel_spark.ingest.increment import changed_members, keyed, seen_otherwise
from memberlevel_spark.ingest.profiles import build_members, build_products
from memberlevel_spark.ingest.refunds import refunded_keys, with_net_cents
from memberlevel_spark.ingest.repeats import count_repeats, repeated_keys
from memberlevel_spark.ingest.silver import BASE, Special, Visits, build_events, reopened, settled
from memberlevel_spark.schemas import EVENTS

pytestmark = pytest.mark.spark

NOON = datetime(2024, 3, 1, 12)
DEFAULTS: dict[str, object] = {
    "event_id": "e",
    "member_id": "m",
    "event_type": "order",
    "event_ts": NOON,
    "quantity": 1,
    "amount_cents": 0,
    "discount_cents": 0,
    "points": 0,
    "source": "shop",
}
BASE_SCHEMA = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in EVENTS.schema if f.name in BASE)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def base(spark: SparkSession, *rows: dict[str, object]) -> DataFrame:
    """Typed events; what a row does not give has a plain default, and its day is that of its instant."""
    full = [DEFAULTS | row for row in rows]
    full = [row | {"day": row["event_ts"].date()} for row in full]  # type: ignore[attr-defined]
    frame = spark.createDataFrame(
        [tuple(row.get(f.split()[0]) for f in BASE_SCHEMA.split(", ")) for row in full], BASE_SCHEMA
    )
    return frame.select(*BASE)


def settle(frame: DataFrame) -> DataFrame:
    rows = keyed(frame)
    return settled(rows, Special(repeated_keys(rows), refunded_keys(rows)))


# Repeats


def test_repeats_are_dropped_and_the_same_payload_wins_in_any_order(spark: SparkSession):
    rows = [
        {"event_id": "1", "amount_cents": 500},
        {"event_id": "1", "amount_cents": 500},
        {"event_id": "1", "amount_cents": 400},
        {"event_id": "2", "amount_cents": 7},
    ]
    for order in (rows, rows[::-1]):
        kept = settle(base(spark, *order)).orderBy("event_id").collect()
        assert [(row.event_id, row.amount_cents, row.net_cents) for row in kept] == [("1", 400, 400), ("2", 7, 7)]
    (counted,) = count_repeats(base(spark, *rows)).collect()
    assert (counted.source, counted.exact, counted.conflicting) == ("shop", 1, 1)


def test_the_payload_received_last_wins_whatever_its_values(spark: SparkSession):
    rows = [
        {"event_id": "1", "amount_cents": 900, "received_ts": minutes(9), "event_ts": minutes(3000)},
        {"event_id": "1", "amount_cents": 100, "received_ts": minutes(5)},
        {"event_id": "1", "amount_cents": 1},
    ]
    (kept,) = settle(base(spark, *rows)).collect()
    assert (kept.amount_cents, kept.day) == (900, date(2024, 3, 3))


# Refunds


def net(spark: SparkSession, *rows: tuple[str, float, int | None]) -> list[int]:
    """Net cents by time of an order's events: type, minute, amount."""
    events = [
        {"event_id": str(n), "order_id": "o", "event_type": kind, "event_ts": minutes(at), "amount_cents": cents or 0}
        for n, (kind, at, cents) in enumerate(rows)
    ]
    return [row.net_cents for row in settle(base(spark, *events)).orderBy("event_ts", "event_id").collect()]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("order", 0, 100), ("refund", 1, 30)], [100, -30]),
        ([("order", 0, 100), ("refund", 1, 130)], [100, -100]),
        ([("order", 0, 100), ("refund", 1, 70), ("refund", 2, 70)], [100, -70, -30]),
        ([("refund", 0, 30), ("order", 1, 100)], [0, 70]),
        ([("refund", 0, 100), ("order", 0, 100)], [0, 0]),
        ([("order", 0, 60), ("order", 0, 40), ("cancellation", 1, None), ("order", 2, 5)], [60, 40, -100, 0]),
        ([("refund", 0, 30)], [0]),
        ([("order", 0, 100), ("refund", 1, 130), ("order", 2, 50)], [100, -100, 20]),
    ],
)
def test_an_orders_net_is_what_was_paid_less_what_went_back_never_below_zero(
    spark: SparkSession, rows: list[tuple[str, float, int | None]], expected: list[int]
):
    # At one instant the purchase comes first, so the refund takes what it brought.
    got = net(spark, *rows)
    assert sum(got) == sum(expected)
    if rows[0][1] != rows[1 % len(rows)][1] or rows[0][0] == "order":
        assert got == expected


def test_a_refund_without_an_order_takes_nothing_and_orders_without_an_id_keep_to_themselves(spark: SparkSession):
    rows = [
        {"event_id": "1", "amount_cents": 100},
        {"event_id": "2", "event_type": "refund", "amount_cents": 50, "event_ts": minutes(1)},
        {"event_id": "1", "amount_cents": 100},
        {"event_id": "2", "event_type": "refund", "amount_cents": 50, "event_ts": minutes(1)},
    ]
    assert [row.net_cents for row in settle(base(spark, *rows)).orderBy("event_id").collect()] == [100, 0]


def test_net_depends_on_nothing_later(spark: SparkSession):
    rows = [("order", 0.0, 100), ("refund", 1.0, 30), ("refund", 2.0, 100), ("order", 3.0, 10), ("refund", 4.0, 5)]
    whole = net(spark, *rows)
    for cut in range(1, len(rows)):
        assert net(spark, *rows[:cut]) == whole[:cut]


def test_without_refunds_nothing_is_joined_or_shuffled(spark: SparkSession):
    plan = settled(keyed(base(spark, {})), Special())._jdf.queryExecution().executedPlan().toString()  # type: ignore[operator]
    assert "Exchange" not in plan and "Join" not in plan
    assert with_net_cents(base(spark, {"amount_cents": 5})).select("net_cents").collect()[0][0] == 5


# Guests


def test_a_guest_becomes_the_member_its_device_is_linked_to_at_that_moment_and_never_before(spark: SparkSession):
    links = spark.createDataFrame(
        [("d", "ann", minutes(10)), ("d", "bob", minutes(20)), ("d", None, minutes(30)), ("x", "eve", minutes(0))],
        "device_id string, member_id string, valid_from timestamp",
    )
    events = [
        {"event_id": f"{n:02}", "member_id": None, "device_id": "d", "event_ts": minutes(n)} for n in (9, 10, 20, 30)
    ]
    events += [{"event_id": "50", "device_id": "d"}, {"event_id": "60", "member_id": None, "device_id": "other"}]
    rows = with_linked_members(base(spark, *events), links_by_device(links)).orderBy("event_id").collect()
    assert [(row.event_id, row.member_id, row.stitched) for row in rows] == [
        ("09", None, False),
        ("10", "ann", True),
        ("20", "bob", True),
        ("30", None, False),
        ("50", "m", False),
        ("60", None, False),
    ]


# Visits


def visits(spark: SparkSession, rows: list[dict[str, object]], **how: object) -> list[tuple[object, ...]]:
    rows = [{"event_id": f"{n:02}", "event_type": "view", **row} for n, row in enumerate(rows)]
    built = build_events(settle(base(spark, *rows)), Visits(**how))  # type: ignore[arg-type]
    return [(row.session_id, row.flag) for row in built.orderBy("event_id").collect()]


def test_a_session_ends_after_a_silence_and_at_midnight_and_orders_have_none(spark: SparkSession):
    rows: list[dict[str, object]] = [
        {"event_ts": minutes(0)},
        {"event_ts": minutes(30)},
        {"event_ts": minutes(45), "event_type": "order"},
        {"event_ts": minutes(60.1)},
        {"event_ts": minutes(60.2), "session_id": "given"},
        {"event_ts": minutes(719)},
        {"event_ts": minutes(721)},
        {"event_ts": minutes(0), "member_id": None, "device_id": "d"},
    ]
    assert [session for session, _ in visits(spark, rows, gap_minutes=30)] == [
        "cut-20240301T120000",
        "cut-20240301T120000",
        None,
        "cut-20240301T130006",
        "given",
        "cut-20240301T235900",
        "cut-20240302T000100",
        "cut-20240301T120000",
    ]


def day_rule(expression: str) -> RuleConfig:
    return RuleConfig.model_validate(
        {"name": "robot", "table": "member_day", "expression": expression, "severity": "flag"}
    )


def test_a_day_no_person_has_is_flagged_whole_and_other_days_and_members_are_not(spark: SparkSession):
    rows: list[dict[str, object]] = [{"event_ts": minutes(n)} for n in range(3)]
    rows += [{"event_ts": minutes(3), "flag": "own"}, {"event_ts": minutes(1440)}, {"member_id": "n"}]
    flags = [flag for _, flag in visits(spark, rows, rules=[day_rule("num_events <= 3 and num_views <= 9")])]
    assert flags == ["robot", "robot", "robot", "own", None, None]


def test_a_day_rule_that_speaks_of_no_measure_is_refused(spark: SparkSession):
    with pytest.raises(ConfigError, match=r"a rule on member_day cannot be read: robot .*It may speak of num_events"):
        visits(spark, [{}], rules=[day_rule("num_clicks < 3")])


def test_reopened_events_are_what_they_were_before_the_last_step(spark: SparkSession):
    rows = base(
        spark,
        {"event_id": "1", "event_type": "view", "member_id": None, "device_id": "d"},
        {"event_id": "2", "event_type": "view", "session_id": "given", "flag": "own"},
        {"event_id": "3", "event_type": "view"},
    )
    links = spark.createDataFrame(
        [("d", "ann", minutes(-9))], "device_id string, member_id string, valid_from timestamp"
    )
    rules = [day_rule("num_events > 99")]
    built = build_events(settle(rows), Visits(links_by_device(links), 30, rules))
    assert {row.flag for row in built.collect()} == {"robot", "own"}
    assert sorted(reopened(built, rules).collect()) == sorted(settle(rows).select(*BASE).collect())


# Members and products


def profiles(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Member, valid_from, attributes and, where it is another, the day on which the row was known."""
    full = [(*row[:3], row[3] if len(row) > 3 else row[1], {}) for row in rows]
    columns = "member_id string, valid_from date, attributes map<string,string>"
    return spark.createDataFrame(full, f"{columns}, known_from date, corrected_from map<string,date>")


def seen(spark: SparkSession, *rows: tuple[str, date]) -> DataFrame:
    return spark.createDataFrame(list(rows), "member_id string, valid_from date")


def march(day: int) -> date:
    return date(2024, 3, day)


def test_members_are_everybody_with_a_profile_or_an_event_and_attributes_of_a_day_are_joined(spark: SparkSession):
    declared = profiles(
        spark,
        ("a", march(1), None),
        ("a", march(1), {"city": "Ulm"}),
        ("a", march(1), {"age": "30", "city": "Trier"}),
        ("a", march(9), {"city": "Kiel"}),
        ("c", march(2), {"city": "Bonn"}, march(9)),
        ("c", march(6), None),
        ("d", march(5), None, march(9)),
    )
    first_seen = seen(spark, ("a", march(5)), ("b", march(7)), ("c", march(5)), ("d", march(5)))
    rows = build_members(declared, first_seen).orderBy("member_id", "valid_from").collect()
    assert [tuple(row) for row in rows] == [
        ("a", march(1), march(9), True, {"age": "30", "city": "Ulm"}, march(1), {}),
        ("a", march(9), None, True, {"city": "Kiel"}, march(9), {}),
        ("b", march(7), None, False, {}, march(7), {}),
        # By their orders from the fifth on; the profile that came late is no longer valid when it comes.
        ("c", march(2), march(6), True, {"city": "Bonn"}, march(9), {}),
        ("c", march(5), march(6), False, {}, march(5), {}),
        ("c", march(6), None, True, {}, march(6), {}),
        ("d", march(5), None, True, {}, march(9), {}),
    ]


def test_a_profile_is_known_from_its_first_delivery_and_each_corrected_value_from_its_own(spark: SparkSession):
    deliveries = [
        ("a", march(1), {"city": "Trier", "age": "30"}, march(3)),
        ("a", march(1), {"city": "Ulm", "age": "30"}, march(8)),  # a correction, delivered twice
        ("a", march(1), {"city": "Ulm", "age": "30"}, march(6)),
        ("a", march(1), {"size": "2"}, march(3)),
    ]
    expected = ("a", march(1), None, True, {"age": "30", "city": "Ulm", "size": "2"}, march(3), {"city": march(6)})
    nobody = seen(spark)
    assert [tuple(r) for r in build_members(profiles(spark, *deliveries), nobody).collect()] == [expected]
    for first, second in ((deliveries[:2], deliveries[2:]), (deliveries[2:], deliveries[:2])):
        before = build_members(profiles(spark, *first), nobody)
        after = changed_members(before, profiles(spark, *second), nobody, march(1)).drop("gone")
        assert [tuple(r) for r in after.collect()] == [expected]


def test_members_merged_batch_by_batch_are_those_of_one_load(spark: SparkSession):
    before = build_members(
        profiles(spark, ("a", march(6), {"x": "1"})),
        seen(spark, ("a", march(4)), ("b", march(5)), ("c", march(2)), ("e", march(5))),
    )
    # Since the fourth: a was seen before that by nobody, b moves to the sixth, e vanishes, d is new.
    declared = profiles(spark, ("a", march(5), {"x": "2"}), ("a", march(6), {"y": "1"}), ("c", march(1), {}))
    later = seen(spark, ("a", march(4)), ("b", march(6)), ("c", march(4)), ("d", march(4)))
    changes = changed_members(before, declared, later, march(4))
    rows = {(r.member_id, r.valid_from.day): (r.valid_to, r.declared, r.attributes, r.gone) for r in changes.collect()}
    assert rows == {
        ("a", 4): (march(5), False, {}, False),
        ("a", 5): (march(6), True, {"x": "2"}, False),
        ("a", 6): (None, True, {"x": "1", "y": "1"}, False),
        ("b", 5): (None, False, {}, True),
        ("b", 6): (None, False, {}, False),
        ("c", 1): (None, True, {}, False),
        ("c", 2): (None, False, {}, True),
        ("d", 4): (None, False, {}, False),
        ("e", 5): (None, False, {}, True),
    }


def test_only_members_whose_row_by_events_may_change_are_made_anew(spark: SparkSession):
    before = build_members(
        profiles(spark, ("known", march(1), {}), ("late", march(1), {}, march(7)), ("told", march(2), {}, march(9))),
        seen(spark, ("old", march(2)), ("new", march(5)), ("moved", march(5)), ("gone", march(5)), ("told", march(3))),
    )
    # Since the fourth. All of these are as before: a profile, an earlier day, the very same day.
    as_before = [("known", march(4)), ("old", march(6)), ("new", march(5)), ("told", march(6))]
    # A profile known on the seventh only, another day, nobody yet; and gone is seen no more.
    later = [("late", march(6)), ("moved", march(6)), ("nobody", march(4))]
    found = seen_otherwise(before, seen(spark, *as_before, *later), march(4))
    assert sorted(row.member_id for row in found.collect()) == ["gone", "late", "moved", "nobody"]
    changes = changed_members(before, profiles(spark), seen(spark, *as_before, *later), march(4)).collect()
    assert sorted((row.member_id, row.valid_from.day, row.gone) for row in changes) == [
        ("gone", 5, True),
        ("late", 1, False),
        ("late", 6, False),
        ("moved", 5, True),
        ("moved", 6, False),
        ("nobody", 4, False),
    ]


def test_a_products_newest_entry_wins_and_the_largest_text_where_entries_are_of_one_day(spark: SparkSession):
    columns = "product_id string, category string, valid_from date, attributes map<string,string>"
    rows = [
        ("1", "z", None, {"k": "old"}),
        ("1", "a", march(1), {"k": "1"}),
        ("1", "b", march(1), {"l": "2"}),
        ("2", None, None, None),
    ]
    built = build_products(spark.createDataFrame(rows, columns)).orderBy("product_id").collect()
    assert [tuple(row) for row in built] == [("1", "b", march(1), {"k": "1", "l": "2"}), ("2", None, None, {})]


def test_events_fit_their_contract(spark: SparkSession):
    built = build_events(settle(base(spark, {"event_ts": datetime(2024, 12, 31, 23)})), Visits())
    assert built.schema.names == EVENTS.schema.names
    assert built.select(F.col("month")).first() == (date(2024, 12, 1),)
