"""The job leakage_check: other futures change nothing, the check itself can see, no feature is an outcome.

In: silver of the shop, and ``examples`` and ``member_labels`` where they exist. Out: a log line per check; no table.
Every check runs; the leaks of all are told together.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.config.model import LeakageConfig
from memberlevel_spark.errors import LeakageError, first_five
from memberlevel_spark.evaluation.leakage_probes import (
    ProbeRows,
    feature_alarms,
    require_chance,
    require_no_alarm,
    shuffled_label_auc,
)
from memberlevel_spark.examples.labels import LabelWindows, build_labels
from memberlevel_spark.examples.stage import load_encoder
from memberlevel_spark.features.futures import Cut
from memberlevel_spark.features.leakage import Pipeline, known_rows, leakage_check, leaks_by
from memberlevel_spark.features.point_in_time import Sources, build_levels, build_point_in_time, build_tiles
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.vocabulary_entries import build_vocabulary
from memberlevel_spark.features.vocabulary_stage import fitted_vocabulary
from memberlevel_spark.run import RowCounts, Run, StageResult

OUTCOMES = ("moved_up", "moved_down", "bought")
PLANTED = "planted_label"
KEY = ["member_id", "as_of_date"]
Check = tuple[str, Callable[[], str]]
log = logging.getLogger("memberlevel_spark")


def run_leakage_check(run: Run) -> StageResult:
    """Run every check. Errors: LeakageError with what each of them found."""
    config = run.config
    dates = run.as_of_dates or config.timeline.as_of_dates
    names = [name for name in ("events", "members", "products") if name != "products" or run.tables.exists(name)]
    read = {name: run.tables.version(name) for name in names}
    silver = {name: run.tables.read(name, version) for name, version in read.items()}
    sources = sampled(Sources(**silver), config.leakage.sample_members)
    pipeline = FeaturePipeline(config, dates, fitted_vocabulary(sources.frames, config))
    expected = known_rows(pipeline(sources)).persist()
    expected.count()  # now, while its parts are kept
    try:
        checks = [
            *_future_checks(pipeline, expected, sources=sources, config=config, dates=dates),
            *_example_checks(run, read),
        ]
        failed = [message for name, check in checks if (message := _failure(name, check))]
    finally:
        pipeline.release()
        for frame in (expected, sources.events, sources.members):
            frame.unpersist()
    if failed:
        raise LeakageError(f"{len(failed)} of {len(checks)} leakage checks failed: {' | '.join(failed)}")
    return StageResult(RowCounts(0, 0), read, {}, f"{len(checks)} checks, no leak")


def _failure(name: str, check: Callable[[], str]) -> str:
    """One line for the log; the message of a check that failed, else nothing."""
    try:
        log.info("leakage_check %s: %s", name, check())
    except LeakageError as problem:
        log.warning("leakage_check %s: LEAK %s", name, problem)
        return str(problem)
    return ""


def sampled(sources: Sources, num_members: int) -> Sources:
    """About so many members by a hash of their id, with their events and profiles; all products."""
    everybody = sources.members.select("member_id").distinct()
    every = max(everybody.count() // num_members, 1)
    some = everybody.where(F.pmod(F.xxhash64("member_id"), F.lit(every)) == 0)
    events = sources.events.join(some, "member_id", "left_semi").select(*sources.events.columns)
    members = sources.members.join(some, "member_id", "left_semi").select(*sources.members.columns)
    return Sources(events.persist(), members.persist(), sources.products)


class FeaturePipeline:
    """From silver to the frames that are checked; a further one is one more entry.

    The vocabulary is one of them, known on the last training date. The numbers of the others are by the one given: a
    date before that day could not have its own. What is read more than once is persisted until the next run, or
    ``release``.
    """

    def __init__(self, config: Config, dates: Sequence[date], vocabulary: Vocabulary | None = None) -> None:
        self.config, self.dates, self.vocabulary = config, tuple(dates), vocabulary
        self._kept: list[DataFrame] = []

    def __call__(self, sources: Sources) -> Mapping[str, DataFrame]:
        """Named frames of all dates."""
        self.release()
        frames = build_point_in_time(
            sources, self.config, dates=self.dates, vocabulary=self.vocabulary, keep=self._keep
        )
        entries = build_vocabulary(sources.frames, self.config)
        if entries is not None:
            through = F.lit(max(self.config.timeline.split.train))
            frames["vocabulary"] = entries.withColumn("known_from_date", through)
        return frames

    def release(self) -> None:
        """Give back the memory."""
        while self._kept:
            self._kept.pop().unpersist()

    def _keep(self, frame: DataFrame) -> DataFrame:
        self._kept.append(frame.persist())
        return frame


def cut_of(config: Config, as_of: date) -> Cut:
    """The future after a date, in which everybody gets the highest level by hand where the programme has such."""
    manual = config.levels.manual
    by_hand = {manual.level: config.levels.programme[-1].name} if manual else {}
    return Cut(as_of, config.timeline.data_through, by_hand)


def planted(pipeline: Pipeline, config: Config, *, as_of: date) -> Pipeline:
    """The pipeline with one feature more, which is the net spend in the label window: a leak on purpose."""
    timeline = config.timeline
    windows = LabelWindows(timeline.label, timeline.inactive, timeline.data_through)

    def leaky(sources: Sources) -> Mapping[str, DataFrame]:
        features = pipeline(sources)["member_features"]
        member_days = build_tiles(sources.events, sources.products, config)
        levels = build_levels(sources.members, member_days, config)
        labels = build_labels(features, member_days, levels, dates=[as_of], windows=windows)
        told = labels.select(*KEY, F.col("spend_cents").alias(PLANTED))
        return {"member_features": features.join(told, KEY, "left")}

    return leaky


def future_label_probe(pipeline: Pipeline, cut: Cut, *, sources: Sources, config: Config) -> str:
    """Plant a feature that is the label, and see it found. Errors: LeakageError when it is not."""
    leaky = planted(pipeline, config, as_of=cut.as_of)
    leaks = leaks_by("changed", leaky, cut, sources=sources, expected=known_rows(leaky(sources)))
    if PLANTED not in {leak.column for leak in leaks}:
        raise LeakageError(
            f"the leakage check is blind as of {cut.as_of}: a feature that is the label was not found. Check that the"
            " sample has members with events before this date."
        )
    return "found, as it must be"


def _future_checks(
    pipeline: Pipeline, expected: DataFrame, *, sources: Sources, config: Config, dates: Sequence[date]
) -> list[Check]:
    """Other futures after each date, and the probe on the last date that can have a label."""

    def of_date(day: date) -> str:
        return f"{leakage_check(pipeline, cut_of(config, day), sources=sources, expected=expected):,} rows the same"

    def probe(day: date) -> str:
        alone = FeaturePipeline(config, [day])
        try:
            return future_label_probe(alone, cut_of(config, day), sources=sources, config=config)
        finally:
            alone.release()

    timeline = config.timeline
    labelled = [day for day in dates if timeline.label.label_date(day) <= timeline.data_through]
    checks: list[Check] = [(f"other futures after {day}", partial(of_date, day)) for day in dates]
    return checks + [(f"planted label as of {day}", partial(probe, day)) for day in labelled[-1:]]


def _example_checks(run: Run, read: dict[str, int]) -> list[Check]:
    """Features against outcomes; none before there are examples."""
    tables = ("examples", "member_labels")
    missing = [name for name in tables if not run.tables.exists(name)]
    if missing:
        log.info("leakage_check of encoded features: left out, there is no %s yet", first_five(missing))
        return []
    read |= {name: run.tables.version(name) for name in tables}
    examples, labels = (run.tables.read(name, read[name]) for name in tables)
    labelled = examples.join(labels.select(*KEY, *OUTCOMES), KEY, "inner")
    names = load_encoder(run, read["examples"]).names
    return [
        ("each feature alone", lambda: features_alone(labelled, names, run.config.leakage)),
        ("shuffled labels", lambda: shuffled_labels(labelled, run.config.leakage, seed=run.config.seed)),
    ]


def features_alone(labelled: DataFrame, names: Sequence[str], limits: LeakageConfig) -> str:
    """AUC of every encoded feature on the training rows. Errors: LeakageError naming those above the limit."""
    train = _rows(labelled.where(F.col("split") == "train"), ["row_key"])
    x_NF = _features(train)
    outcomes = {name: train[name].to_numpy(dtype=bool) for name in OUTCOMES}
    judged = {name: y for name, y in outcomes.items() if min(y.sum(), (~y).sum()) >= limits.min_class_rows}
    alarms = feature_alarms(x_NF, judged, names, max_auc=0.5)
    require_no_alarm([alarm for alarm in alarms if alarm.auc > limits.max_feature_auc], limits.max_feature_auc)
    strongest = [next((str(a) for a in alarms if a.outcome == name), f"none tells {name}") for name in judged]
    few = [f"too few rows for {name}" for name in OUTCOMES if name not in judged]
    return f"{len(names)} features, {len(x_NF):,} rows; strongest: {'; '.join([*strongest, *few])}"


def shuffled_labels(labelled: DataFrame, limits: LeakageConfig, *, seed: int) -> str:
    """A model of shuffled ``bought``, on the validation rows. Errors: LeakageError when it beats chance."""
    train, held_out = (labelled.where(F.col("split") == name) for name in ("train", "validation"))
    every = max(train.count() // limits.probe_rows, 1)
    some = train.where(F.pmod("row_key", F.lit(every)) == 0)
    rows = [_probe_rows(_rows(frame, ["as_of_date", "row_key"])) for frame in (some, held_out)]
    if min(min(each.outcome_N.sum(), (~each.outcome_N).sum()) for each in rows) < limits.min_class_rows:
        return f"left out, fewer than {limits.min_class_rows} rows that bought or did not"
    auc, bound = shuffled_label_auc(*rows, seed=seed)
    require_chance(auc, bound)
    return f"AUC {auc:.3f} on {len(rows[1].key_N):,} rows, chance is up to {0.5 + bound:.3f}"


def _rows(labelled: DataFrame, order: list[str]) -> pd.DataFrame:
    return labelled.orderBy(*order).select("row_key", "features", *OUTCOMES).toPandas()


def _features(rows: pd.DataFrame) -> np.ndarray:
    return np.stack(rows["features"].to_list()).astype(np.float32) if len(rows) else np.empty((0, 0), np.float32)


def _probe_rows(rows: pd.DataFrame) -> ProbeRows:
    return ProbeRows(_features(rows), rows["bought"].to_numpy(dtype=bool), rows["row_key"].to_numpy())
