"""The stages member_days and features."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.features.assemble import feature_fields
from memberlevel_spark.features.breakdowns import Breakdown, published_features
from memberlevel_spark.features.catalogue import catalogue
from memberlevel_spark.features.declare import scalar_features
from memberlevel_spark.features.feature import Feature, Published, check_published, digests
from memberlevel_spark.features.point_in_time import (
    build_breakdown_tiles,
    build_feature_tables,
    build_tiles,
    configured_dimensions,
    configured_features,
    configured_measures,
    window_plan,
)
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.features.sequence_stage import sequence_plan, write_event_sequences
from memberlevel_spark.features.tiles import is_tiled
from memberlevel_spark.features.vocabulary_entries import event_dimensions
from memberlevel_spark.features.vocabulary_stage import breakdowns_of, profile_of, vocabulary_of
from memberlevel_spark.features.windows import build_windows
from memberlevel_spark.levels.stage import level_rules, read_levels
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import (
    MEMBER_DAY_BREAKDOWNS,
    MEMBER_DAYS,
    TableContract,
    member_features_contract,
    member_sequences_contract,
)
from memberlevel_spark.tables import DAYS_STAMP, Written

READ_STAMP = "events_version"
EARN_STAMP = "earn"
BREAKDOWN_STAMP = "broken_down_by"
MEANING_STAMP = "features"


def run_member_days(run: Run) -> StageResult:
    """Write ``member_days``, and ``member_day_breakdowns`` where features ask for breakdowns: the days that changed in
    ``events`` since each was written, or all of them.

    Errors: DataQualityError when events were lost or the log ends before data_through.
    """
    rules, dimensions = level_rules(run), configured_dimensions(run.config)
    uses_products = rules.needs_categories or ("category" in dimensions and run.tables.exists("products"))
    read = {name: run.tables.version(name) for name in ("events", *(["products"] if uses_products else []))}
    frames = {name: run.tables.read(name, version) for name, version in read.items()}
    earn = {
        "rules": rules.config.earn.model_dump(mode="json"),
        "products": read["products"] if rules.needs_categories else None,
    }
    days = _changed_days(run, "member_days", read["events"], stamp={EARN_STAMP: earn})
    written: dict[str, int] = {}
    if dimensions:
        broken_down_by = {
            "dimensions": list(dimensions),
            "products": read.get("products") if "category" in dimensions else None,
        }
        commit = _write_breakdowns(run, frames, read["events"], stamp={BREAKDOWN_STAMP: broken_down_by})
        written |= {} if commit is None else {MEMBER_DAY_BREAKDOWNS.name: commit.version}
    if days == ():
        _require_fresh(run, run.tables.read("member_days"))
        return StageResult(RowCounts(0, 0), read, written, "nothing new")
    events = _of_days(frames["events"], days)
    tiles = build_tiles(events, frames.get("products"), run.config)
    commit = _write_days(run, MEMBER_DAYS, tiles, days, stamp={READ_STAMP: read["events"], EARN_STAMP: earn})
    made = run.tables.read("member_days", commit.version)
    _require_fresh(run, made)
    row = _of_days(made, days).agg(F.sum("num_events")).first()
    num_events = (row[0] or 0) if row else 0
    tallied = events.agg(F.count("*"), F.count_if(~is_tiled())).first()
    rows_in, left_out = tallied if tallied else (0, 0)
    # num_events of the tiles is the independent count: an event in no tile, or in two, breaks the balance.
    counts = RowCounts(rows_in, commit.rows, filtered=left_out, aggregated=num_events - commit.rows)
    note = "all days" if days is None else f"{len(days)} days"
    return StageResult(counts, read, {"member_days": commit.version, **written}, note)


def _write_breakdowns(
    run: Run, frames: Mapping[str, DataFrame], events_version: int, *, stamp: Mapping[str, object]
) -> Written | None:
    """None when no day has changed."""
    days = _changed_days(run, MEMBER_DAY_BREAKDOWNS.name, events_version, stamp=stamp)
    if days == ():
        return None
    breakdowns = build_breakdown_tiles(_of_days(frames["events"], days), frames.get("products"), run.config)
    assert breakdowns is not None, "features ask for breakdowns"
    return _write_days(run, MEMBER_DAY_BREAKDOWNS, breakdowns, days, stamp={READ_STAMP: events_version, **stamp})


def _of_days(rows: DataFrame, days: tuple[date, ...] | None) -> DataFrame:
    return rows if days is None else rows.where(F.col("day").isin(list(days)))


def _write_days(
    run: Run, contract: TableContract, tiles: DataFrame, days: tuple[date, ...] | None, *, stamp: Mapping[str, object]
) -> Written:
    tables = run.tables.with_stamp(**{DAYS_STAMP: "all" if days is None else [str(day) for day in days], **stamp})
    return tables.replace(contract, tiles) if days is None else tables.replace_slice(contract, tiles, {"day": days})


def _changed_days(run: Run, table: str, events_version: int, *, stamp: Mapping[str, object]) -> tuple[date, ...] | None:
    """The days on which ``events`` changed since the table was made; None when that cannot be told: all of them.

    With another ``stamp`` every day changes: other rules by which points are earned, other categories where they count.
    """
    made = next((c.stamp for c in run.tables.commits(table) if READ_STAMP in c.stamp), None)
    if made is None or made[READ_STAMP] > events_version or any(made.get(k) != v for k, v in stamp.items()):
        return None
    return run.tables.changed_days("events", made[READ_STAMP])


def _require_fresh(run: Run, member_days: DataFrame) -> None:
    timeline, row = run.config.timeline, member_days.agg(F.max("day")).first()
    last_day = row[0] if row else None
    if last_day is None or last_day < timeline.data_through - timedelta(days=timeline.max_silent_days):
        raise DataQualityError(
            f"the events end before timeline.data_through: {last_day}, expected {timeline.data_through}. Set"
            " data_through to the last complete day, or timeline.max_silent_days when the shop was really silent."
        )


def measures_of(run: Run) -> tuple[str, ...]:
    """The measures the features of this shop are made of."""
    return configured_measures(run.config)


def features_of(run: Run) -> tuple[Feature, ...]:
    """The features of the configuration that are made of tiles."""
    return configured_features(run.config)


def run_features(run: Run) -> StageResult:
    """Write ``member_features`` and the sequences for the run's as-of dates, silent members included.

    Errors: DataQualityError for dates after the data, or when the tables do not hold the same members.
    """
    read = {name: run.tables.version(name) for name in _tables_read(run)}
    frames = {name: run.tables.read(name, version) for name, version in read.items() if name != "member_levels"}
    frames["member_levels"] = read_levels(run, read["member_levels"])
    dates = run.as_of_dates or run.config.timeline.as_of_dates
    _require_covered(run, dates)
    vocabulary = vocabulary_of(run, frames)
    profile, plan = profile_of(run, vocabulary), sequence_plan(run, vocabulary, dates)
    breakdowns = breakdowns_of(run, vocabulary)
    written = _write_windows(run, frames, profile, breakdowns, dates=dates)
    if plan is not None:
        written["member_event_sequences"] = write_event_sequences(run, frames, plan, vocabulary)
    rows = {name: commit.rows for name, commit in written.items()}
    if len(set(rows.values())) > 1:
        raise DataQualityError(f"features and sequences differ in rows: {rows}. Run the stage levels, then features.")
    versions = {name: commit.version for name, commit in written.items()}
    counts = RowCounts(_population(frames["members"], dates), rows["member_features"])
    page = run.shop_dir / "runs" / "features" / "catalogue.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    others = scalar_features(level_rules(run))
    page.write_text(catalogue(features_of(run), others, profile=profile, breakdowns=breakdowns), encoding="utf-8")
    return StageResult(counts, read, versions, f"{len(dates)} as-of dates, meaning of the features in {page}")


def _tables_read(run: Run) -> tuple[str, ...]:
    """A shop may have no products."""
    of_events = ["events", *(["products"] if run.tables.exists("products") else [])]
    needed = of_events if event_dimensions(run.config) else []
    broken_down = [MEMBER_DAY_BREAKDOWNS.name] if configured_dimensions(run.config) else []
    return ("members", "member_days", "member_levels", *broken_down, *needed)


def _write_windows(
    run: Run,
    frames: Mapping[str, DataFrame],
    profile: tuple[ProfileFeature, ...],
    breakdowns: tuple[Breakdown, ...],
    *,
    dates: tuple[date, ...],
) -> dict[str, Written]:
    """Both tables that the window kernel makes in one pass."""
    published: tuple[Published, ...] = (*published_features(features_of(run), breakdowns), *profile)
    _require_same_meaning(run, published)
    stamped = replace(run, tables=run.tables.with_stamp(**{MEANING_STAMP: digests(published)}))
    contracts = {
        "member_features": member_features_contract(
            feature_fields(features_of(run), level_rules(run), profile=profile)
        ),
        "member_sequences": member_sequences_contract(measures_of(run)),
    }
    plan = window_plan(run.config, dates, profile=profile, breakdowns=breakdowns)
    windows = build_windows(
        frames["members"],
        frames["member_days"],
        frames["member_levels"],
        plan,
        frames.get(MEMBER_DAY_BREAKDOWNS.name),
    ).persist()
    try:
        made = build_feature_tables(windows, run.config, profile=profile)
        return {name: stamped.write_dates(contracts[name], frame, dates) for name, frame in made.items()}
    finally:
        windows.unpersist()


def published_meaning(run: Run) -> dict[str, str]:
    """Digest of every feature of ``member_features`` by its name, as its newest stamped commit says."""
    commits = run.tables.commits("member_features")
    return next((commit.stamp[MEANING_STAMP] for commit in commits if MEANING_STAMP in commit.stamp), {})


def _require_same_meaning(run: Run, published: Sequence[Published]) -> None:
    """Dates that are added must mean what the table's other dates mean. Errors: ConfigError."""
    if run.as_of_dates is not None:
        check_published(published, published_meaning(run))


def _require_covered(run: Run, dates: tuple[date, ...]) -> None:
    data_through = run.config.timeline.data_through
    late = [day for day in dates if day > data_through]
    if late:
        raise DataQualityError(
            f"as-of dates after the end of the data: {', '.join(map(str, late[:5]))} (data reaches {data_through})."
            " Load the newer events and set timeline.data_through."
        )


def _population(members: DataFrame, dates: tuple[date, ...]) -> int:
    """Members known on each date, summed over the dates: what features must cover."""
    known = members.groupBy("member_id").agg(F.min("valid_from").alias("known_from"))
    by_date = [F.sum((F.col("known_from") <= F.lit(day)).cast("bigint")) for day in dates]
    row = known.agg(*by_date).first()
    return sum(number or 0 for number in row) if row else 0
