"""The stage features: the tables of features and sequences, for the run's as-of dates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.features.assemble import feature_fields
from memberlevel_spark.features.breakdowns import Breakdown, published_features
from memberlevel_spark.features.catalogue import catalogue
from memberlevel_spark.features.declare import scalar_features
from memberlevel_spark.features.feature import Feature, Published, check_published, digests
from memberlevel_spark.features.point_in_time import (
    build_feature_tables,
    configured_dimensions,
    configured_features,
    configured_measures,
    window_plan,
)
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.features.sequence_stage import sequence_plan, sequences_meaning, write_event_sequences
from memberlevel_spark.features.vocabulary_entries import event_dimensions
from memberlevel_spark.features.vocabulary_stage import breakdowns_of, profile_of, vocabulary_of
from memberlevel_spark.features.windows import build_windows
from memberlevel_spark.levels.stage import level_rules, read_levels
from memberlevel_spark.run import RowCounts, Run, Shop, StageResult
from memberlevel_spark.schemas import (
    MEMBER_DAY_BREAKDOWNS,
    MEMBER_EVENT_SEQUENCES,
    member_features_contract,
    member_sequences_contract,
)
from memberlevel_spark.tables import Written

MEANING_STAMP = "features"


def measures_of(run: Run) -> tuple[str, ...]:
    """The measures the features of this shop are made of."""
    return configured_measures(run.config)


def features_of(shop: Shop) -> tuple[Feature, ...]:
    """The features of the configuration that are made of tiles."""
    return configured_features(shop.config)


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
    left_out = sorted(run.config.features.profile.keys() - run.config.profile_read.keys())
    protected = f", protected and not read: {', '.join(left_out)}" if left_out else ""
    return StageResult(
        counts, read, versions, f"{len(dates)} as-of dates, meaning of the features in {page}{protected}"
    )


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
    """Digest of every feature of ``member_features`` by its name, as its newest stamped commit says; and that of
    ``member_event_sequences`` by the name of the table."""
    commits = run.tables.commits("member_features")
    features: dict[str, str] = next(
        (commit.stamp[MEANING_STAMP] for commit in commits if MEANING_STAMP in commit.stamp), {}
    )
    of_events = sequences_meaning(run)
    return {**features, **({MEMBER_EVENT_SEQUENCES.name: of_events} if of_events else {})}


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
    known = members.groupBy("member_id").agg(F.min("known_from").alias("known_from"))
    by_date = [F.sum((F.col("known_from") <= F.lit(day)).cast("bigint")) for day in dates]
    row = known.agg(*by_date).first()
    return sum(number or 0 for number in row) if row else 0
