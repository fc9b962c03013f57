"""The tables of a shop: can each be read, are its files there, is any of a kind that a reader here does not know.

In: the shop's folder. Out: one finding per table, and one for the stages that have not run.
"""

import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.delta_log import LOG, DeltaLog, read_log
from memberlevel_spark.doctor.finding import Finding, broken, guarded, ok, warning
from memberlevel_spark.errors import first_five
from memberlevel_spark.pipeline import STAGES
from memberlevel_spark.schemas import EXAMPLES
from memberlevel_spark.tables import STAGED, UNREADABLE_AS_PARQUET

# Features of a table that Delta 4.4 reads.
KNOWN_FEATURES = {
    *("appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns", "columnMapping"),
    *("identityColumns", "deletionVectors", "rowTracking", "timestampNtz", "domainMetadata", "v2Checkpoint"),
    *("icebergCompatV1", "icebergCompatV2", "clustering", "vacuumProtocolCheck", "typeWidening", "allowColumnDefaults"),
    *("inCommitTimestamp", "variantType", "checkpointProtection"),
}
BRONZE = "bronze_"


def table_findings(shop_dir: Path, *, deep: bool) -> list[Finding]:
    """Every table there is or was, by name, then the stages of the flow that have not run.

    ``deep`` reads every live file to its end; otherwise only its size and its footer are looked at.
    """
    folder = shop_dir / "tables"
    found = {path.name for path in folder.iterdir() if path.is_dir()} - {STAGED} if folder.is_dir() else set()
    run, written = _recorded(shop_dir)
    names = sorted({*found, *written})
    tables = [guarded(f"table {name}", partial(_table_finding, folder / name, deep=deep)) for name in names]
    waiting = [stage.name for stage in STAGES if stage.name not in run]
    if waiting:
        help_line = "Run them in their order, see `python -m jobs.pipeline --help`."
        return [*tables, warning(f"stages that have not run here: {', '.join(waiting)}", help_line)]
    return [*tables, ok(f"stages: all {len(STAGES)} have run here")]


def _recorded(shop_dir: Path) -> tuple[set[str], set[str]]:
    """The stages that have left a record, and the tables that they say they wrote."""
    run, written = set(), set()
    for path in (shop_dir / "runs" / "stages").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        run.add(record["stage"])
        written |= set(record["written"])
    return run, written


def _table_finding(path: Path, *, deep: bool) -> Finding:
    name = f"table {path.name}"
    if not path.is_dir():
        return broken(f"{name}: it was written and is gone", _made_again(path))
    if not (path / LOG).is_dir():
        return warning(f"{name}: a folder without a Delta log", "Remove it, if nobody needs its files.")
    log = read_log(path)
    told = f"{name}: version {log.version}, {len(log.added)} live file(s)"
    if unknown := log.features - KNOWN_FEATURES - {f"{known}-preview" for known in KNOWN_FEATURES}:
        return broken(
            f"{told}, feature(s) {first_five(unknown)} need a newer Delta", "Update Delta, or drop the feature."
        )
    unreadable = log.features & UNREADABLE_AS_PARQUET
    if unreadable and path.name == EXAMPLES.name:
        return broken(
            f"{told}, its files cannot be read as plain Parquet: {first_five(unreadable)}",
            "Run REORG TABLE ... APPLY (PURGE) and turn the feature off, or run the stage examples again.",
        )
    if damaged := _damaged_files(path, log, deep=deep):
        shown = first_five(f"{file} ({reason})" for file, reason in damaged)
        return broken(f"{told}, {len(damaged)} of them damaged: {shown}", _made_again(path))
    return ok(told)


def _made_again(path: Path) -> str:
    return f"Restore {path} from a copy, or remove it and run the stage {stage_of(path.name)} for all dates."


def _damaged_files(table: Path, log: DeltaLog, *, deep: bool) -> list[tuple[str, str]]:
    judged = ((file, _damage(table / file, int(add["size"]), deep=deep)) for file, add in sorted(log.added.items()))
    return [(file, reason) for file, reason in judged if reason]


def _damage(file: Path, size: int, *, deep: bool) -> str:
    """What is wrong with a data file, nothing when it is as its commit says."""
    if not file.is_file():
        return "missing"
    if file.stat().st_size != size:
        return f"{file.stat().st_size:,} bytes instead of {size:,}"
    try:
        # Parquet keeps a checksum per page: without it, another value in the place of a value is not seen.
        with pq.ParquetFile(file, page_checksum_verification=deep) as opened:
            for group in range(opened.num_row_groups if deep else 0):
                opened.read_row_group(group)
    except (OSError, pa.ArrowException) as problem:
        return " ".join(str(problem).split())[:80]
    return ""


def stage_of(table: str) -> str:
    """The stage that makes a table; the pipeline for one that no stage speaks of."""
    if table.startswith(BRONZE):
        return "bronze"
    return next((stage.name for stage in STAGES if table in stage.writes), "pipeline")
