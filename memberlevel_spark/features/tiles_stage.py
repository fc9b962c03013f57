"""The stage member_days: the days of ``events`` that changed, as daily tiles, and broken down where features ask."""

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.features.point_in_time import build_breakdown_tiles, build_tiles, configured_dimensions
from memberlevel_spark.features.tiles import is_tiled
from memberlevel_spark.levels.stage import level_rules
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import MEMBER_DAY_BREAKDOWNS, MEMBER_DAYS, TableContract
from memberlevel_spark.tables import DAYS_STAMP, Written

READ_STAMP = "events_version"
EARN_STAMP = "earn"
BREAKDOWN_STAMP = "broken_down_by"


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
