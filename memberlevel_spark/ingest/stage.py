"""The stages bronze and silver: read, build, write, account."""

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.model import CANONICAL_TABLES
from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.ingest.bronze import read_source
from memberlevel_spark.ingest.mapping import FILTERED, GOOD, QUARANTINED, map_rows
from memberlevel_spark.ingest.pseudonyms import pseudonymiser
from memberlevel_spark.ingest.silver import build_events, build_members, build_products, build_quarantine
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import EVENTS, MEMBERS, PRODUCTS, QUARANTINE, bronze_contract
from memberlevel_spark.tables import Written


def bronze_tables(run: Run) -> list[str]:
    """Names of the bronze tables, one per source."""
    return [f"bronze_{name}" for name in run.config.sources]


def run_bronze(run: Run) -> StageResult:
    """Copy every source, row by row, into its bronze table. Errors: DataQualityError for a source without rows."""
    rows_in, written = 0, {}
    for name, source in run.config.sources.items():
        rows = read_source(run.tables.spark, name, source)
        contract = bronze_contract(name, rows.schema.fields[:-2])
        found = rows.select(F.lit(1)).count() if source.format not in ("csv", "json") else None
        commit = run.tables.replace(contract, rows)
        if commit.rows == 0:
            raise DataQualityError(f"source {name} has no rows: {source.path}. Check the path, or remove the source.")
        # Text is parsed once only: a count that prunes every column would skip the parser and could differ.
        rows_in += commit.rows if found is None else found
        written[contract.name] = commit
    return StageResult(RowCounts(rows_in, _rows(written)), {}, _versions(written))


def run_silver(run: Run) -> StageResult:
    """Make events, members, products and the quarantine from the pinned bronze tables, every row accounted for."""
    read = {name: run.tables.version(name) for name in bronze_tables(run)}
    mapped = _mapped(run, read)
    counts = _counts(mapped)
    _require_few_quarantined(run, counts)
    pseudonym = pseudonymiser(run.config.pseudonyms)
    zone = run.config.timeline.business_zone
    written = {"quarantine": run.tables.replace(QUARANTINE, build_quarantine(mapped))}
    events = build_events(_union(mapped["events"]), money=run.config.money, zone=zone, pseudonym=pseudonym)
    written["events"] = run.tables.replace(EVENTS, events)
    events = run.tables.read("events", written["events"].version)
    given = _union(mapped["members"]) if mapped["members"] else _no_profiles(run)
    written["members"] = run.tables.replace(MEMBERS, build_members(given, events, pseudonym=pseudonym))
    if mapped["products"]:
        written["products"] = run.tables.replace(PRODUCTS, build_products(_union(mapped["products"])))
    return StageResult(_account(counts, written), read, _versions(written), _why(run, written))


def _mapped(run: Run, read: dict[str, int]) -> dict[str, list[DataFrame]]:
    mapped: dict[str, list[DataFrame]] = {table: [] for table in CANONICAL_TABLES}
    for name, source in run.config.sources.items():
        bronze = run.tables.read(f"bronze_{name}", read[f"bronze_{name}"])
        for mapping in source.maps:
            mapped[mapping.to].append(map_rows(bronze, name, mapping, time_zone=source.time_zone))
    return mapped


def _union(frames: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionAll, frames)


def _no_profiles(run: Run) -> DataFrame:
    columns = "member_id string, valid_from date, attributes map<string,string>, status string"
    return run.tables.spark.createDataFrame([], columns)


def _counts(mapped: dict[str, list[DataFrame]]) -> dict[tuple[str, str, str], int]:
    """Rows by (target table, source, status), in one pass over the sources."""
    parts = [
        frame.select(F.lit(target).alias("target"), "source", "status")
        for target, frames in mapped.items()
        for frame in frames
    ]
    rows = _union(parts).groupBy("target", "source", "status").count().collect()
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def _require_few_quarantined(run: Run, counts: dict[tuple[str, str, str], int]) -> None:
    limit = run.config.quality.max_quarantine_share
    for target, source, status in sorted(counts):
        total = sum(number for key, number in counts.items() if key[:2] == (target, source))
        number = counts[target, source, status]
        if status == QUARANTINED and number > limit * total:
            raise DataQualityError(
                f"too many rows of {source} cannot become {target}: {number:,} of {total:,} (limit {limit:.1%})."
                f" See why with jobs.silver --set quality.max_quarantine_share=1, then mend the map or the source."
            )


def _account(counts: dict[tuple[str, str, str], int], written: dict[str, Written]) -> RowCounts:
    """Mapped rows = table rows + quarantined + filtered + repeats; a member known only by events adds no repeat."""
    by_status = {
        status: sum(n for key, n in counts.items() if key[2] == status) for status in (GOOD, QUARANTINED, FILTERED)
    }
    rows_out = written["events"].rows + (written["products"].rows if "products" in written else 0)
    good = {
        target: sum(n for key, n in counts.items() if key[0] == target and key[2] == GOOD)
        for target in CANONICAL_TABLES
    }
    duplicates = good["events"] + good["products"] - rows_out
    if written["quarantine"].rows != by_status[QUARANTINED] or duplicates < 0:
        raise DataQualityError(
            f"rows are not accounted for in silver: {by_status[QUARANTINED]} to quarantine,"
            f" {written['quarantine'].rows} in it, {duplicates} duplicates. Run the stage again."
        )
    return RowCounts(
        rows_in=sum(counts.values()),
        rows_out=rows_out,
        quarantined=by_status[QUARANTINED],
        duplicates=duplicates,
        filtered=by_status[FILTERED],
        aggregated=good["members"],
    )


def _why(run: Run, written: dict[str, Written]) -> str:
    if not written["quarantine"].rows:
        return ""
    rules = (
        run.tables.read("quarantine", written["quarantine"].version).groupBy("rule").count().orderBy("rule").collect()
    )
    return "rules: " + ", ".join(f"{row['rule']}={row['count']}" for row in rules)


def _rows(written: dict[str, Written]) -> int:
    return sum(commit.rows for commit in written.values())


def _versions(written: dict[str, Written]) -> dict[str, int]:
    return {name: commit.version for name, commit in written.items()}
