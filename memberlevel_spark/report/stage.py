"""The stage report: collect what the tables say and draw it."""

import json
import platform
from collections.abc import Sequence
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.stage import load_evaluation
from memberlevel_spark.forecast_schemas import MIGRATIONS, OUTCOMES
from memberlevel_spark.levels.stage import read_levels
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.report.came_true import came_true
from memberlevel_spark.report.changes import build_headlines, changes
from memberlevel_spark.report.history import movers, weekly_levels, weekly_spend
from memberlevel_spark.report.model import ReportData
from memberlevel_spark.report.outlook import outlook
from memberlevel_spark.report.render import render_report
from memberlevel_spark.report.tenure import build_spells, survival_curves
from memberlevel_spark.report.tips import nearest, tips, with_tips
from memberlevel_spark.report.watching import drift_rows, other_rows
from memberlevel_spark.run import RowCounts, Run, StageResult, stage_records
from memberlevel_spark.training.stage import run_dir

HISTORY_WEEKS = 52
READ = (
    *("member_days", "member_levels", "member_features", "member_scores", "member_reasons", "member_advice"),
    *("monitor_metrics", "alerts", "quarantine"),
)
# There before the first scored date has matured, or not.
MATURED = (OUTCOMES.name, MIGRATIONS.name)
PACKAGES = ("memberlevel_spark", "pyspark", "delta-spark", "petastorm", "torch", "pyarrow")


def run_report(run: Run) -> StageResult:
    """Write ``report.html`` of the latest scored as-of date."""
    matured = [name for name in MATURED if run.tables.exists(name)]
    read = {name: run.tables.version(name) for name in (*READ, *matured)}
    data = collect_report(run, read)
    path = run.shop_dir / "report.html"
    path.write_text(render_report(data), encoding="utf-8")
    return StageResult(RowCounts(0, 0), read, {}, str(path))


def collect_report(run: Run, read: dict[str, int]) -> ReportData:
    """Everything the report shows, from pinned tables and the run's records."""
    config, champion = run.config, load_champion(run).version
    as_of = max(run.as_of_dates or config.timeline.score)
    evaluation, monitor = load_evaluation(run), _monitor(run, read, as_of, champion)
    migration = _migration(monitor, len(config.levels.programme))
    return ReportData(
        title=config.report.title,
        shop=config.name,
        as_of_date=as_of,
        horizon_days=config.timeline.horizon_days,
        currency=config.money.currency,
        level_names=[level.name for level in config.levels.programme],
        versions=_versions(run, read, champion),
        test_as_of=date.fromisoformat(evaluation["test_as_of"]),
        num_members=evaluation["num_members"],
        metrics=evaluation["test"],
        confusion=evaluation["confusion"],
        **{name: evaluation[name] for name in ("reliability", "gains", "spend_tenths", "slices")},
        groups=evaluation["fairness"]["groups"],
        group_differences=evaluation["fairness"]["differences"],
        calls=evaluation["fairness"]["calls"],
        migration=migration,
        level_counts_now=[sum(row) for row in migration],
        level_counts_expected=[sum(column) for column in zip(*migration, strict=True)],
        monitor=other_rows(monitor),
        drift=drift_rows(monitor),
        quality=stage_records(run),
        training_curves=json.loads((run_dir(run) / "curves.json").read_text(encoding="utf-8")),
        caveats=_caveats(run),
        likely=config.scoring.likely,
        benefits=[level.benefits for level in config.levels.programme],
        level_metric_name=config.levels.metrics[0].removesuffix("_cents").removeprefix("num_"),
        level_metric_is_money=config.levels.metrics[0].endswith("_cents"),
        **_forecast_and_past(run, read, as_of, champion),
    )


def _forecast_and_past(run: Run, read: dict[str, int], as_of: date, champion: str) -> dict[str, Any]:
    """What the champion expects, how the shop got here, and whether earlier forecasts came true."""
    return {
        **outlook(_of(run, "member_scores", read, as_of, champion)),
        **_histories(run, read, as_of, champion),
        **_came_true(run, read, as_of, champion),
        **_watched(run, read, as_of, champion),
    }


def _watched(run: Run, read: dict[str, int], as_of: date, champion: str) -> dict[str, Any]:
    """Alerts of the as-of date, and the headline numbers beside those of the scored date before it."""
    alerts = _of(run, "alerts", read, as_of, champion).orderBy("level", "metric", F.col("value").desc_nulls_last())
    monitored = run.tables.read("monitor_metrics", read["monitor_metrics"]).groupBy("as_of_date", "model_version")
    found = monitored.agg(F.count_if(F.col("level") == "alert")).collect()
    headlines = build_headlines(run.tables.read("member_scores", read["member_scores"]), as_of).collect()
    return {
        "alerts": [row.asDict() for row in alerts.collect()],
        **changes(
            [row.asDict() for row in headlines],
            {(day, version): number for day, version, number in found},
            as_of=as_of,
            champion=champion,
        ),
    }


def _came_true(run: Run, read: dict[str, int], as_of: date, champion: str) -> dict[str, Any]:
    """Of the year up to the as-of date; empty before anything was judged."""
    if not all(name in read for name in MATURED):
        return {}
    outcomes, migrations = (run.tables.read(name, read[name]) for name in MATURED)
    until = outcomes.where(F.col("as_of_date") <= F.lit(as_of))
    since, num_levels = as_of - timedelta(days=7 * HISTORY_WEEKS), len(run.config.levels.programme)
    return came_true(until, migrations, since=since, champion=champion, num_levels=num_levels)


def _of(run: Run, table: str, read: dict[str, int], as_of: date, champion: str) -> DataFrame:
    """What the champion said as of the date."""
    rows = run.tables.read(table, read[table])
    return rows.where((F.col("as_of_date") == F.lit(as_of)) & (F.col("model_version") == champion))


def _histories(run: Run, read: dict[str, int], as_of: date, champion: str) -> dict[str, Any]:
    weeks = [as_of - timedelta(days=7 * back) for back in reversed(range(HISTORY_WEEKS))]
    frames = {name: run.tables.read(name, read[name]) for name in READ if name != "member_levels"}
    member_levels = read_levels(run, read["member_levels"])
    spend = weekly_spend(frames["member_days"], weeks).collect()
    levels = weekly_levels(member_levels, weeks).collect()
    scores = _of(run, "member_scores", read, as_of, champion)
    features = frames["member_features"].where(F.col("as_of_date") == F.lit(as_of))
    limit, metric = run.config.report.num_movers, run.config.levels.metrics[0]
    reasons, advice = (_of(run, name, read, as_of, champion) for name in ("member_reasons", "member_advice"))
    lists = {}
    for way in ("up", "down"):
        likeliest = movers(scores, features, probability=f"p_{way}", limit=limit, metric=metric)
        lists[f"movers_{way}"] = with_tips(likeliest, reasons, advice, way=way, metric=metric).collect()
    lists["tips"] = tips(advice).collect()
    lists["nearest"] = nearest(advice, metric=metric, limit=limit).collect()
    quarantine = (
        frames["quarantine"].groupBy("source", "rule").agg(F.count("*").alias("rows")).orderBy("source", "rule")
    )
    spells = build_spells(member_levels, as_of).collect()
    counts = {(row["week"], row["level"]): row["members"] for row in levels}
    num_levels = len(run.config.levels.programme)
    known = sorted({week for week, _ in counts})
    return {
        "spend_history": [(row["week"], row["spend_cents"]) for row in spend],
        "level_history": [(week, [counts.get((week, k), 0) for k in range(num_levels)]) for week in known],
        "survival": survival_curves(spells, num_levels),
        "quarantine": [row.asDict() for row in quarantine.collect()],
        **{name: [row.asDict(recursive=True) for row in rows] for name, rows in lists.items()},
    }


def _monitor(run: Run, read: dict[str, int], as_of: date, champion: str) -> list[dict[str, Any]]:
    rows = run.tables.read("monitor_metrics", read["monitor_metrics"])
    wanted = rows.where((F.col("as_of_date") == F.lit(as_of)) & (F.col("model_version") == champion))
    return [row.asDict() for row in wanted.orderBy("metric", F.col("value").desc_nulls_last(), "slice").collect()]


def _migration(monitor: list[dict[str, Any]], num_levels: int) -> list[list[float]]:
    expected = {row["slice"]: row["value"] for row in monitor if row["metric"] == "members_expected"}
    return [[expected.get(f"{now}->{then}", 0.0) for then in range(num_levels)] for now in range(num_levels)]


def _versions(run: Run, read: dict[str, int], champion: str) -> dict[str, str]:
    tables = {f"table {name}": f"version {number}" for name, number in sorted(read.items())}
    packages = {name: version(name) for name in PACKAGES}
    return {
        "model_version": champion,
        "config fingerprint": run.fingerprint,
        **tables,
        **packages,
        "python": platform.python_version(),
    }


def _calibration(heads: Sequence[str]) -> str:
    if heads:
        return f"Calibrated on the validation date: {', '.join(heads)}; the calibration curve is of a later date."
    return "Nothing is calibrated on a date of its own; read probabilities with the calibration curve."


def _caveats(run: Run) -> list[str]:
    timeline = run.config.timeline
    return [
        f"The test is one date ({timeline.test}); another date can differ by one to two points of accuracy.",
        _calibration(run.config.model.calibration),
        f"Levels follow the rules of this report's configuration, days are those of {timeline.business_zone}.",
    ]
