"""The stage monitor: drift of features and scores, health of the tables, alerts, and the champion's expected moves."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.score_profile import SCORE_NUMBERS, SCORE_PROFILE, score_rows
from memberlevel_spark.examples.build import join_features
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.profile import PROFILE, Numbers, Profile, build_counts, encoded_rows, profiles_of
from memberlevel_spark.features.declare import ScalarFeature, scalar_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.stage import features_of, published_meaning
from memberlevel_spark.forecast_schemas import ALERTS, MONITOR_METRICS
from memberlevel_spark.levels.stage import level_rules
from memberlevel_spark.monitoring.alerts import raised, tell
from memberlevel_spark.monitoring.drift import distances, shares
from memberlevel_spark.monitoring.export import write_metrics
from memberlevel_spark.monitoring.migration import build_migration
from memberlevel_spark.monitoring.table_health import DATED, table_health
from memberlevel_spark.monitoring.watched import ALERT, OK, UNKNOWN, Judged, Watched, judged
from memberlevel_spark.registry.bundle import Bundle
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, Shop, StageResult
from memberlevel_spark.schemas import TableContract
from memberlevel_spark.tables import Written

READ = ("member_scores", *DATED)
WATCHED = "metric string, slice string, as_of_date date, model_version string, value double, warn_above double,"
WATCHED += " alert_above double, level string"
RAISED = "metric string, subject string, as_of_date date, model_version string, level string, value double,"
RAISED += " threshold double"


def run_monitor(run: Run) -> StageResult:
    """Write ``monitor_metrics`` and ``alerts`` of the champion for the scored as-of dates, and ``metrics.prom``.

    Alerts are told in the log and to the webhook; they are no error. Errors: ArtefactError for a champion without
    profiles.
    """
    bundle = load_champion(run)
    dates = sorted(run.as_of_dates or run.config.timeline.score)
    encoder = Encoder.from_json(bundle.text("encoder.json"))
    trained_on, scored_like = (kept_profile(bundle, name) for name in (PROFILE, SCORE_PROFILE))
    read = {name: run.tables.version(name) for name in (*READ, *encoder.tables)}
    frames = {name: run.tables.read(name, version) for name, version in read.items()}
    wanted = F.col("as_of_date").isin(list(dates)) & (F.col("model_version") == bundle.version)
    scores = frames["member_scores"].where(wanted)
    encoder.require_meaning(published_meaning(run))
    calendar = frozenset[str]() if run.config.monitoring.judge_calendar else encoder.names_of(calendar_columns(run))
    values = [
        *_feature_drift([frames[name] for name in encoder.tables], encoder, trained_on, dates, not_judged=calendar),
        *_score_drift(scores, scored_like, dates),
        *table_health(run, read, dates),
    ]
    limits = {str(metric): limit for metric, limit in run.config.monitoring.thresholds.items()}
    found = judged(values, limits)
    rows = _with_migration(run, found, scores, bundle.version)
    commit = _write(run, MONITOR_METRICS, rows, dates, bundle.version)
    alerts = raised(found)
    told = _write(run, ALERTS, _alert_rows(run, alerts, bundle.version), dates, bundle.version)
    tell(run, bundle.version, alerts)
    write_metrics(run)
    written = {MONITOR_METRICS.name: commit.version, ALERTS.name: told.version}
    return StageResult(RowCounts(rows.count(), commit.rows), read, written, _note(found))


def kept_profile(bundle: Bundle, name: str) -> Profile:
    """One of the profiles of a bundle. Errors: ArtefactError for a bundle of before there were any."""
    if name not in bundle.files:
        raise ArtefactError(
            f"the model has no profile to compare with: {bundle.version} lacks {name}. Remove the folder of the bundle"
            " and run the stages from examples to register again."
        )
    return Profile.from_json(bundle.text(name))


def calendar_columns(shop: Shop) -> set[str]:
    """Features that, as the configuration declares them, move with the calendar while members stay the same."""
    declared: tuple[Feature | ScalarFeature, ...] = (*features_of(shop), *scalar_features(level_rules(shop)))
    return {feature.name for feature in declared if feature.moves_with_the_calendar}


def _feature_drift(
    tables: Sequence[DataFrame],
    encoder: Encoder,
    trained_on: Profile,
    dates: Sequence[date],
    *,
    not_judged: Collection[str],
) -> Iterator[Watched]:
    features, *sequences = tables
    members = features.where(F.col("as_of_date").isin(list(dates)))
    rows = encoded_rows(join_features(members, *sequences), encoder, F.col("as_of_date").cast("string"))
    found = _profiles(rows, Numbers.of(encoder), dates)
    for day in dates:
        yield from distances("feature", trained_on, found[day], day, not_judged=not_judged)
        yield from shares(trained_on, found[day], day)


def _score_drift(scores: DataFrame, scored_like: Profile, dates: Sequence[date]) -> Iterator[Watched]:
    found = _profiles(score_rows(scores), SCORE_NUMBERS, dates)
    for day in dates:
        yield from distances("score", scored_like, found[day], day)


def _profiles(rows: DataFrame, numbers: Numbers, dates: Sequence[date]) -> dict[date, Profile]:
    """Of each date, also of one without rows."""
    found = profiles_of(map(tuple, build_counts(rows, numbers).collect()), numbers)
    return {day: found.get(str(day), numbers.profile({})) for day in dates}


def _with_migration(run: Run, found: Sequence[Judged], scores: DataFrame, version: str) -> DataFrame:
    watched = [
        (*_key(each.watched, version), each.watched.value, each.warn_above, each.alert_above, each.level)
        for each in found
    ]
    never = F.lit(None).cast("double")
    moves = build_migration(scores).withColumns({"warn_above": never, "alert_above": never, "level": F.lit(OK)})
    rows = run.tables.spark.createDataFrame(watched, WATCHED).unionByName(moves)
    return rows.select(*MONITOR_METRICS.schema.names)


def _alert_rows(run: Run, alerts: Sequence[Judged], version: str) -> DataFrame:
    rows = [(*_key(each.watched, version), each.level, each.watched.value, each.threshold) for each in alerts]
    return run.tables.spark.createDataFrame(rows, RAISED)


def _key(watched: Watched, version: str) -> tuple[str, str, date, str]:
    return watched.metric, watched.subject, watched.as_of_date, version


def _write(run: Run, contract: TableContract, rows: DataFrame, dates: Sequence[date], version: str) -> Written:
    """Other columns are those of an earlier release: a full run then makes the table anew."""
    if run.as_of_dates is None and not run.tables.fits(contract):
        return run.tables.replace(contract, rows)
    return run.tables.replace_slice(contract, rows, {"as_of_date": dates, "model_version": [version]})


def _note(found: Sequence[Judged]) -> str:
    levels = [each.level for each in found]
    parts = [f"{levels.count(ALERT)} alert(s)", f"{len(raised(found)) - levels.count(ALERT)} warning(s)"]
    return ", ".join([*parts, *([f"{levels.count(UNKNOWN)} n/a"] if UNKNOWN in levels else [])])
