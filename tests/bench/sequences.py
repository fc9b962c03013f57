"""Event sequences of 28 weekly as-of dates next to DuckDB making the same lists from the same files.

Both read Parquet and write Parquet, with the same threads; the results are compared row by row. One member has a tenth
of all events.
"""

import os
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.features.event_sequences import build_event_sequences
from memberlevel_spark.features.recent_events import SequencePlan, build_recent_events
from memberlevel_spark.ingest.canonical import EVENT_TYPES
from tests.bench.timing import best_seconds

EVENTS, EVENTS_PER_MEMBER, DATES, CORES = 1_000_000, 40, 28, 2
FIRST, DAYS, ZONE = date(2024, 1, 1), 364, "Europe/Berlin"
SCRIPT = Path(__file__).with_name("sequences.sql")
PLAN = SequencePlan(
    as_of_dates=tuple(FIRST + timedelta(days=DAYS - 7 * back) for back in range(DATES - 1, -1, -1)),
    num_events=128,
    zone=ZONE,
    num_buckets=1024,
    categories=tuple(f"category {k}" for k in range(30)),
    channels=("web", "app", "store"),
)
EXACT = "* EXCLUDE (amount_log)"


def measure(spark: SparkSession, scratch: Path, num_events: int = EVENTS) -> dict[str, tuple[float, str, str]]:
    """Seconds of ours over DuckDB's, and of 28 dates over one. Errors: AssertionError when the results differ."""
    _make(spark, scratch, num_events)

    def ours(plan: SequencePlan) -> Callable[[], object]:
        frames = {name: spark.read.parquet(str(scratch / name)) for name in ("events", "members", "products")}
        recent = build_recent_events(frames["events"], plan, frames["products"])
        sequences = build_event_sequences(frames["members"], recent, plan)
        return lambda: sequences.write.mode("overwrite").parquet(str(scratch / "ours"))

    newest = SequencePlan(**{**vars(PLAN), "as_of_dates": PLAN.as_of_dates[-1:]})
    one_date = best_seconds(ours(newest), 2)
    all_dates = best_seconds(ours(PLAN), 2)
    peer = _run_peer(scratch)
    _assert_same(scratch)
    rows = num_events // EVENTS_PER_MEMBER * DATES
    return {
        "sequences_vs_duckdb": (
            all_dates / peer,
            "x seconds",
            f"DuckDB, the same lists of the same files: {peer:.0f} s; {num_events:,} events, {rows:,} rows of"
            f" {PLAN.num_events}",
        ),
        "sequences_28_dates_vs_1": (all_dates / one_date, "x seconds", f"one date: {one_date:.1f} s (28 is linear)"),
    }


def _make(spark: SparkSession, scratch: Path, num_events: int) -> None:
    num_members, num_products = num_events // EVENTS_PER_MEMBER, 2_000

    def drawn(salt: str, below: int) -> Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(below))

    def one_of(salt: str, values: tuple[str, ...]) -> Column:
        return F.element_at(F.array(*map(F.lit, values)), (drawn(salt, len(values)) + 1).cast("int"))

    second = F.unix_seconds(F.lit(f"{FIRST} 00:00:00").cast("timestamp")) + drawn("second", DAYS * 86_400)
    member = F.when(drawn("whale", 10) == 0, F.lit(0)).otherwise(drawn("member", num_members))
    events = spark.range(num_events).select(
        F.sha2(member.cast("string"), 256).alias("member_id"),
        F.lit(None).cast("string").alias("flag"),
        F.timestamp_seconds(second).alias("event_ts"),
        F.sha2(F.col("id").cast("string"), 256).alias("event_id"),
        one_of("type", EVENT_TYPES).alias("event_type"),
        (drawn("cents", 20_000) - 1_000).alias("net_cents"),
        F.when(drawn("has", 3) > 0, F.concat(F.lit("p"), drawn("product", num_products))).alias("product_id"),
        one_of("channel", ("web", "app", "store", "call")).alias("channel"),
    )
    events = events.withColumn("day", F.to_date(F.from_utc_timestamp("event_ts", ZONE)))
    # The peer has no such hash; it only reads the number.
    bucket = F.pmod(F.xxhash64("product_id"), F.lit(PLAN.num_buckets)).cast("int") + 1
    _write(events.withColumn("product_bucket", F.when(F.col("product_id").isNull(), 0).otherwise(bucket)), scratch)
    known = F.sha2(F.col("id").cast("string"), 256).alias("member_id"), F.lit(FIRST).alias("known_from")
    _write(spark.range(num_members).select(*known), scratch, "members")
    category = F.concat(F.lit("category "), F.col("id") % 35).alias("category")
    product = F.concat(F.lit("p"), F.col("id")).alias("product_id")
    products = spark.range(num_products - 100).select(product, category, F.lit(None).cast("date").alias("valid_from"))
    _write(products, scratch, "products")


def _write(frame: DataFrame, scratch: Path, name: str = "events") -> None:
    frame.write.parquet(str(scratch / name))


def _run_peer(scratch: Path) -> float:
    """Seconds of the peer's script, in this process."""
    folder = Path.cwd()
    os.chdir(scratch)
    try:
        with duckdb.connect() as db:
            db.execute(f"SET TimeZone = 'UTC'; SET threads = {CORES}; SET enable_progress_bar = false")
            for name in ("events", "members", "products"):
                columns = "* EXCLUDE (valid_from)" if name == "products" else "*"
                db.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM read_parquet('{name}/*.parquet')")
            rows = ", ".join(
                f"(DATE '{day}', {end})" for day, end in zip(PLAN.as_of_dates, PLAN.end_seconds, strict=True)
            )
            db.execute(f"CREATE VIEW dates AS SELECT * FROM (VALUES {rows}) AS t(as_of_date, end_second)")
            lists = {"types": EVENT_TYPES, "categories": PLAN.categories, "channels": PLAN.channels}
            for name, values in lists.items():
                db.execute(f"SET VARIABLE {name} = {list(values)}")
            db.execute(f"SET VARIABLE num_events = {PLAN.num_events}")
            started = time.perf_counter()
            db.execute(SCRIPT.read_text(encoding="utf-8"))
            return time.perf_counter() - started
    finally:
        os.chdir(folder)


def _assert_same(scratch: Path) -> None:
    """Errors: AssertionError when a row differs, or amounts by more than their rounding."""
    with duckdb.connect() as db:
        db.execute("SET enable_progress_bar = false")
        ours, theirs = f"'{scratch}/ours/*.parquet'", f"'{scratch}/theirs.parquet'"
        summary = (
            "SELECT count(*), sum(hash(columns)) FROM (SELECT hash({names}) AS columns FROM read_parquet({files}))"
        )
        described = db.execute(f"DESCRIBE SELECT {EXACT} FROM read_parquet({theirs})").fetchall()
        names = ", ".join(sorted(row[0] for row in described))
        found = [db.execute(summary.format(names=names, files=files)).fetchone() for files in (ours, theirs)]
        assert found[0] == found[1], f"sequences differ from DuckDB's: {found[0]} against {found[1]}"
        amounts = "SELECT sum(list_sum(list_transform(amount_log, lambda x: x::DOUBLE))) FROM read_parquet({files})"
        sums = [db.execute(amounts.format(files=files)).fetchone()[0] for files in (ours, theirs)]  # type: ignore[index]
        assert abs(sums[0] - sums[1]) <= 1e-6 * abs(sums[1]), f"amounts differ from DuckDB's: {sums}"
