"""The stage monitor: drift and expected migration of the champion's scores."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.build import join_features
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.stage import published_meaning
from memberlevel_spark.forecast_schemas import MONITOR_METRICS
from memberlevel_spark.monitoring.drift import NUM_BINS, count_bins, drift_by_feature
from memberlevel_spark.monitoring.migration import build_migration
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, StageResult

DRIFT = "feature_psi"
READ = ("member_scores", "examples")


def run_monitor(run: Run) -> StageResult:
    """Write ``monitor_metrics`` of the champion for the scored as-of dates."""
    bundle = load_champion(run)
    dates = run.as_of_dates or run.config.timeline.score
    encoder = Encoder.from_json(bundle.text("encoder.json"))
    read = {name: run.tables.version(name) for name in (*READ, *encoder.tables)}
    frames = {name: run.tables.read(name, version) for name, version in read.items()}
    wanted = F.col("as_of_date").isin(list(dates)) & (F.col("model_version") == bundle.version)
    scores = frames["member_scores"].where(wanted)
    encoder.require_meaning(published_meaning(run))
    drift = _drift(run, frames, encoder, dates=dates, model_version=bundle.version)
    limit = F.when(F.col("metric") == DRIFT, F.lit(run.config.monitoring.max_psi))
    rows = build_migration(scores).unionByName(drift).withColumn("threshold", limit)
    rows = rows.withColumn("alert", F.coalesce(F.col("value") > F.col("threshold"), F.lit(False)))
    slices = {"as_of_date": dates, "model_version": [bundle.version]}
    commit = run.tables.replace_slice(MONITOR_METRICS, rows.select(*MONITOR_METRICS.schema.names), slices)
    written = run.tables.read("monitor_metrics", commit.version).where(wanted)
    alerts = written.where("alert").count()
    note = f"{alerts} drift alert(s)" if alerts else "no drift alert"
    return StageResult(RowCounts(written.count(), commit.rows), read, {"monitor_metrics": commit.version}, note)


def _drift(
    run: Run, frames: dict[str, DataFrame], encoder: Encoder, *, dates: tuple[date, ...], model_version: str
) -> DataFrame:
    trained_on = _counts(frames["examples"].where(F.col("split") == "train"))
    rows = []
    for day in dates:
        features, *sequences = (frames[name] for name in encoder.tables)
        members = features.where(F.col("as_of_date") == F.lit(day))
        encoded = join_features(members, *sequences).select(encoder.encode().alias("features"))
        by_feature = drift_by_feature(trained_on, _counts(encoded), encoder.names)
        rows += [(DRIFT, name, day, model_version, value) for name, value in by_feature.items()]
    columns = "metric string, slice string, as_of_date date, model_version string, value double"
    return run.tables.spark.createDataFrame(rows, columns)


def _counts(encoded: DataFrame) -> dict[int, list[int]]:
    counts: dict[int, list[int]] = {}
    for row in count_bins(encoded).collect():
        counts.setdefault(row["position"], [0] * NUM_BINS)[row["bin"]] = row["rows"]
    return counts
