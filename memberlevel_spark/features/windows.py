"""Features of many as-of dates in one pass: one row per member with its tiles as arrays, through the numpy kernel.

In: ``members`` (when the shop knew them first, and their profiles), ``member_days``, ``member_levels`` and, where
features ask for them, ``member_day_breakdowns``. Out: one row per member and as-of date on which the member was known,
with ``longs`` and ``doubles`` (the declared features of either type, then those of the profile, null where a member has
no value), ``weekly`` (weekly sums per measure, newest first) and ``standing`` (what the level rules say on that day, as
``standing_names`` has it).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.features.aggregates import compute
from memberlevel_spark.features.breakdown_tiles import breakdown_axes, breakdown_chunks, with_breakdowns
from memberlevel_spark.features.breakdowns import Breakdown, first_day_read
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.kernel_axes import Axes, Longs, Questions, TileAxis
from memberlevel_spark.features.profiles import ProfileFeature, profile_answers, with_profiles
from memberlevel_spark.levels.batches import (
    Tiles,
    assignments_of,
    flat,
    member_chunks,
    member_index,
    with_histories,
)
from memberlevel_spark.levels.calendar import ProgrammeCalendar
from memberlevel_spark.levels.engine import Earning, Metrics
from memberlevel_spark.levels.history import LevelHistory
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.levels.standing import standings
from memberlevel_spark.timeline import day_number

LEVELS = ("level_from", "level", "own_level")
TYPES = {"long": pa.int64(), "double": pa.float64()}
WINDOWED_SCHEMA = (
    "member_id string, as_of_day int, known_day int, longs array<bigint>, doubles array<double>,"
    " weekly array<bigint>, standing array<bigint>"
)
WEEK_DAYS = 7


@dataclass(frozen=True)
class WindowPlan:
    """What the kernel computes; plain values only, since it travels to the executors."""

    measures: tuple[str, ...]
    as_of_days: tuple[int, ...]
    declared: tuple[Feature, ...]
    sequence_weeks: int
    rules: LevelRules
    reach_days: int
    holidays: tuple[int, ...] = ()
    profile: tuple[ProfileFeature, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()

    @cached_property
    def weekly(self) -> tuple[Feature, ...]:
        """The sums of each measure's weeks, newest first, one measure after the other."""
        weeks = range(self.sequence_weeks)
        return tuple(Feature(m, "lag_sum", window_days=WEEK_DAYS, part=k) for m in self.measures for k in weeks)


def days_since_epoch(days: Sequence[date]) -> tuple[int, ...]:
    """Days since 1970-01-01, ascending."""
    return tuple(sorted(day_number(day) for day in days))


def build_windows(
    members: DataFrame,
    member_days: DataFrame,
    member_levels: DataFrame,
    plan: WindowPlan,
    member_day_breakdowns: DataFrame | None = None,
) -> DataFrame:
    """Run the kernel over all members; tiles after an as-of date are never looked at for that date."""
    histories = with_histories(members, member_days, plan.measures, plan.rules)
    stretch = F.struct(F.unix_date("valid_from").alias("level_from"), "level", "own_level")
    levels = member_levels.groupBy("member_id").agg(F.collect_list(stretch).alias("levels"))
    arrays = [F.col(f"levels.{name}").alias(name) for name in LEVELS]
    rows = histories.join(levels, "member_id", "left").select(*histories.columns, *arrays)
    rows = with_profiles(rows, members, plan.profile) if plan.profile else rows
    if plan.breakdowns:
        assert member_day_breakdowns is not None, "features speak of breakdowns, and there are none"
        since = first_day_read(plan.declared, plan.as_of_days[0])
        rows = with_breakdowns(rows, member_day_breakdowns, plan.breakdowns, first_day=since)
    return rows.mapInArrow(_kernel(plan), WINDOWED_SCHEMA)


def _kernel(plan: WindowPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in member_chunks(batch, plan.rules, plan.as_of_days[-1] + plan.reach_days):
                for few in breakdown_chunks(part, plan.breakdowns):
                    yield compute_batch(few, plan)

    return compute


def compute_batch(batch: pa.RecordBatch, plan: WindowPlan) -> pa.RecordBatch:
    """All as-of dates of a batch of members; rows in the order of members, then dates."""
    tiles = Tiles.of(batch, plan.measures)
    levels = _level_history(batch)
    member_Q, date_Q = np.nonzero(tiles.known_M[:, None] <= np.asarray(plan.as_of_days)[None, :])
    # A member without a level is left out here, and missed in the account of rows.
    held_Q, stretch_Q = levels.held(member_Q, np.asarray(plan.as_of_days)[date_Q])
    member_Q, date_Q, stretch_Q = member_Q[held_Q], date_Q[held_Q], stretch_Q[held_Q]
    as_of_Q = np.asarray(plan.as_of_days, dtype=np.int64)[date_Q]
    axis = TileAxis.of(plan.measures, tiles.member_T, day_T=tiles.day_T, values_MT=tiles.values_XT)
    axes = Axes(axis, *breakdown_axes(batch, plan.breakdowns), np.asarray(plan.holidays, dtype=np.int64))
    wanted = tuple(dict.fromkeys((*plan.declared, *plan.weekly)))
    answers = compute(axes, wanted, member_Q=member_Q, as_of_Q=as_of_Q)
    answers |= profile_answers(batch, plan.profile, Questions(member_Q, as_of_Q))
    standing = [*levels.facts(stretch_Q, as_of_Q).values(), *_standing(batch, tiles, levels, plan)[:, date_Q, member_Q]]
    columns = [
        batch.column("member_id").take(pa.array(member_Q)),
        pa.array(as_of_Q, pa.int32()),
        pa.array(tiles.known_M[member_Q], pa.int32()),
        *[
            _lists([answers[name] for name in names_of_type(plan.declared, plan.profile, kind)], kind, member_Q.size)
            for kind in TYPES
        ],
        _lists([answers[f.name] for f in plan.weekly], "long", member_Q.size),
        _lists(standing, "long", member_Q.size),
    ]
    names = [field.split()[0] for field in WINDOWED_SCHEMA.split(", ")]
    return pa.RecordBatch.from_arrays(columns, names)


def standing_names(rules: LevelRules) -> tuple[str, ...]:
    """What each element of ``standing`` is."""
    history = ("level_now", "days_in_level", "num_level_ups", "num_level_downs", "best_level")
    metrics = [f"level_{metric}_{when}" for when in ("now", "carry_over") for metric in rules.metrics]
    return (*history, "level_if_idle", "days_to_review", *metrics)


def _standing(batch: pa.RecordBatch, tiles: Tiles, levels: LevelHistory, plan: WindowPlan) -> Longs:
    """The elements of ``standing`` after the history, for all dates and members; [elements, dates, M]."""
    rules, dates = plan.rules, plan.as_of_days
    days = (dates[0] - 2 * rules.memory_days, dates[-1])
    values_XT = tiles.values_XT[[plan.measures.index(metric) for metric in rules.metrics]]
    metrics = Metrics.of(days, batch.num_rows, tiles.member_T, tiles.day_T, values_XT)
    calendar = ProgrammeCalendar(rules.config, tiles.known_M, dates[-1] + plan.reach_days)
    everybody = np.arange(batch.num_rows)
    held = [levels.held(everybody, np.full(batch.num_rows, day)) for day in dates]
    own_AM = np.stack([np.where(known, np.append(levels.own_S, 0)[index], 0) for known, index in held])
    earning = Earning(rules, calendar, metrics, tiles.known_M)
    by_date = standings(earning, assignments_of(batch, rules), own_AM, dates, reach_days=plan.reach_days)
    rows = [[s.level_if_idle_M, s.days_to_review_M, *s.metrics_now_XM, *s.carry_over_XM] for s in by_date]
    return np.stack(rows, axis=1)


def _level_history(batch: pa.RecordBatch) -> LevelHistory:
    first, level, own = (batch.column(name) for name in LEVELS)
    return LevelHistory.of(member_index(first), flat(first), flat(level), flat(own))


def names_of_type(declared: Sequence[Feature], profile: Sequence[ProfileFeature], kind: str) -> list[str]:
    """The features whose values are of a type, ``long`` or ``double``, as the elements of that array are ordered."""
    of_tiles = [feature.name for feature in declared if feature.kind.dtype == kind]
    return [*of_tiles, *(feature.name for feature in profile if feature.dtype == kind)]


def _lists(columns_FQ: Sequence[np.ndarray], kind: str, num_rows: int) -> pa.ListArray:
    """One list per question with an element of each column; masked and NaN elements are null."""
    offsets = np.arange(num_rows + 1, dtype=np.int32) * len(columns_FQ)
    stack = np.ma.stack if kind == "long" else np.stack  # a masked array would hide that NaN is null
    elements = stack(columns_FQ, axis=1).ravel() if columns_FQ else np.zeros(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(elements, TYPES[kind], from_pandas=True))
