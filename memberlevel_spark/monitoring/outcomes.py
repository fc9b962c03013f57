"""Scores beside what happened, once it is known, and the judgement of it.

In: ``member_scores`` of mature as-of dates, labels of the same members, ``member_days``, ``member_features``. Out: the
scores with what happened to each member, one row per score; rows of ``outcomes``, one per as-of date, model version,
dimension, slice and metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.slice_dimensions import build_slice_columns
from memberlevel_spark.examples.labels import KEY, LabelWindows, build_labels, build_window_sums
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.forecast_schemas import OUTCOMES
from memberlevel_spark.monitoring.judgement import Standards, judge_members
from memberlevel_spark.monitoring.migration import RUN

HAPPENED = ("target_level", "num_orders", "spend_cents")
ROWS = pa.schema(
    [
        *(("as_of_date", pa.date32()), ("model_version", pa.string())),
        *(("dimension", pa.string()), ("slice", pa.string()), ("metric", pa.string())),
        *(("value", pa.float64()), ("members", pa.int64())),
    ]
)


@dataclass(frozen=True)
class Sources:
    """The tables that say what happened, and what was known of the members."""

    features: DataFrame
    member_days: DataFrame
    member_levels: DataFrame


def build_happened(scores: DataFrame, sources: Sources, *, dates: Sequence[date], windows: LabelWindows) -> DataFrame:
    """The labels of the scored members; none for those who hold no level on the label date, such as erased ones."""
    # Versions may have been told other levels; each score is judged by its own, and this one is not used.
    population = scores.groupBy(*KEY).agg(F.min("level_now").alias("level_now"))
    labels = build_labels(population, sources.member_days, sources.member_levels, dates=dates, windows=windows)
    return labels.select(*KEY, *HAPPENED)


def build_matured(
    scores: DataFrame,
    happened: DataFrame,
    sources: Sources,
    *,
    dates: Sequence[date],
    windows: LabelWindows,
    profile: Sequence[ProfileFeature],
) -> DataFrame:
    """The scores with what happened, the spend of as many days before, and what the members are parted by."""
    spent = build_window_sums(sources.member_days, dates, windows.label.before)
    before = spent.select(*KEY, F.col("spend_cents").alias("spend_cents_before"))
    beside = scores.join(happened, [*KEY], "inner").join(before, [*KEY], "left")
    beside = beside.withColumn("spend_cents_before", F.coalesce("spend_cents_before", F.lit(0)))
    return build_slice_columns(beside, sources.features, sources.member_days, dates=dates, profile=profile)


def build_outcomes(matured: DataFrame, standards: Standards) -> DataFrame:
    """Rows of ``outcomes``: the judgement of every as-of date and model version, each in one task."""
    judged = matured.groupBy(*RUN).applyInArrow(_judge(standards), OUTCOMES.schema)
    return judged.select(*OUTCOMES.schema.names)


def _judge(standards: Standards) -> Callable[[pa.Table], pa.Table]:
    def judge_run(members: pa.Table) -> pa.Table:
        rows = judge_members(members, standards)
        run = {name: members.column(name)[0].as_py() for name in RUN}
        return pa.Table.from_pylist([{**run, **row} for row in rows], schema=ROWS)

    return judge_run
