"""The stages member_days and features."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.features.assemble import build_member_features, build_member_sequences, feature_fields
from memberlevel_spark.features.declare import WindowFeature, used_measures, window_features
from memberlevel_spark.features.tiles import build_member_days, is_tiled
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.ingest.event_log import DAYS_STAMP
from memberlevel_spark.levels.stage import level_rules
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import MEASURES, MEMBER_DAYS, member_features_contract, member_sequences_contract

READ_STAMP = "events_version"
# Commits by maintenance: other files, the same rows.
KEEPS_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "REORG"}


def run_member_days(run: Run) -> StageResult:
    """Write ``member_days``: the days that changed in ``events`` since the last run, or all of them.

    Errors: DataQualityError when events were lost or the log ends before data_through.
    """
    read = {"events": run.tables.version("events")}
    days = _changed_days(run, read["events"])
    events = run.tables.read("events", read["events"])
    if days is not None:
        events = events.where(F.col("day").isin(list(days)) if days else F.lit(False))
    tables = run.tables.with_stamp(**{READ_STAMP: read["events"]})
    tiles = build_member_days(events)
    if days is None:
        commit = tables.replace(MEMBER_DAYS, tiles)
    elif days:
        commit = tables.replace_slice(MEMBER_DAYS, tiles, {"day": days})
    else:
        _require_fresh(run, run.tables.read("member_days"))
        return StageResult(RowCounts(0, 0), read, {}, "nothing new")
    written = run.tables.read("member_days", commit.version)
    _require_fresh(run, written)
    slice_of_days = written if days is None else written.where(F.col("day").isin(list(days)))
    row = slice_of_days.agg(F.sum("num_events")).first()
    num_events = (row[0] or 0) if row else 0
    tallied = events.agg(F.count("*"), F.count_if(~is_tiled())).first()
    rows_in, left_out = tallied if tallied else (0, 0)
    # num_events of the tiles is the independent count: an event in no tile, or in two, breaks the balance.
    counts = RowCounts(rows_in, commit.rows, filtered=left_out, aggregated=num_events - commit.rows)
    note = "all days" if days is None else f"{len(days)} days"
    return StageResult(counts, read, {"member_days": commit.version}, note)


def _changed_days(run: Run, version: int) -> tuple[date, ...] | None:
    """The days on which ``events`` changed since the tiles were made; None when that cannot be told: all of them."""
    made_of = next((c.stamp[READ_STAMP] for c in run.tables.commits("member_days") if READ_STAMP in c.stamp), None)
    if made_of is None or made_of > version:
        return None
    commits = [c for c in run.tables.commits("events", after=made_of) if c.operation not in KEEPS_ROWS]
    days = [commit.stamp.get(DAYS_STAMP, "all") for commit in commits]
    known = version - made_of <= len(run.tables.commits("events", after=made_of))
    if "all" in days or not known:
        return None
    return tuple(sorted({date.fromisoformat(day) for several in days for day in several}))


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
    return used_measures(run.config.features, run.config.levels.metric, MEASURES)


def declared_windows(run: Run) -> tuple[WindowFeature, ...]:
    """The window features of the configuration."""
    return window_features(run.config.features, measures_of(run))


def _plan(run: Run, dates: tuple[date, ...]) -> WindowPlan:
    rules, features, measures = level_rules(run), run.config.features, measures_of(run)
    return WindowPlan(
        measures=measures,
        as_of_days=days_since_epoch(dates),
        windows_days=tuple(sorted(set(features.windows_days))),
        sequence_weeks=features.sequence_weeks,
        level_measure=measures.index(rules.metric),
        order_measure=measures.index("num_orders"),
        metric_days=rules.window_days,
        carry_over_days=rules.carry_over_days(run.config.timeline.label.reach_days),
    )


def run_features(run: Run) -> StageResult:
    """Write ``member_features`` and ``member_sequences`` for the run's as-of dates, silent members included."""
    read = {name: run.tables.version(name) for name in ("members", "member_days", "member_levels")}
    members, member_days, member_levels = (run.tables.read(name, version) for name, version in read.items())
    dates = run.as_of_dates or run.config.timeline.as_of_dates
    _require_covered(run, dates)
    rules, declared = level_rules(run), declared_windows(run)
    windows = build_windows(members, member_days, _plan(run, dates)).persist()
    try:
        features = build_member_features(windows, member_levels, declared, rules)
        written = {
            "member_features": run.write_dates(
                member_features_contract(feature_fields(declared, rules)), features, dates
            ),
        }
        weeks, measures = run.config.features.sequence_weeks, measures_of(run)
        sequences = build_member_sequences(windows, measures, weeks)
        written["member_sequences"] = run.write_dates(member_sequences_contract(measures), sequences, dates)
    finally:
        windows.unpersist()
    rows = {name: commit.rows for name, commit in written.items()}
    if rows["member_sequences"] != rows["member_features"]:
        raise DataQualityError(f"features and sequences differ in rows: {rows}. Run the stage levels, then features.")
    versions = {name: commit.version for name, commit in written.items()}
    counts = RowCounts(_population(members, dates), rows["member_features"])
    return StageResult(counts, read, versions, f"{len(dates)} as-of dates")


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
