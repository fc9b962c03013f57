"""Bronze and silver: literal rows in, literal rows out; nothing lost, every rejected row with its reason."""

import json
from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.model import MapConfig, MoneyConfig, PseudonymConfig, SourceConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.ingest.bronze import read_source, resolve_path
from memberlevel_spark.ingest.mapping import map_rows
from memberlevel_spark.ingest.pseudonyms import pseudonymiser
from memberlevel_spark.ingest.silver import build_events, build_members, build_products, build_quarantine

pytestmark = pytest.mark.spark

EVENTS = MapConfig(
    to="events",
    where="kind <> 'skip'",
    columns={
        "event_id": "id",
        "member_id": "who",
        "event_type": "kind",
        "event_ts": "at",
        "order_id": "id",
        "amount": "paid",
        "quantity": "units",
    },
)
COLUMNS = "id string, who string, kind string, at string, paid string, units string, _file string"
EURO = MoneyConfig(currency="EUR", minor_unit_digits=2)


def bronze(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    return spark.createDataFrame([(*row, "f") for row in rows], COLUMNS)


def mapped(spark: SparkSession, *rows: tuple[object, ...], zone: str = "UTC") -> DataFrame:
    return map_rows(bronze(spark, *rows), "shop", EVENTS, time_zone=zone)


def events(frame: DataFrame, zone: str = "UTC") -> list[tuple[object, ...]]:
    built = build_events(frame, money=EURO, zone=zone, pseudonym=lambda column: column)
    rows = built.orderBy("event_id").collect()
    return [(r.event_id, r.member_id, r.event_ts, r.day, r.quantity, r.amount_cents) for r in rows]


def test_a_good_row_becomes_an_event_in_minor_units_with_its_business_day(spark: SparkSession):
    frame = mapped(spark, ("1", "007", "order", "2024-03-01 23:30:00", "12.345", "2"))
    expected = ("shop:1", "007", datetime(2024, 3, 1, 23, 30), date(2024, 3, 2), 2, 1235)
    assert events(frame, zone="Europe/Berlin") == [expected]


def test_local_source_times_become_utc_also_in_the_hours_daylight_saving_skips_and_repeats(spark: SparkSession):
    rows = [(str(i), "m", "order", at, "1", "1") for i, at in enumerate(("2024-03-31 02:30:00", "2024-10-27 03:30:00"))]
    got = events(mapped(spark, *rows, zone="Europe/Berlin"))
    assert [row[2] for row in got] == [datetime(2024, 3, 31, 1, 30), datetime(2024, 10, 27, 2, 30)]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (("1", None, "order", "2024-03-01", "1", "1"), "null_member_id"),
        (("1", "", "order", "2024-03-01", "1", "1"), "null_member_id"),
        ((None, "m", "order", "2024-03-01", "1", "1"), "null_event_id"),
        (("1", "m", "order", None, "1", "1"), "null_event_ts"),
        (("1", "m", "order", "yesterday", "1", "1"), "wrong_type_event_ts"),
        (("1", "m", "order", "1969-12-31", "1", "1"), "timestamp_out_of_range"),
        (("1", "m", "order", "9999-12-31", "1", "1"), "timestamp_out_of_range"),
        (("1", "m", "gift", "2024-03-01", "1", "1"), "unknown_event_type"),
        (("1", "m", "order", "2024-03-01", "-0.01", "1"), "negative_amount"),
        (("1", "m", "order", "2024-03-01", "NaN", "1"), "wrong_type_amount"),
        (("1", "m", "order", "2024-03-01", "Infinity", "1"), "wrong_type_amount"),
        (("1", "m", "order", "2024-03-01", "1", "1.5"), "wrong_type_quantity"),
        (("1", "m", "order", "2024-03-01", "1", "-1"), "negative_quantity"),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_its_rule_and_the_good_rows_around_it_stay(
    spark: SparkSession, row: tuple[object, ...], rule: str
):
    good = [("g1", "m", "order", "2024-03-01", "1", "1"), ("g2", "m", "order", "2024-03-01", "1", "1")]
    frame = mapped(spark, good[0], row, good[1])
    assert [event[0] for event in events(frame)] == ["shop:g1", "shop:g2"]
    (rejected,) = build_quarantine({"events": [frame]}).collect()
    assert (rejected.source, rejected.target, rejected.rule, rejected.file) == ("shop", "events", rule, "f")
    assert json.loads(rejected.raw).get("kind") == row[2]


def test_absent_amount_and_quantity_take_their_defaults(spark: SparkSession):
    assert events(mapped(spark, ("1", "m", "order", "2024-03-01", None, None)))[0][4:] == (1, 0)


def test_rows_the_filter_leaves_out_are_counted_as_filtered(spark: SparkSession):
    frame = mapped(spark, ("1", "m", "skip", "2024-03-01", "1", "1"), ("2", "m", None, "2024-03-01", "1", "1"))
    assert [row.status for row in frame.collect()] == ["filtered", "filtered"]


def test_repeats_are_dropped_and_of_two_payloads_the_same_one_wins_in_any_order(spark: SparkSession):
    rows = [
        ("1", "m", "order", "2024-03-01", "5", "1"),
        ("1", "m", "order", "2024-03-01", "5", "1"),
        ("1", "m", "order", "2024-03-01", "4", "1"),
    ]
    forward, backward = events(mapped(spark, *rows)), events(mapped(spark, *reversed(rows)))
    assert forward == backward
    assert [row[5] for row in forward] == [400]


def test_leading_zeros_and_numbers_never_meet(spark: SparkSession):
    frame = mapped(spark, ("1", "007", "order", "2024-03-01", "1", "1"), ("2", "7", "order", "2024-03-01", "1", "1"))
    assert [row[1] for row in events(frame)] == ["007", "7"]


def test_the_json_line_that_is_cut_off_is_kept_and_quarantined(spark: SparkSession, tmp_path: Path):
    (tmp_path / "a.json").write_text('{"id": "1", "who": "m"}\n{"id": "2", "wh\n{"id": "3", "who": "m"}\n')
    source = SourceConfig.model_validate(
        {"format": "json", "path": str(tmp_path), "schema": "id string, who string", "maps": [products_map()]}
    )
    rows = read_source(spark, "lines", source)
    frame = map_rows(rows, "lines", MapConfig.model_validate(products_map() | {"where": "who = 'm'"}))
    assert sorted((row.status, row.raw) for row in frame.collect()) == [
        ("good", None),
        ("good", None),
        ("quarantined", '{"id": "2", "wh'),
    ]


def products_map() -> dict[str, object]:
    return {"to": "products", "columns": {"product_id": "id", "category": "who"}}


def test_a_csv_line_with_too_few_fields_is_quarantined_and_a_quoted_newline_is_not(spark: SparkSession, tmp_path: Path):
    (tmp_path / "a.csv").write_text('id,who\n1,"two\nlines"\n2\n3,m\n')
    options = {"header": "true", "multiLine": "true"}
    source = SourceConfig.model_validate(
        {"format": "csv", "path": str(tmp_path), "options": options, "maps": [products_map()]}
    )
    frame = map_rows(read_source(spark, "lines", source), "lines", MapConfig.model_validate(products_map()))
    got = {(row.product_id, row.category, row.status) for row in frame.collect()}
    assert got == {("1", "two\nlines", "good"), ("2", None, "quarantined"), ("3", "m", "good")}


def test_a_column_the_source_lacks_is_named_with_those_it_has(spark: SparkSession):
    wrong = EVENTS.model_copy(update={"columns": EVENTS.columns | {"amount": "payd"}})
    with pytest.raises(ConfigError, match=r"source shop cannot be mapped to events: payd .*The source has: .*paid"):
        map_rows(bronze(spark), "shop", wrong)


def test_a_map_without_a_required_column_or_with_an_unknown_one_is_refused(spark: SparkSession):
    columns = {name: value for name, value in EVENTS.columns.items() if name != "event_ts"} | {"colour": "id"}
    with pytest.raises(ConfigError, match=r"wrong columns: missing event_ts; unknown colour. It may give: event_id"):
        map_rows(bronze(spark), "shop", EVENTS.model_copy(update={"columns": columns}))


def test_a_path_that_is_not_there_and_a_package_that_is_not_installed_are_named(spark: SparkSession):
    source = SourceConfig.model_validate({"format": "csv", "path": "/nowhere/x.csv", "maps": [products_map()]})
    with pytest.raises(ConfigError, match=r"source orders cannot be read: /nowhere/x.csv \(PATH_NOT_FOUND\)"):
        read_source(spark, "orders", source)
    with pytest.raises(ConfigError, match=r"needs a Python package that is not installed: no_such_package"):
        resolve_path("orders", "package://no_such_package/x.csv")


def test_members_are_everybody_with_a_profile_or_an_event_and_attributes_of_a_day_are_joined(spark: SparkSession):
    columns = "member_id string, valid_from date, attributes map<string,string>, status string"
    given = spark.createDataFrame(
        [
            ("a", date(2024, 1, 1), None, "good"),
            ("a", date(2024, 1, 1), {"city": "Ulm"}, "good"),
            ("a", date(2024, 1, 1), {"age": "30"}, "good"),
            ("a", date(2024, 2, 1), {"city": "Kiel"}, "good"),
            ("x", date(2024, 2, 1), {}, "quarantined"),
        ],
        columns,
    )
    seen = spark.createDataFrame(
        [("a", date(2024, 1, 5)), ("b", date(2024, 1, 7)), ("b", date(2024, 1, 9))], "member_id string, day date"
    )
    rows = build_members(given, seen, pseudonym=lambda column: column).orderBy("member_id", "valid_from").collect()
    assert [tuple(row) for row in rows] == [
        ("a", date(2024, 1, 1), date(2024, 2, 1), {"age": "30", "city": "Ulm"}),
        ("a", date(2024, 2, 1), None, {"city": "Kiel"}),
        ("b", date(2024, 1, 7), None, {}),
    ]


def test_a_product_is_one_row_and_its_first_name_does_not_depend_on_order(spark: SparkSession):
    mapping = MapConfig(to="products", columns={"product_id": "id", "category": "who", "kind": "kind"})
    frame = map_rows(bronze(spark, ("1", "a", "k", "", "", ""), ("1", "b", None, "", "", "")), "shop", mapping)
    assert [tuple(row) for row in build_products(frame).collect()] == [("1", "b", {"kind": "k"})]


def test_pseudonyms_are_hmac_sha256_and_null_stays_null(spark: SparkSession):
    config = PseudonymConfig.model_validate({"method": "hmac_sha256", "key": "k" * 32})
    frame = spark.createDataFrame([("Müller",), (None,)], "id string").select(
        pseudonymiser(config)(F.col("id")).alias("p")
    )
    # From `printf 'Müller' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk`.
    assert [row.p for row in frame.collect()] == [
        "4828fffa825e470c9149a9d4de6d7afc386de1cc9a1ea62bf2a8228d74cfdc09",
        None,
    ]


def test_a_short_or_missing_key_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"the pseudonym key is too short: 3 bytes, at least 32"):
        pseudonymiser(PseudonymConfig.model_validate({"method": "hmac_sha256", "key": "abc"}))
    with pytest.raises(ConfigError, match=r"the pseudonym key file is missing"):
        pseudonymiser(PseudonymConfig(method="hmac_sha256", key_file=tmp_path / "key"))


def test_a_key_file_is_used(spark: SparkSession, tmp_path: Path):
    (tmp_path / "key").write_bytes(b"k" * 32 + b"\n")
    by_file = pseudonymiser(PseudonymConfig(method="hmac_sha256", key_file=tmp_path / "key"))
    by_key = pseudonymiser(PseudonymConfig.model_validate({"method": "hmac_sha256", "key": "k" * 32}))
    row = spark.range(1).select(by_file(F.lit("a")).alias("a"), by_key(F.lit("a")).alias("b")).first()
    assert row is not None and row.a == row.b
