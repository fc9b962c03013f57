"""Bronze to silver next to DuckDB doing the same cleaning of the same files, and whether time grows with the rows.

Ours are the jobs as a user runs them, each in a process of its own; the peer is ``cleaning.sql`` with as many threads
and as much memory. The two results are compared row by row, pseudonyms and sessions included: a
peer that did less would be no peer.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.bench.cleaning_shop import CleaningShop
from tests.bench.memory import peak_memory

SMALL, LARGE = 2_000_000, 20_000_000
CORES = 2
KEY = b"a key of the bench, 32 bytes or more"
SCRIPT = Path(__file__).with_name("cleaning.sql")
PEER = """
import sys, duckdb
db = duckdb.connect()
db.execute("SET enable_progress_bar = false")
for name, pad in zip(("inner_pad", "outer_pad"), sys.argv[2:]):
    db.execute(f"SET VARIABLE {name} = unhex('{pad}')")
db.execute(open(sys.argv[1], encoding="utf-8").read())
"""
# What is compared of each table; both sides must hold exactly these rows, as often.
COMPARED = {
    "events": "* EXCLUDE (month, received_ts) REPLACE (event_ts::TIMESTAMP AS event_ts)",
    "quarantine": "source, target, rule, file, batch",
    "members": "member_id, valid_from",
}


@dataclass(frozen=True)
class Cleaned:
    """One size: seconds of our two stages and of the peer's script, rows taken and our peak memory in GB."""

    rows: int
    bronze_seconds: float
    silver_seconds: float
    peer_seconds: float
    silver_gb: float


def measure(scratch: Path, small: int = SMALL, large: int = LARGE) -> dict[str, tuple[float, str, str]]:
    """Clean both sizes, ours and the peer one after the other. Errors: AssertionError when their results differ."""
    first, second = clean(CleaningShop(scratch / "small", small)), clean(CleaningShop(scratch / "large", large))
    sizes = f"{_short(large)}_vs_{_short(small)}"
    return {
        f"clean_{_short(large)}_vs_duckdb": (
            second.silver_seconds / second.peer_seconds,
            "x seconds",
            f"DuckDB, the same cleaning of the same files: {second.peer_seconds:.0f} s",
        ),
        "silver_rows_per_s_per_core": (
            second.rows / second.silver_seconds / CORES,
            "rows/s",
            f"nothing: {second.rows:,} rows in {second.silver_seconds:.0f} s on {CORES} cores",
        ),
        f"silver_{sizes}": (
            second.silver_seconds / first.silver_seconds,
            "x seconds",
            f"{first.silver_seconds:.0f} s of {first.rows:,} rows ({second.rows / first.rows:.0f} would be linear)",
        ),
        "bronze_seconds": (second.bronze_seconds, "s", f"nothing: {second.rows:,} rows of CSV into Delta"),
        "silver_peak_memory": (second.silver_gb, "GB", "nothing: all processes of the job"),
    }


def clean(shop: CleaningShop) -> Cleaned:
    """Make the shop, run our stages and the peer on it, and hold their results against each other."""
    shop.make()
    bronze = _run_job("bronze", shop)
    with peak_memory(os.getpid()) as peak:
        silver = _run_job("silver", shop)
    peer_seconds = _run_peer(shop)
    for table in COMPARED:
        assert_same(shop, table)
    return Cleaned(int(bronze["rows_out"]), bronze["seconds"], silver["seconds"], peer_seconds, peak.gb)


def assert_same(shop: CleaningShop, table: str) -> None:
    """Errors: AssertionError when our table and the peer's differ in any row."""
    with duckdb.connect() as db:
        db.execute(f"SET TimeZone = 'UTC'; SET threads = {CORES}; SET temp_directory = '{shop.folder}/peer/spill'")
        db.execute("SET enable_progress_bar = false")
        for name, files in {"ours": f"{shop.tables}/{table}", "theirs": f"{shop.folder}/peer/{table}"}.items():
            rows = f"read_parquet('{files}/**/*.parquet', hive_partitioning = true)"
            db.execute(f"CREATE VIEW {name} AS SELECT {COMPARED[table]} FROM {rows}")
        # A sum of hashes over the columns by name: order of rows and columns does not matter, repeats do.
        columns = ", ".join(sorted(row[0] for row in db.execute("DESCRIBE theirs").fetchall()))
        summary = f"SELECT count(*), sum(hash({columns})) FROM "
        ours, theirs = (db.execute(summary + name).fetchall() for name in ("ours", "theirs"))
        if ours != theirs:
            only = f"SELECT {columns} FROM ours EXCEPT ALL SELECT {columns} FROM theirs LIMIT 3"
            found = db.execute(only).fetchall()
            raise AssertionError(f"{table} differs from DuckDB's: {ours} against {theirs}, such as {found}")


def _run_job(name: str, shop: CleaningShop) -> dict[str, float]:
    """Run a stage as its job. Returns the record it leaves."""
    environment = {**os.environ, "MEMBERLEVEL__PSEUDONYMS__KEY": KEY.decode()}
    subprocess.run([sys.executable, "-m", f"jobs.{name}", "--config", str(shop.config)], env=environment, check=True)
    record: dict[str, float] = json.loads((shop.tables.parent / "runs" / "stages" / f"{name}.json").read_text())
    return record


def _run_peer(shop: CleaningShop) -> float:
    """Seconds of the peer's script; the start of its process, well under a second, is in them."""
    for table in ("quarantine", "members"):
        (shop.folder / "peer" / table).mkdir(parents=True)
    pads = [bytes(byte ^ pad for byte in KEY.ljust(64, b"\0")).hex() for pad in (0x36, 0x5C)]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", PEER, str(SCRIPT), *pads], cwd=shop.folder, check=True)
    return time.perf_counter() - started


def _short(number: int) -> str:
    return f"{number // 1_000_000}m" if number >= 1_000_000 else f"{number // 1000}k"
