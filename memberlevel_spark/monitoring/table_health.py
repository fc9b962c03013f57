"""Health of the shop's tables, read from them: volume and age of events and daily tiles, age of the levels, columns."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from pyspark.sql import functions as F

from memberlevel_spark import forecast_schemas, schemas
from memberlevel_spark.levels.stage import decided_through
from memberlevel_spark.monitoring.health import Usual, freshness, volume
from memberlevel_spark.monitoring.watched import Watched
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import TableContract

DATED = ("events", "member_days")
# Written after the values are watched: whether they are there depends on what has run before.
WRITTEN_LATER = ("monitor_metrics", "alerts", "outcomes", "migrations")
# Tables whose columns no configuration decides; those of the examples depend on what the model tells.
CONTRACTS = tuple(
    value
    for module in (schemas, forecast_schemas)
    for value in vars(module).values()
    if isinstance(value, TableContract) and value.name not in (*WRITTEN_LATER, "examples")
)


def table_health(run: Run, read: dict[str, int], dates: Sequence[date]) -> Iterator[Watched]:
    """Every watched value of the tables as of each date; of ``read`` the versions of events and daily tiles are used.

    Events are watched by source, named ``events/<source>``: each source of the configuration that maps to them, and
    others that have rows. Columns are those of the latest version.
    """
    usual = Usual(
        run.config.monitoring.volume_weeks, run.config.monitoring.volume_min_rows, run.config.features.holidays
    )
    since = min(dates) - timedelta(days=7 * usual.weeks)
    rows_by_day = _rows_by_day(run, read, since, max(dates))
    decided = decided_through(run)
    differing = [(each.name, len(run.tables.differences(each))) for each in CONTRACTS if run.tables.exists(each.name)]
    for day in dates:
        for subject, rows in rows_by_day.items():
            yield from volume(subject, rows, day, usual)
            yield freshness(subject, rows, day, since=since)
        yield freshness("member_levels", [min(decided, day)], day, since=min(since, decided))
        for name, number in differing:
            yield Watched("schema_differences", name, day, float(number))


def _rows_by_day(run: Run, read: dict[str, int], since: date, until: date) -> dict[str, dict[date, int]]:
    """By subject; a source without rows has none."""
    mapped = [name for name, source in run.config.sources.items() if any(each.to == "events" for each in source.maps)]
    found: dict[str, dict[date, int]] = {subject: {} for subject in [*(f"events/{name}" for name in mapped), DATED[1]]}
    for name in DATED:
        source = F.concat_ws("/", F.lit(name), "source") if name == "events" else F.lit(name)
        rows = run.tables.read(name, read[name]).where(F.col("day").between(F.lit(since), F.lit(until)))
        for subject, day, number in rows.groupBy(source.alias("subject"), "day").agg(F.count("*")).collect():
            found.setdefault(subject, {})[day] = number
    return dict(sorted(found.items()))
