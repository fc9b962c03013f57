"""``monitoring/metrics.prom``: what the last run made of the shop, for Prometheus.

In: ``monitor_metrics`` and ``outcomes`` of the champion, the records of the stages. Out: one file.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

from pyspark.sql import functions as F

from memberlevel_spark.config.monitoring import WatchedMetric
from memberlevel_spark.forecast_schemas import MONITOR_METRICS, OUTCOMES
from memberlevel_spark.monitoring.judgement import ALL
from memberlevel_spark.monitoring.prometheus import Family, exposition, write_text
from memberlevel_spark.monitoring.watched import ALERT, OK, UNKNOWN, WARN
from memberlevel_spark.registry.bundle import read_alias
from memberlevel_spark.registry.champion import CHAMPION, registry_dir
from memberlevel_spark.run import Run, Shop, stage_records

Row = Mapping[str, Any]
STAGE_ROWS = ("rows_in", "rows_out", "quarantined")


def metrics_path(shop: Shop) -> Path:
    """Where the file is."""
    return shop.shop_dir / "monitoring" / "metrics.prom"


def write_metrics(run: Run) -> None:
    """Write the file of the champion's newest monitored and newest judged date; none before anything was watched."""
    champion = read_alias(registry_dir(run), CHAMPION)
    watched = _newest(run, MONITOR_METRICS.name, champion)
    if champion is None or not watched:
        return
    judged = [row for row in _newest(run, OUTCOMES.name, champion) if row["dimension"] == ALL]
    families = [
        *watched_families(watched, champion, [level.name for level in run.config.levels.programme]),
        *outcome_families(judged),
        *stage_families(stage_records(run)),
    ]
    write_text(metrics_path(run), exposition([_of_shop(family, run.config.name) for family in families]))


def watched_families(rows: Sequence[Row], champion: str, level_names: Sequence[str]) -> list[Family]:
    """Of rows of ``monitor_metrics`` of one date; levels by name."""
    levels = [row["level"] for row in rows if row["metric"] in get_args(WatchedMetric)]
    of_levels = {"members_now": ("level",), "members_expected": ("level_now", "level_then")}
    members = {
        metric: [
            (dict(zip(labels, (level_names[int(k)] for k in row["slice"].split("->")), strict=True)), row["value"])
            for row in rows
            if row["metric"] == metric
        ]
        for metric, labels in of_levels.items()
    }
    return [
        Family("memberlevel_champion_info", "1 for the model that scores", [({"model_version": champion}, 1.0)]),
        _date_family("memberlevel_as_of_timestamp_seconds", "The as-of date that was monitored", rows),
        Family(
            "memberlevel_watched_values",
            "Watched values by what was found of them",
            [({"level": level}, float(levels.count(level))) for level in (OK, WARN, ALERT, UNKNOWN)],
        ),
        Family("memberlevel_members_now", "Members on each level", members["members_now"]),
        Family("memberlevel_members_expected", "Members expected to move or stay", members["members_expected"]),
        *(
            Family(
                f"memberlevel_{metric}",
                f"The watched value {metric}; see README",
                [({"subject": row["slice"]}, row["value"]) for row in rows if row["metric"] == metric],
            )
            for metric in get_args(WatchedMetric)
        ),
    ]


def outcome_families(rows: Sequence[Row]) -> list[Family]:
    """Of rows of ``outcomes`` of one date, all members."""
    samples = [({"metric": row["metric"]}, row["value"]) for row in rows]
    return [
        Family("memberlevel_outcome", "How good the forecasts were whose labels matured last", samples),
        _date_family("memberlevel_outcome_as_of_timestamp_seconds", "The as-of date of these forecasts", rows),
    ]


def stage_families(records: Sequence[Row]) -> list[Family]:
    """Of the records of the stages' last runs."""
    seconds = [({"stage": record["stage"]}, float(record["seconds"])) for record in records]
    rows = [
        ({"stage": record["stage"], "kind": kind}, float(record[kind])) for record in records for kind in STAGE_ROWS
    ]
    return [
        Family("memberlevel_stage_seconds", "Seconds of each stage's last run", seconds),
        Family("memberlevel_stage_rows", "Rows of each stage's last run", rows),
    ]


def _newest(run: Run, table: str, champion: str | None) -> list[dict[str, Any]]:
    if champion is None or not run.tables.exists(table):
        return []
    own = run.tables.read(table).where(F.col("model_version") == champion)
    newest = own.agg(F.max("as_of_date")).collect()[0][0]
    return [row.asDict() for row in own.where(F.col("as_of_date") == F.lit(newest)).collect()]


def _date_family(name: str, told: str, rows: Sequence[Row]) -> Family:
    return Family(name, told, [({}, _seconds(row["as_of_date"])) for row in rows[:1]])


def _seconds(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _of_shop(family: Family, shop: str) -> Family:
    return Family(family.name, family.help, [({"shop": shop, **labels}, value) for labels, value in family.samples])
