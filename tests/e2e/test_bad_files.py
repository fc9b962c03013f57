"""Files as bad as shops deliver them: every good row is taken once, every bad one is named, nothing is skipped."""

import gzip
import json
import shutil
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from tests.ingest_shop import INGEST, TO_DAYS, IngestShop, identity_map

pytestmark = pytest.mark.e2e

COLUMNS = ("event_id", "member_id", "event_type", "event_ts", "amount")
HEADER = ",".join(COLUMNS)
MAPS = [identity_map("events", COLUMNS)]
CSV = {"format": "csv", "options": {"header": "true", "multiLine": "true"}, "maps": MAPS}
JSON = {"format": "json", "maps": MAPS}


def line(event_id: str, member: str = "ann", day: int = 1, amount: object = 10) -> str:
    return f"{event_id},{member},order,2024-03-{day:02d} 12:00:00,{amount}"


def row(event_id: str, **more: object) -> dict[str, object]:
    order = {"event_id": event_id, "member_id": "ann", "event_type": "order", "event_ts": "2024-03-01 12:00:00"}
    return {**order, "amount": "10", **more}


def open_shop(
    spark: SparkSession, folder: Path, source: dict[str, object], **settings: dict[str, object]
) -> IngestShop:
    return IngestShop(spark, folder, {"orders": source}, settings)


def ids(shop: IngestShop) -> list[str]:
    return sorted(str(event["event_id"]).removeprefix("orders:") for event in shop.rows("events"))


def rejected(shop: IngestShop) -> dict[str, str]:
    """The rule of every rejected row, by the name of its file."""
    return {str(row["file"]).rpartition("/")[2]: str(row["rule"]) for row in shop.rows("quarantine")}


def test_csv_files_of_many_shapes(spark: SparkSession, tmp_path: Path):
    shop = open_shop(spark, tmp_path, CSV)
    shop.put("orders", "a-good.csv", f"{HEADER}\n{line('1')}\n{line('2')}\n")
    shop.put("orders", "b-moved.csv", "amount,event_ts,event_type,member_id,event_id\n10,2024-03-01,order,ann,3\n")
    shop.put("orders", "c-extra.csv", f"{HEADER},gift\n{line('4')},yes\n")
    shop.put("orders", "d-missing.csv", "event_id,member_id,event_type,event_ts\n5,ann,view,2024-03-01\n")
    shop.put("orders", "e-renamed.csv", f"{HEADER.replace('member_id', 'client')}\n{line('6')}\n")
    shop.put("orders", "f-few.csv", f"{HEADER}\n7,ann,order\n{line('8')}\n")
    shop.put("orders", "g-many.csv", f"{HEADER}\n{line('9')},1,2\n{line('10')}\n")
    shop.put("orders", "h-quoted.csv", f'{HEADER}\n11,"an\nn",order,2024-03-01,10\n{line("12")}\n')
    shop.put("orders", "i-empty.csv", "")
    shop.put("orders", "j-header.csv", f"{HEADER}\n")
    shop.put("orders", "k-replayed.csv", f"{HEADER}\n{line('2')}\n{line('1')}\n")
    shop.put(
        "orders", "l-amounts.csv", f"{HEADER}\n" + "".join(f"{line(a, amount=a)}\n" for a in ("NaN", "1e400", "-1"))
    )
    assert shop.job(*INGEST) == 0
    assert ids(shop) == sorted(["1", "2", "3", "4", "5", "8", "10", "11", "12"])
    assert {"member_id": "ann"}.items() <= next(e for e in shop.rows("events") if e["event_id"] == "orders:11").items()
    assert shop.rules() == {
        ("events", "null_member_id"): 1,
        ("events", "corrupt_row"): 2,
        ("events", "wrong_type_amount"): 2,
        ("events", "negative_amount"): 1,
    }
    assert rejected(shop) | {"l-amounts.csv": ""} == {
        "e-renamed.csv": "null_member_id",
        "f-few.csv": "corrupt_row",
        "g-many.csv": "corrupt_row",
        "l-amounts.csv": "",
    }


def test_json_lines_cut_off_or_of_ten_megabytes(spark: SparkSession, tmp_path: Path):
    shop = open_shop(spark, tmp_path, {**JSON, "maps": [identity_map("events", (*COLUMNS, "text"))]})
    shop.put("orders", "a.json", [row("1"), '{"event_id": "2", "member_', row("3")])
    shop.put("orders", "b.json", [row("4", text="x" * 10_000_000), row("5", member_id="m" * 10_000_000), row("6")])
    shop.put("orders", "c.json", ["no json at all"])
    shop.put("orders", "d.json", "")
    assert shop.job(*INGEST) == 0
    assert ids(shop) == ["1", "3", "4", "6"]
    assert shop.rules() == {("events", "corrupt_row"): 2, ("events", "too_long_member_id"): 1}
    texts = {str(event["event_id"]): event["text"] for event in shop.rows("events")}
    assert len(str(texts["orders:4"])) == 10_000


def test_a_member_with_two_hundred_thousand_events(spark: SparkSession, tmp_path: Path):
    shop = open_shop(spark, tmp_path, {"format": "parquet", "maps": MAPS})
    number = 200_000
    events = [row(str(n), event_type="view", event_ts=f"2024-03-01 {n % 24:02d}:00:00") for n in range(number)]
    pq.write_table(pa.Table.from_pylist([*events, row("x", member_id="bob")]), tmp_path / "orders" / "a.parquet")
    assert shop.job(*TO_DAYS) == 0
    days = {str(day["member_id"]): (day["num_events"], day["num_sessions"]) for day in shop.rows("member_days")}
    assert days == {"ann": (number, 24), "bob": (1, 0)}


def gzipped(number: int) -> bytes:
    rows = [row(f"{number}-{n}", detail=f"{n * n}") for n in range(500)]
    return gzip.compress("".join(f"{json.dumps(r)}\n" for r in rows).encode())


def parquet(number: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row(f"{number}-{n}") for n in range(500)]), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("kind", "ending", "made"), [("json", "json.gz", gzipped), ("parquet", "parquet", parquet)])
def test_a_cut_file_among_good_ones_is_named_and_costs_no_other_row(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind, ending, made
):
    shop = open_shop(spark, tmp_path, {"format": kind, "maps": MAPS})
    for number in range(3):
        content = made(number)
        shop.put("orders", f"{number}.{ending}", content[: len(content) // 2] if number == 1 else content)
    assert shop.job("bronze") == 3
    error = capsys.readouterr().err
    assert "files of source orders cannot be read" in error and f"1.{ending}" in error and f"0.{ending}" not in error
    assert not shop.table("bronze_orders").exists() or not shop.rows("bronze_orders")
    # Going on without it: the others are taken, and a row stands for it.
    assert shop.job(*INGEST, options=["sources.orders.on_bad_file=quarantine"]) == 0
    assert len(shop.rows("events")) == 1000 and rejected(shop) == {f"1.{ending}": "corrupt_row"}
    # Delivered again whole, under another name, it is a new file.
    shop.put("orders", f"1-again.{ending}", made(1))
    assert shop.job(*INGEST) == 0
    assert len(set(ids(shop))) == len(ids(shop)) == 1500


def test_a_cut_file_put_back_whole_is_taken_once(spark: SparkSession, tmp_path: Path):
    shop = open_shop(spark, tmp_path, JSON)
    shop.put("orders", "0.json.gz", gzipped(0))
    shop.put("orders", "1.json.gz", gzipped(1)[:900])
    assert shop.job("bronze") == 3
    shop.put("orders", "1.json.gz", gzipped(1))
    assert shop.job(*INGEST) == 0
    assert len(ids(shop)) == 1000 and not shop.rows("quarantine")


def test_a_file_deleted_after_it_was_planned_is_named(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shop = open_shop(spark, tmp_path, JSON)
    shop.put("orders", "0.json.gz", gzipped(0))
    gone = shop.put("orders", "1.json.gz", gzipped(1))
    cut = shop.put("orders", "2.json.gz", gzipped(2)[:900])
    assert shop.job("bronze") == 3  # the batch of the three is planned now, and waits
    gone.unlink()
    cut.write_bytes(gzipped(2))
    assert shop.job("bronze") == 3
    assert "1.json.gz (FILE_IS_GONE)" in capsys.readouterr().err
    gone.write_bytes(gzipped(1))
    assert shop.job(*INGEST) == 0
    assert len(ids(shop)) == 1500


def test_files_that_break_their_declared_schema_are_named(
    spark: SparkSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    schema = "event_id string NOT NULL, member_id string NOT NULL, event_type string, event_ts string, amount string"
    shop = open_shop(spark, tmp_path, {**CSV, "schema": schema})
    shop.put("orders", "a.csv", f"{HEADER}\n{line('1')}\n")
    shop.put("orders", "b.csv", "event_id,event_type,event_ts\n2,order,2024-03-01\n")
    assert shop.job("bronze") == 3
    error = capsys.readouterr().err
    assert "break its declared schema: column member_id is missing in" in error and "b.csv" in error
    assert "Traceback" not in error + caplog.text
    assert shop.job(*INGEST, options=["sources.orders.on_bad_file=quarantine"]) == 0
    assert ids(shop) == ["1"] and rejected(shop) == {"b.csv": "corrupt_row"}


def test_a_source_that_is_not_there_or_whose_stream_breaks_is_one_line(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    table = str(tmp_path / "table")
    shop = open_shop(spark, tmp_path, {"format": "delta", "path": table, "maps": MAPS})
    shutil.rmtree(table)
    assert shop.job("bronze") == 2
    assert f"source orders cannot be read: {table}" in capsys.readouterr().err
    spark.createDataFrame([tuple(line("1").split(","))], list(COLUMNS)).write.format("delta").save(table)
    assert shop.job(*INGEST) == 0 and ids(shop) == ["1"]
    # A table that was overwritten is no log any more.
    spark.createDataFrame([tuple(line("2").split(","))], list(COLUMNS)).write.format("delta").mode("overwrite").save(
        table
    )
    assert shop.job("bronze") == 3
    assert "the stream of source orders stopped: DELTA_SOURCE" in capsys.readouterr().err


def test_the_stream_goes_on_until_it_is_stopped(spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shop, codes = open_shop(spark, tmp_path, CSV), []
    shop.put("orders", "1.csv", f"{HEADER}\n{line('1')}\n")
    arguments = ["--config", str(shop.config), "--set", f"output_dir={tmp_path / 'out'}", "--continuous", "1"]
    job = threading.Thread(target=lambda: codes.append(run_job("bronze", arguments)))
    job.start()

    def wait_for(number: int) -> None:
        ends = time.monotonic() + 120
        while time.monotonic() < ends and f"batch {number - 1}, 1 rows" not in caplog.text:
            time.sleep(0.2)
        assert len(shop.rows("bronze_orders")) == number

    wait_for(1)
    shop.put("orders", "2.csv", f"{HEADER}\n{line('2')}\n")
    wait_for(2)
    for query in spark.streams.active:
        query.stop()
    job.join(60)
    assert codes == [0]
    # The same stage once, on the same checkpoint: both ways are one.
    shop.put("orders", "3.csv", f"{HEADER}\n{line('3')}\n")
    assert shop.job(*INGEST) == 0
    assert ids(shop) == ["1", "2", "3"]


def test_lost_checkpoints_and_tables_are_refused(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shop = open_shop(spark, tmp_path, CSV)
    checkpoint, old = shop.out / "checkpoints" / "orders", tmp_path / "old"
    shop.put("orders", "1.csv", f"{HEADER}\n{line('1')}\n")
    assert shop.job("bronze") == 0
    shutil.copytree(checkpoint, old / "checkpoint")
    shop.put("orders", "2.csv", f"{HEADER}\n{line('2')}\n")
    assert shop.job(*INGEST) == 0
    versions = shop.versions()
    shop.put("orders", "3.csv", f"{HEADER}\n{line('3')}\n")

    # One batch back it would plan files 2 and 3 as a batch that the table has: 3 would never be read.
    checkpoint.rename(old / "whole")
    shutil.copytree(old / "checkpoint", checkpoint)
    assert shop.job("bronze") == 4
    assert "is behind its table: it knows batches up to 0, bronze_orders holds batch 1" in capsys.readouterr().err
    shutil.rmtree(checkpoint)
    assert shop.job("bronze") == 4
    assert "the streaming checkpoint of source orders is lost" in capsys.readouterr().err
    (old / "whole").rename(checkpoint)
    shop.table("bronze_orders").rename(old / "table")
    assert shop.job("bronze") == 4
    assert "the bronze table of source orders is lost" in capsys.readouterr().err
    (old / "table").rename(shop.table("bronze_orders"))
    assert shop.versions() == versions
    assert shop.job(*INGEST) == 0
    assert ids(shop) == ["1", "2", "3"]


def test_a_batch_that_was_written_but_not_remembered_is_not_written_twice(spark: SparkSession, tmp_path: Path):
    """The job dies between the commit of the table and that of the checkpoint."""
    shop = open_shop(spark, tmp_path, CSV)
    shop.put("orders", "1.csv", f"{HEADER}\n{line('1')}\n")
    assert shop.job("bronze") == 0
    for name in ("0", ".0.crc"):
        (shop.out / "checkpoints" / "orders" / "commits" / name).unlink()
    shop.put("orders", "2.csv", f"{HEADER}\n{line('2')}\n")
    assert shop.job(*INGEST) == 0
    assert ids(shop) == ["1", "2"] and len(shop.rows("bronze_orders")) == 2


def test_the_order_in_which_days_arrive_does_not_matter_and_a_day_touches_only_itself(
    spark: SparkSession, tmp_path: Path
):
    days = {day: f"{HEADER}\n{line(f'{day}a', day=day)}\n{line(f'{day}b', 'bob', day)}\n" for day in range(1, 5)}
    tables = {}
    for name, order in {"in_order": [1, 2, 3, 4], "backfill": [4, 2, 1, 3]}.items():
        shop = open_shop(spark, tmp_path / name, CSV)
        for n, day in enumerate(order):
            before, versions = (shop.files_by_day("events"), shop.versions()) if n else ({}, {})
            shop.put("orders", f"{day}.csv", days[day])
            assert shop.job(*TO_DAYS) == 0
            after = shop.files_by_day("events")
            assert {d: files for d, files in after.items() if d in before} == before
            seen_earlier = n == 0 or day < min(order[:n])
            assert (shop.versions()["members"] != versions.get("members")) == seen_earlier
        tables[name] = {t: shop.counted(t, without=["batch", "file"]) for t in ("events", "members", "member_days")}
        versions = shop.versions()
        assert shop.job(*TO_DAYS) == 0
        assert shop.versions() == versions
    assert tables["in_order"] == tables["backfill"]


def test_the_winner_among_pseudonymous_rows_is_the_same_in_one_load_and_in_two(spark: SparkSession, tmp_path: Path):
    """Nothing but the member differs, and the members' pseudonyms sort otherwise than their names."""
    settings = {"pseudonyms": {"method": "hmac_sha256", "key_id": "k1"}}
    options = ["pseudonyms.key=a-key-that-is-long-enough-0123456789"]
    halves = [[row(f"{n}", member_id=f"{name}{n}") for n in range(12)] for name in ("ann", "bob")]
    winners = []
    for name, batches in {"one": [[*halves[0], *halves[1]]], "two": halves}.items():
        shop = open_shop(spark, tmp_path / name, JSON, **settings)
        for number, batch in enumerate(batches):
            shop.put("orders", f"{number}.json", batch)
            assert shop.job(*INGEST, options=options) == 0
        winners.append({event["event_id"]: event["member_id"] for event in shop.rows("events")})
    assert winners[0] == winners[1] and len(winners[0]) == 12


def test_raw_identifiers_and_what_was_rejected_are_in_nothing_after_bronze(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    key = "a-key-that-is-long-enough-0123456789"
    source = {
        **JSON,
        "maps": [identity_map("events", (*COLUMNS, "device_id", "order_id", "session_id", "received_ts"))],
    }
    settings = {"pseudonyms": {"method": "hmac_sha256", "key_id": "k1"}, "ingest": {"late_days": 2}}
    shop = open_shop(spark, tmp_path, source, **settings)
    named = {"member_id": "MARK-ann", "device_id": "MARK-phone", "order_id": "MARK-o", "session_id": "MARK-s"}
    shop.put(
        "orders",
        "a.json",
        [
            row("MARK-1", **named),
            row("MARK-1", **named, amount="11"),
            row("MARK-2", **named, event_type="refund", event_ts="2024-03-02"),
            row("MARK-3", **named, amount="MARK-iban"),
            row("MARK-4", **named, event_type="MARK-type"),
            row("MARK-5", **named, event_ts="MARK-when"),
            row("MARK-6", **named, received_ts="2024-03-30 10:00:00"),
            row("MARK-7", **{**named, "member_id": "MARK-" + "x" * 600}),
            '{"event_id": "MARK-8", "member',
        ],
    )
    options = [f"pseudonyms.key={key}", "timeline.data_through=2024-03-20", "timeline.max_silent_days=90"]
    assert shop.job(*TO_DAYS, "levels", options=options) == 0
    assert len(shop.rows("quarantine")) == 5 and len(shop.rows("late_events")) == 1 and len(shop.rows("events")) == 2
    later = [path for path in (shop.out).rglob("*") if path.is_file() and "bronze_" not in str(path)]
    later = [path for path in later if "checkpoints" not in path.parts]
    assert len(later) > 20
    for path in later:
        text = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode("latin1")
        assert "MARK" not in text and key not in text, path
    spoken = capsys.readouterr()
    for text in (spoken.out, spoken.err, caplog.text):
        assert "MARK" not in text and key not in text
