"""From source rows to canonical ones: literal rows in, literal rows out; every rejected row with its rule."""

import hmac
from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.ingest import (
    IngestConfig,
    MapConfig,
    PseudonymConfig,
    QualityConfig,
    RuleConfig,
    SourceConfig,
)
from memberlevel_spark.config.model import MoneyConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.ingest.identifiers import Pseudonyms, has_unicode, normalised
from memberlevel_spark.ingest.mapping import SourceMap, map_rows
from memberlevel_spark.ingest.money import daily_rates, minor_unit_digits
from memberlevel_spark.ingest.reader import read_files, resolve_path
from memberlevel_spark.ingest.silver import build_quarantine, typed_events

pytestmark = pytest.mark.spark

COLUMNS = {
    "event_id": "id",
    "member_id": "who",
    "event_type": "kind",
    "event_ts": "at",
    "order_id": "id",
    "amount": "paid",
    "quantity": "units",
}
SCHEMA = "id string, who string, kind string, at string, paid string, units string, cur string, got string,"
SCHEMA += " _file string, _file_ts timestamp, _batch long"
EURO = MoneyConfig(currency="EUR")
WRITTEN = datetime(2024, 6, 1)


def bronze(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    filled = [(*row, *[None] * (8 - len(row)), "f", WRITTEN, 4) for row in rows]
    return spark.createDataFrame(filled, SCHEMA)


def source_map(columns: dict[str, str] | None = None, to: str = "events", **more: object) -> SourceMap:
    """A map with one source's settings; ``settings``, ``quality``, ``ingest`` and ``rules`` override the plain ones."""
    mapping = MapConfig.model_validate({"to": to, "columns": columns or COLUMNS, "where": more.pop("where", None)})
    settings = {"format": "csv", "path": "x", "maps": [mapping.model_dump()], **more.pop("settings", {})}  # type: ignore[dict-item]
    ingest = {"files_per_batch": 9, "max_rate_age_days": 0, "max_text_chars": 8, **more.pop("ingest", {})}  # type: ignore[dict-item]
    return SourceMap(
        source="shop",
        settings=SourceConfig.model_validate(settings),
        mapping=mapping,
        zone=str(more.pop("zone", "UTC")),
        money=more.pop("money", EURO),  # type: ignore[arg-type]
        ingest=IngestConfig.model_validate(ingest),
        quality=QualityConfig(max_quarantine_share=1, max_future_days=1),
        rates=more.pop("rates", None),  # type: ignore[arg-type]
        unicode=bool(more.pop("unicode", False)),
        rules=tuple(RuleConfig.model_validate(rule) for rule in more.pop("rules", ())),  # type: ignore[attr-defined]
    )


def mapped(spark: SparkSession, *rows: tuple[object, ...], **more: object) -> DataFrame:
    return map_rows(bronze(spark, *rows), source_map(**more))  # type: ignore[arg-type]


def rules_of(frame: DataFrame) -> list[str | None]:
    return [row.rule for row in frame.collect()]


def test_a_good_row_becomes_an_event_in_minor_units_with_its_business_day(spark: SparkSession):
    frame = mapped(spark, ("1", "007", "order", "2024-03-01 23:30:00", "12.345", "2"), zone="Europe/Berlin")
    row = typed_events(frame).first()
    assert row is not None
    got = (row.event_id, row.member_id, row.event_ts, row.day, row.quantity, row.amount_cents)
    assert got == ("shop:1", "007", datetime(2024, 3, 1, 23, 30), date(2024, 3, 2), 2, 1235)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-03-31 02:30:00", datetime(2024, 3, 31, 1, 30)),  # skipped in Berlin: moves forward by an hour
        ("2024-10-27 02:30:00", datetime(2024, 10, 27, 0, 30)),  # twice in Berlin: the first
        ("2024-10-27 03:30:00", datetime(2024, 10, 27, 2, 30)),
        ("2024-07-01T12:00:00Z", datetime(2024, 7, 1, 12)),
        ("2024-07-01T12:00:00+05:30", datetime(2024, 7, 1, 6, 30)),
        ("2024-07-01 12:00:00 America/New_York", datetime(2024, 7, 1, 16)),
        ("2024-07-01", datetime(2024, 6, 30, 22)),
    ],
)
def test_local_times_become_utc_and_times_with_a_zone_stay_as_given(spark: SparkSession, text: str, instant: datetime):
    settings = {"time_zone": "Europe/Berlin"}
    row = mapped(spark, ("1", "m", "order", text, "1", "1"), settings=settings).first()
    assert row is not None and row.event_ts == instant


@pytest.mark.parametrize(
    ("row", "rule", "found"),
    [
        (("1", None, "order", "2024-03-01", "1", "1"), "null_member_id", None),
        (("1", " ", "order", "2024-03-01", "1", "1"), "null_member_id", None),
        ((None, "m", "order", "2024-03-01", "1", "1"), "null_event_id", None),
        (("1", "m" * 513, "order", "2024-03-01", "1", "1"), "too_long_member_id", None),
        (("1", "m", "order", None, "1", "1"), "null_event_ts", None),
        (("1", "m", None, "2024-03-01", "1", "1"), "null_event_type", None),
        (("1", "m", "order", "yesterday", "1", "1"), "wrong_type_event_ts", "aaaaaaaaa"),
        (("1", "m", "order", "10:15:00", "1", "1"), "wrong_type_event_ts", "99:99:99"),
        (("1", "m", "order", "0001-01-01", "1", "1"), "timestamp_out_of_range", "9999-99-99"),
        (("1", "m", "order", "1969-12-31", "1", "1"), "timestamp_out_of_range", "9999-99-99"),
        (("1", "m", "order", "9999-12-31", "1", "1"), "timestamp_out_of_range", "9999-99-99"),
        (("1", "m", "order", "2024-06-02 00:00:01", "1", "1"), "timestamp_in_future", "9999-99-99 99:99:99"),
        (("1", "m", "gift", "2024-03-01", "1", "1"), "unknown_event_type", "aaaa"),
        (("1", "m", "order", "2024-03-01", "-0.01", "1"), "negative_amount", "-9.99"),
        (("1", "m", "order", "2024-03-01", "NaN", "1"), "wrong_type_amount", "aaa"),
        (("1", "m", "order", "2024-03-01", "-Infinity", "1"), "wrong_type_amount", "-aaaaaaaa"),
        (("1", "m", "order", "2024-03-01", "1e30", "1"), "wrong_type_amount", "9a99"),
        (("1", "m", "order", "2024-03-01", "1000000000000.01", "1"), "out_of_range_amount", "9999999999999.99"),
        (("1", "m", "order", "2024-03-01", "1", "1.5"), "wrong_type_quantity", "9.9"),
        (("1", "m", "order", "2024-03-01", "1", "-1"), "negative_quantity", "-9"),
        (("1", "m", "order", "2024-03-01", "1", "1000000001"), "out_of_range_quantity", "9999999999"),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_its_rule_and_the_good_rows_around_it_stay(
    spark: SparkSession, row: tuple[object, ...], rule: str, found: str | None
):
    good = [("g1", "m", "order", "2024-03-01", "1", "1"), ("g2", "m", "order", "2024-06-02 00:00:00", "1", "1")]
    frame = mapped(spark, good[0], row, good[1])
    assert [event.event_id for event in typed_events(frame).collect()] == ["shop:g1", "shop:g2"]
    (rejected,) = build_quarantine(frame, "events").collect()
    assert (rejected.source, rejected.target, rejected.rule, rejected.found) == ("shop", "events", rule, found)
    assert (rejected.file, rejected.batch) == ("f", 4) and rejected.row_hash != 0


def test_absent_amount_and_quantity_take_their_defaults(spark: SparkSession):
    row = mapped(spark, ("1", "m", "order", "2024-03-01", None, "")).first()
    assert row is not None and (row.quantity, row.amount_cents, row.status) == (1, 0, "good")


def test_rows_the_filter_leaves_out_and_ignored_types_are_filtered(spark: SparkSession):
    settings = {"event_types": {"buy": "order", "ping": "ignore"}}
    rows = [("1", "m", kind, "2024-03-01", "1", units) for kind in ("buy", "ping", "order") for units in ("1", "2", "")]
    frame = mapped(spark, *rows, settings=settings, where="units <> '2'")
    assert [(row.status, row.rule, row.event_type) for row in frame.collect()] == [
        ("good", None, "order"),
        ("filtered", None, "order"),
        ("good", None, "order"),
        ("filtered", None, "ignore"),
        ("filtered", None, "ignore"),
        ("filtered", None, "ignore"),
        ("quarantined", "unknown_event_type", "?order"),
        ("filtered", None, "?order"),
        ("quarantined", "unknown_event_type", "?order"),
    ]


def test_an_event_received_too_long_after_its_business_day_is_late(spark: SparkSession):
    columns = COLUMNS | {"received_ts": "got"}
    at = "2024-03-01 23:30:00"  # already the second in Berlin
    rows = [
        ("1", "m", "order", at, "1", "1", None, got) for got in ("2024-03-05 22:00:00", "2024-03-05 23:00:00", None)
    ]
    frame = mapped(spark, *rows, columns=columns, ingest={"late_days": 3}, zone="Europe/Berlin")
    assert [row.status for row in frame.collect()] == ["good", "late", "good"]


def test_what_was_received_tells_the_future_before_the_files_time_does(spark: SparkSession):
    columns = COLUMNS | {"received_ts": "got"}
    rows = [
        ("1", "m", "order", "2024-03-03", "1", "1", None, got) for got in ("2024-03-01 23:00:00", "2024-03-02", None)
    ]
    assert rules_of(mapped(spark, *rows, columns=columns)) == ["timestamp_in_future", None, None]


def test_quality_rules_warn_flag_and_quarantine_where_their_expression_is_not_true(spark: SparkSession):
    rules = [
        {"name": "cheap", "table": "events", "expression": "amount < 5", "severity": "warn"},
        {"name": "robot", "table": "events", "expression": "quantity < 9", "severity": "flag"},
        {"name": "named", "table": "events", "expression": "order_id <> 'x'", "severity": "quarantine"},
    ]
    rows = [("1", "m", "order", "2024-03-01", "7", "9"), ("x", "m", "order", "2024-03-01", "1", "1")]
    rows += [("2", "m", "gift", "2024-03-01", "7", "9")]
    frame = mapped(spark, *rows, rules=rules)
    assert [(r.rule, r.flag, r.breaks_cheap, r.breaks_robot, r.breaks_named) for r in frame.collect()] == [
        (None, "robot", True, True, False),
        ("named", None, False, False, True),
        ("unknown_event_type", None, False, False, False),
    ]


def test_a_row_without_an_id_gets_the_hash_of_its_content(spark: SparkSession):
    columns = {name: value for name, value in COLUMNS.items() if name not in ("event_id", "order_id")}
    rows = [("1", "m", "order", "2024-03-01", "1", "1"), ("2", "m", "order", "2024-03-01", "1.00", "1")]
    rows += [("3", "m", "order", "2024-03-01", "1", "2"), ("4", "m", "order", "2024-03-01", "1", None)]
    first, same, other, default = [
        row.event_id for row in typed_events(mapped(spark, *rows, columns=columns)).collect()
    ]
    assert first == same == default and first.startswith("shop:content:") and first != other


# Money


def rates(spark: SparkSession, *rows: tuple[str, date, str], max_age_days: int = 0) -> DataFrame:
    frame = spark.createDataFrame(list(rows), "currency string, day date, rate string")
    return daily_rates(frame.withColumn("rate", F.col("rate").cast("decimal(18,9)")), max_age_days)


def cents(frame: DataFrame) -> list[object]:
    return [row.rule or row.amount_cents for row in frame.collect()]


@pytest.mark.parametrize(("currency", "digits"), [("JPY", 0), ("EUR", 2), ("KWD", 3)])
def test_minor_units_follow_iso_4217(spark: SparkSession, currency: str, digits: int):
    assert minor_unit_digits(currency) == digits
    money = MoneyConfig(currency=currency)
    major = mapped(spark, ("1", "m", "order", "2024-03-01", "1234", "1"), money=money)
    minor = mapped(spark, ("1", "m", "order", "2024-03-01", "1234", "1"), money=money, settings={"amounts_in": "minor"})
    assert (cents(major), cents(minor)) == ([1234 * 10**digits], [1234])


def test_a_currency_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"not a currency of ISO 4217: EUX. Use its three-letter code"):
        minor_unit_digits("EUX")


def test_amounts_are_converted_by_their_days_rate_and_rounded_half_up(spark: SparkSession):
    day = date(2024, 3, 1)
    known = rates(spark, ("USD", day, "0.5"), ("JPY", day, "0.0065"), ("KWD", day, "3"), ("USD", date(2024, 3, 2), "2"))
    cases = [("0.01", "USD"), ("0.03", " usd "), ("1", "JPY"), ("12.345", "KWD"), ("7", "EUR"), ("7", None)]
    rows = [("1", "m", "order", "2024-03-01", paid, "1", currency) for paid, currency in cases]
    rows.append(("1", "m", "order", "2024-03-02", "1", "1", "USD"))
    frame = mapped(spark, *rows, columns=COLUMNS | {"currency": "cur"}, rates=known)
    assert cents(frame) == [1, 2, 1, 3704, 700, 700, 200]


def test_minor_units_of_another_currency_keep_their_own_decimals(spark: SparkSession):
    day = date(2024, 3, 1)
    known = rates(spark, ("JPY", day, "0.0065"), ("KWD", day, "3"), ("USD", day, "1"))
    rows = [("1", "m", "order", "2024-03-01", "12345", "1", currency) for currency in ("JPY", "KWD", "USD", "EUR")]
    settings = {"amounts_in": "minor"}
    frame = mapped(spark, *rows, columns=COLUMNS | {"currency": "cur"}, rates=known, settings=settings)
    assert cents(frame) == [8024, 3704, 12345, 12345]


def test_an_amount_without_a_rate_or_a_currency_is_quarantined_and_a_zero_needs_none(spark: SparkSession):
    rows = [
        ("1", "m", "order", "2024-03-01", paid, "1", cur) for paid, cur in (("1", "USD"), ("1", "XXQ"), ("0", "USD"))
    ]
    frame = mapped(spark, *rows, columns=COLUMNS | {"currency": "cur"}, rates=rates(spark))
    assert cents(frame) == ["missing_rate", "unknown_currency", 0]


def test_a_rate_stays_valid_over_a_weekend_when_the_shop_allows_it(spark: SparkSession):
    friday = date(2024, 3, 1)
    known = rates(spark, ("USD", friday, "2"), ("USD", date(2024, 3, 3), "4"), max_age_days=2)
    got = {row.rate_day.day: int(row.rate) for row in known.collect()}
    assert got == {1: 2, 2: 2, 3: 4, 4: 4, 5: 4}


# Identifiers


def test_leading_zeros_and_numbers_never_meet_and_twins_do(spark: SparkSession):
    twins = ["007", "7", " 007 ", "0\u200b07\u0000", "Z\u00fc", "Zu\u0308", "\uff10\uff10\uff17", "", " \t"]
    frame = spark.createDataFrame([(text,) for text in twins], "id string")
    rows = frame.select(normalised(F.col("id"), unicode=True).alias("n"), has_unicode(F.col("id")).alias("u")).collect()
    assert [row.n for row in rows] == ["007", "7", "007", "007", "Z\u00fc", "Z\u00fc", "007", None, None]
    assert [row.u for row in rows] == [False, False, False, True, True, True, True, False, False]


def test_ascii_identifiers_are_the_same_with_and_without_the_unicode_path(spark: SparkSession):
    texts = ["a", " a", "a ", "a b", "\ta\n", "a\u0000b", "\x7fa", "~!", ""]
    frame = spark.createDataFrame([(text,) for text in texts], "id string")
    columns = [normalised(F.col("id"), unicode=unicode).alias(str(unicode)) for unicode in (True, False)]
    assert [row[0] for row in frame.select(*columns).collect()] == [row[1] for row in frame.select(*columns).collect()]


def pseudonyms(spark: SparkSession, **config: object) -> Pseudonyms:
    return Pseudonyms.of(PseudonymConfig.model_validate({"method": "hmac_sha256", "key_id": "k", **config}), spark)


@pytest.mark.parametrize("length", [32, 64, 65, 200])
def test_pseudonyms_are_hmac_sha256_and_null_stays_null(spark: SparkSession, length: int):
    secret = "k" * length
    made = pseudonyms(spark, key=secret)
    frame = made.with_pads(spark.createDataFrame([("Müller",), (None,)], "id string"))
    got = [row.p for row in frame.select(made.member(F.col("id")).alias("p")).collect()]
    assert got == [hmac.digest(secret.encode(), "Müller".encode(), "sha256").hex(), None]
    if length == 32:
        # From `printf 'Müller' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk`.
        assert got[0] == "4828fffa825e470c9149a9d4de6d7afc386de1cc9a1ea62bf2a8228d74cfdc09"


def test_the_same_text_has_different_pseudonyms_as_event_order_and_member(spark: SparkSession):
    made = pseudonyms(spark, key="k" * 32)
    frame = made.with_pads(spark.createDataFrame([("x",)], "id string"))
    kinds = [made.short("event_id", F.col("id")), made.short("order_id", F.col("id")), made.member(F.col("id"))]
    row = frame.select(*[kind.alias(str(n)) for n, kind in enumerate(kinds)]).first()
    assert row is not None and len({text[:32] for text in row}) == 3


def test_the_key_is_in_no_plan_and_no_text(spark: SparkSession, capsys: pytest.CaptureFixture[str]):
    secret = "a very secret key of enough bytes"
    made = pseudonyms(spark, key=secret)
    frame = made.with_pads(spark.createDataFrame([("x",)], "id string")).select(made.member(F.col("id")))
    frame.explain("extended")
    plan = capsys.readouterr().out + repr(made)
    pads = [bytes(byte ^ pad for byte in secret.encode()).hex() for pad in (0x36, 0x5C)]
    assert "_inner_pad" in plan
    for text in (secret, secret.encode().hex(), *pads):
        assert text not in plan and text.upper() not in plan


def test_public_ids_stay_and_the_check_value_tells_keys_apart(spark: SparkSession):
    public = pseudonyms(spark, method="off")
    row = public.with_pads(spark.createDataFrame([("x",)], "id string")).select(public.member(F.col("id"))).first()
    assert row is not None and row[0] == "x"
    values = [public.check_value] + [pseudonyms(spark, key=letter * 32).check_value for letter in "ab"]
    values.append(pseudonyms(spark, key="a" * 32, key_id="other").check_value)
    assert len(set(values)) == 4


def test_a_short_or_missing_key_is_refused(spark: SparkSession, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"the pseudonym key is too short: 3 bytes, at least 32"):
        pseudonyms(spark, key="abc")
    with pytest.raises(ConfigError, match=r"the pseudonym key file is missing"):
        pseudonyms(spark, key_file=tmp_path / "key")


def test_a_key_file_is_used(spark: SparkSession, tmp_path: Path):
    (tmp_path / "key").write_bytes(b"k" * 32 + b"\n")
    assert pseudonyms(spark, key_file=tmp_path / "key").check_value == pseudonyms(spark, key="k" * 32).check_value


# Maps and paths


def test_a_column_the_source_lacks_is_named_with_those_it_has(spark: SparkSession):
    with pytest.raises(ConfigError, match=r"source shop cannot be mapped to events: payd .*The source has: .*paid"):
        mapped(spark, columns=COLUMNS | {"amount": "payd"})


def test_a_map_without_a_required_column_or_with_an_unknown_one_is_refused(spark: SparkSession):
    columns = {name: value for name, value in COLUMNS.items() if name != "event_ts"} | {"colour": "id"}
    with pytest.raises(ConfigError, match=r"wrong columns: missing event_ts; unknown colour. It may give: event_id"):
        mapped(spark, columns=columns)
    with pytest.raises(ConfigError, match=r"wrong columns: missing member_id or device_id"):
        mapped(spark, columns={name: value for name, value in COLUMNS.items() if name != "member_id"})


def test_a_translation_to_a_type_that_does_not_exist_is_refused(spark: SparkSession):
    with pytest.raises(
        ConfigError, match=r"source shop translates to unknown event types: purchase. Use one of: order"
    ):
        mapped(spark, settings={"event_types": {"buy": "purchase"}})


def test_a_rule_that_speaks_of_no_column_is_refused(spark: SparkSession):
    rules = [{"name": "odd", "table": "events", "expression": "colour = 1", "severity": "warn"}]
    with pytest.raises(ConfigError, match=r"source shop cannot be mapped to events: colour .*Mend .* quality.rules"):
        mapped(spark, rules=rules)


def test_paths_into_packages_and_into_the_shops_folder(tmp_path: Path):
    assert resolve_path("orders", "shop://raw/x", tmp_path) == str(tmp_path / "raw" / "x")
    assert resolve_path("orders", "package://pyspark/version.py", tmp_path).endswith("pyspark/version.py")
    with pytest.raises(ConfigError, match=r"needs a Python package that is not installed: no_such_package"):
        resolve_path("orders", "package://no_such_package/x.csv", tmp_path)


# Files


def read(spark: SparkSession, folder: Path, **settings: object) -> DataFrame:
    maps = [{"to": "products", "columns": {"product_id": "id", "category": "who"}}]
    source = SourceConfig.model_validate({"path": str(folder), "maps": maps, **settings})
    return read_files(spark, "lines", source, sorted(str(path) for path in folder.iterdir()))


def test_the_json_line_that_is_cut_off_is_kept(spark: SparkSession, tmp_path: Path):
    (tmp_path / "a.json").write_text('{"id": "1", "who": "m"}\n{"id": "2", "wh\n{"id": 3, "who": "m"}\n')
    rows = read(spark, tmp_path, format="json").orderBy("id").collect()
    assert [(row.id, row._corrupt_record) for row in rows] == [(None, '{"id": "2", "wh'), ("1", None), ("3", None)]
    assert all(row._file.endswith("a.json") and row._file_ts for row in rows)


def test_csv_files_are_read_by_their_own_header_and_nothing_is_guessed(spark: SparkSession, tmp_path: Path):
    (tmp_path / "a.csv").write_text("id,who\n007,m\n")
    (tmp_path / "b.csv").write_text("who,id,extra\nn,8,1\n")
    (tmp_path / "c.csv").write_text("id\n9\n")
    (tmp_path / "d.csv").write_text("")
    rows = (
        read(spark, tmp_path, format="csv", options={"header": "true", "inferSchema": "true"}).orderBy("id").collect()
    )
    assert [(row.id, row.who, row.extra) for row in rows] == [("007", "m", None), ("8", "n", "1"), ("9", None, None)]


def test_csv_lines_with_too_few_or_too_many_fields_are_corrupt_and_a_quoted_newline_is_not(
    spark: SparkSession, tmp_path: Path
):
    (tmp_path / "a.csv").write_text('id,who\n1,"two\nlines"\n2\n3,m,x\n4,m\n')
    options = {"header": "true", "multiLine": "true"}
    rows = read(spark, tmp_path, format="csv", options=options).collect()
    assert {(row.id, row.who, row._corrupt_record) for row in rows} == {
        ("1", "two\nlines", None),
        ("2", None, "2"),
        ("3", "m", "3,m,x"),
        ("4", "m", None),
    }
