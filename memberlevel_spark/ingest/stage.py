"""The stages bronze and silver: read, build, write, account."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.ingest.bronze import BronzeSource
from memberlevel_spark.ingest.canonical import FILTERED, GOOD, LATE, QUARANTINED
from memberlevel_spark.ingest.event_log import EventLog
from memberlevel_spark.ingest.identifiers import Pseudonyms
from memberlevel_spark.ingest.increment import GONE, changed_members, seen_otherwise
from memberlevel_spark.ingest.profiles import build_members, build_products, declared_profiles
from memberlevel_spark.ingest.progress import Progress, last_progress, meaning_of
from memberlevel_spark.ingest.quality import (
    Result,
    Tally,
    built_in_counts,
    num_rows,
    require_passed,
    rule_results,
)
from memberlevel_spark.ingest.silver import build_late_events, build_quarantine, with_status
from memberlevel_spark.ingest.sources import Bronze, Part, staged, tallies_of
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import (
    LATE_EVENTS,
    MEMBERS,
    PRODUCTS,
    QUALITY_RESULTS,
    QUARANTINE,
    TableContract,
)
from memberlevel_spark.tables import Slice, Written


def bronze_tables(run: Run) -> list[str]:
    """Names of the bronze tables, one per source."""
    return [f"bronze_{name}" for name in run.config.sources]


def run_bronze(run: Run) -> StageResult:
    """Take what is new in every source into its bronze table; with ``run.every_seconds`` until it is stopped.

    Errors: DataQualityError for a source that never had a row, or whose files are damaged; ArtefactError for a lost
    checkpoint.
    """
    sources = [
        BronzeSource(name, source, run.tables, run.shop_dir, run.config.ingest.files_per_batch)
        for name, source in run.config.sources.items()
    ]
    # All at once: most of a small batch is waiting for commits.
    queries = [source.start(every_seconds=run.every_seconds) for source in sources]
    try:
        if run.every_seconds:
            _wait_for_any(queries)
        ended = [pair for pair in zip(sources, queries, strict=True) if not (run.every_seconds and pair[1].isActive)]
        # All of them first: a stream stopped in the middle of a batch fills the terminal with traces.
        problems = [problem for source, query in ended if (problem := source.finish(query))]
        if problems:
            raise problems[0]
    finally:
        for query in queries:
            query.stop()
    empty = [source for source in sources if not source.has_rows()]
    if empty:
        named = "; ".join(f"{source.name} ({source.path or source.settings.format})" for source in empty)
        raise DataQualityError(f"sources have no rows: {named}. Check the path, or remove the source.")
    rows = sum(commit.rows for source in sources for commit in source.written)
    written = {source.table: source.written[-1].version for source in sources if source.written}
    return StageResult(RowCounts(rows, rows), {}, written, "" if written else "nothing new")


def _wait_for_any(queries: list[StreamingQuery]) -> None:
    """Until one of the streams ends: a source that fails must not be overheard because others go on."""
    while all(query.isActive for query in queries):
        time.sleep(1)


def run_silver(run: Run) -> StageResult:
    """Make events, members, products, late events and the quarantine from the bronze batches that are new.

    Everything is made anew when there is no silver yet, when the configuration now means something else, or when new
    rates change what events already taken are worth. Errors: DataQualityError, before anything is written, when too
    many rows break a rule.
    """
    bronze = Bronze.pinned(run)
    pseudonyms = Pseudonyms.of(run.config.pseudonyms, run.tables.spark)
    progress = Progress(meaning_of(run.config, pseudonyms.check_value), bronze.last_batches())
    before = last_progress(run.tables, QUALITY_RESULTS.name)
    kept = run.tables.exists("events") and run.tables.fits(MEMBERS)  # an earlier release had other members
    whole = before is None or before.meaning != progress.meaning or not kept
    if before is not None and not whole:
        taken = replace(bronze, since={name: before.batches.get(name, -1) for name in bronze.versions})
        new_rates = any(progress.batches[name] > taken.since[name] for name, _ in taken.maps_to("rates"))
        if new_rates and taken.reprices():
            whole = True
        else:
            bronze = _back_to_missing_rates(run, taken) if new_rates else taken
    new = [name for name, batch in progress.batches.items() if batch > bronze.since[name]]
    read = {f"bronze_{name}": version for name, version in bronze.versions.items()}
    if not new:
        return StageResult(RowCounts(0, 0), read, {}, "nothing new")
    return _Silver(run, bronze, pseudonyms, progress, whole).take(new, read)


def _back_to_missing_rates(run: Run, bronze: Bronze) -> Bronze:
    """The same, with each source back at the first batch that lacked a rate."""
    since = dict(bronze.since)
    waiting = run.tables.read(QUARANTINE.name).where(F.col("rule") == "missing_rate")
    for row in waiting.groupBy("source").agg(F.min("batch")).collect():
        since[row[0]] = min(since[row[0]], row[1] - 1)
    return replace(bronze, since=since)


@dataclass
class _Silver:
    """One run of silver over the new parts of bronze."""

    run: Run
    bronze: Bronze
    pseudonyms: Pseudonyms
    progress: Progress
    whole: bool
    written: dict[str, Written] = field(default_factory=dict)

    def take(self, names: list[str], read: dict[str, int]) -> StageResult:
        events = EventLog(self.run, self.pseudonyms, self.bronze, self.whole)
        tables = self.run.tables
        try:
            # Inside: whatever goes wrong, no staged row stays behind.
            parts = staged(tables, self.bronze.parts(names))
            tallies = tallies_of(parts)
            results = [r for part in parts for r in rule_results(*part.key, tallies[part.key], self.run.config.quality)]
            require_passed(results)
            self._set_aside(parts, tallies)
            repeats = events.write(self._of(parts, "events"), self.written)
            self._write_members(parts, events)
            self._write_products(parts)
        finally:
            events.release()
            tables.unstage()
        counts = self._account(tallies, events.added)
        self._write_results([*results, *self._rejected(names), *_repeat_results(repeats, tallies)])
        versions = {name: commit.version for name, commit in self.written.items()}
        return StageResult(counts, read, versions, self._note(events, results))

    def _of(self, parts: list[Part], table: str) -> list[Part]:
        return [part for part in parts if part.source_map.table == table]

    def _set_aside(self, parts: list[Part], tallies: dict[tuple[str, str], Tally]) -> None:
        """Quarantine and late events; only the parts that have such rows are read again for it."""
        rejected = [part for part in parts if tallies[part.key][QUARANTINED]]
        late = [part for part in parts if tallies[part.key][LATE]]
        frames = [build_quarantine(part.rows, part.source_map.table) for part in rejected]
        self._write_batches(QUARANTINE, frames, parts)
        self._write_batches(LATE_EVENTS, [build_late_events(part.rows, self.pseudonyms) for part in late], parts)

    def _write_batches(self, contract: TableContract, frames: list[DataFrame], parts: list[Part]) -> None:
        """Replace the rows of the batches being taken, so that taking them again adds nothing."""
        tables = self.run.tables
        empty = tables.spark.createDataFrame([], contract.schema)
        rows = reduce(DataFrame.unionAll, frames, empty)
        if self.whole:
            self.written[contract.name] = tables.replace(contract, rows)
            return
        slices: list[Slice] = [
            {"source": [name], "batch": range(self.bronze.since[name] + 1, self.progress.batches[name] + 1)}
            for name in sorted({part.source_map.source for part in parts})
        ]
        if frames or tables.count(contract.name, slices):
            self.written[contract.name] = tables.replace_slice(contract, rows, *slices)

    def _write_members(self, parts: list[Part], events: EventLog) -> None:
        tables, given = self.run.tables, [with_status(p.rows, GOOD) for p in self._of(parts, "members")]
        if not self.whole and not given and self._all_are_known(events):
            return
        columns = [frame.select("member_id", "valid_from", "attributes", "received_day") for frame in given]
        nobody = tables.spark.createDataFrame(
            [], "member_id string, valid_from date, attributes map<string,string>, received_day date"
        )
        declared = declared_profiles(reduce(DataFrame.unionAll, columns, nobody), self.pseudonyms)
        if self.whole:
            self.written["members"] = tables.replace(MEMBERS, build_members(declared, events.first_seen()))
            return
        merged = changed_members(tables.read("members"), declared, events.first_seen(), events.first_day)
        self.written["members"] = tables.merge(MEMBERS, merged, gone=GONE)

    def _all_are_known(self, events: EventLog) -> bool:
        """Whether new events leave ``members`` as it is: a look costs much less than a merge of nothing."""
        members = self.run.tables.read("members")
        return seen_otherwise(members, events.first_seen(), events.first_day).isEmpty()

    def _write_products(self, parts: list[Part]) -> None:
        given = [with_status(part.rows, GOOD) for part in self._of(parts, "products")]
        if not given:
            return
        columns = ("product_id", "category", "valid_from", "attributes")
        rows = reduce(DataFrame.unionAll, [frame.select(*columns) for frame in given])
        if self.whole:
            self.written["products"] = self.run.tables.replace(PRODUCTS, build_products(rows))
            return
        known = self.run.tables.read("products").join(rows.select("product_id").distinct(), "product_id", "left_semi")
        products = build_products(rows.unionByName(known.select(*columns)))
        self.written["products"] = self.run.tables.merge(PRODUCTS, products.withColumn(GONE, F.lit(False)), gone=GONE)

    def _account(self, tallies: dict[tuple[str, str], Tally], added: int) -> RowCounts:
        """Mapped rows = new events + repeats + quarantined + late + filtered + rows folded into other tables."""

        def total(status: str, events: bool | None = None) -> int:
            return sum(t[status] for key, t in tallies.items() if events is None or (key[1] == "events") == events)

        duplicates = total(GOOD, events=True) - added
        set_aside = self.written[QUARANTINE.name].rows if QUARANTINE.name in self.written else 0
        if set_aside != total(QUARANTINED) or duplicates < 0:
            raise DataQualityError(
                f"rows are not accounted for in silver: {total(QUARANTINED)} to quarantine, {set_aside} in it,"
                f" {duplicates} duplicates. Run the stage again."
            )
        return RowCounts(
            rows_in=sum(num_rows(tally) for tally in tallies.values()),
            rows_out=added,
            quarantined=total(QUARANTINED),
            duplicates=duplicates,
            filtered=total(FILTERED),
            late=total(LATE),
            aggregated=total(GOOD, events=False),
        )

    def _rejected(self, names: list[str]) -> list[Result]:
        """What the built-in rules rejected in the batches of this run."""
        taken = F.lit(False)
        for name in names:
            taken |= (F.col("source") == name) & (F.col("batch") > self.bronze.since[name])
        rows = built_in_counts(self.run.tables.read(QUARANTINE.name).where(taken)).collect()
        return [Result(row[0], row[1], row[2], "quarantine", row[3], row[3], None) for row in sorted(rows)]

    def _write_results(self, results: list[Result]) -> None:
        """The last commit of the run; it carries how far silver has come."""
        rows = [(*r.counted, self.progress.batches[r.source], *r.judged) for r in results]
        tables = self.run.tables.with_stamp(**self.progress.stamp())
        frame = tables.spark.createDataFrame(rows, QUALITY_RESULTS.schema)
        if self.whole or not tables.exists(QUALITY_RESULTS.name):
            self.written[QUALITY_RESULTS.name] = tables.replace(QUALITY_RESULTS, frame)
            return
        taken = sorted({(row[0], row[4]) for row in rows})
        slices: list[Slice] = [{"source": [source], "through_batch": [batch]} for source, batch in taken]
        self.written[QUALITY_RESULTS.name] = tables.replace_slice(QUALITY_RESULTS, frame, *slices)

    def _note(self, events: EventLog, results: list[Result]) -> str:
        broken: Counter[str] = Counter()
        for result in results:
            if result.num_broken and result.rule not in (QUARANTINED, LATE):
                broken[result.rule] += result.num_broken
        found = [f"{rule}={number:,}" for rule, number in broken.items()]
        days = "all days" if events.days is None else f"{len(events.days)} days"
        return ", ".join([days, *found])


def _repeat_results(repeats: list[tuple[str, str, int]], tallies: dict[tuple[str, str], Tally]) -> list[Result]:
    return [
        Result(source, "events", f"{kind}_repeat", "drop", tallies[source, "events"][GOOD], number, None)
        for source, kind, number in repeats
        if (source, "events") in tallies
    ]
