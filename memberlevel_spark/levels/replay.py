"""Replay of the level rules over all members: one Arrow batch of members at a time through the engine.

In: ``members`` (when the shop knew each, levels by hand) and ``member_days``. Out: ``member_levels``, one row per
member and stretch of days ``[valid_from, valid_to)`` on which neither the level shown nor the own one changes; the last
stretch is open (valid_to null).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.levels.batches import Tiles, assignments_of, member_chunks, with_histories
from memberlevel_spark.levels.calendar import Longs, ProgrammeCalendar
from memberlevel_spark.levels.engine import Changes, Earning, Held, Metrics, replay
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEMBER_LEVELS
from memberlevel_spark.timeline import day_number

DECIDED = "member_id string, valid_from int, level int, own_level int, reason string, metric_values array<bigint>"


@dataclass(frozen=True)
class ReplayPlan:
    """What is replayed: the days after ``held_day`` (None: from each member's first) through ``last_day``."""

    rules: LevelRules
    last_day: int
    held_day: int | None = None


def build_decisions(histories: DataFrame, plan: ReplayPlan) -> DataFrame:
    """Every change of level, one row per member and ``valid_from``.

    In: ``with_histories`` of the members; when a replay goes on from ``held_day`` also ``held_level`` and ``held_own``,
    null for who was not known then, and tiles of the programme's memory before that day suffice.
    """
    decided = histories.mapInArrow(_decisions(plan), DECIDED)
    values = F.map_from_arrays(F.array(*[F.lit(name) for name in plan.rules.metrics]), F.col("metric_values"))
    return decided.withColumns({"valid_from": F.date_from_unix_date("valid_from"), "metric_values": values})


def build_member_levels(members: DataFrame, member_days: DataFrame, rules: LevelRules, *, through: date) -> DataFrame:
    """The levels of every member on all days from the first on which the shop knew them through ``through``."""
    histories = with_histories(members, member_days, rules.metrics, rules)
    return build_stretches(build_decisions(histories, ReplayPlan(rules, day_number(through))), rules)


def build_stretches(decisions: DataFrame, rules: LevelRules) -> DataFrame:
    """Stretches from all decisions of their members: each ends where the next begins."""
    history = W.Window.partitionBy("member_id").orderBy(F.col("valid_from").asc_nulls_first())
    ended = decisions.withColumns(
        {"rules_version": F.lit(rules.version), "valid_to": F.lead("valid_from").over(history)}
    )
    return ended.select(*MEMBER_LEVELS.schema.names)


def levels_on(member_levels: DataFrame, dates: DataFrame, day: str) -> DataFrame:
    """The level each row's member showed on its ``day``: joins ``level`` by member and day, inner."""
    stretch = member_levels.select("member_id", "valid_from", "valid_to", "level")
    return dates.join(stretch, "member_id", "inner").where(holds_on(F.col(day))).drop("valid_from", "valid_to")


def holds_on(day: Column) -> Column:
    """Whether a stretch of ``member_levels`` holds on a day."""
    return (day >= F.col("valid_from")) & (F.col("valid_to").isNull() | (day < F.col("valid_to")))


def _decisions(plan: ReplayPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def decide(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in member_chunks(batch, plan.rules, plan.last_day):
                yield decide_batch(part, plan)

    return decide


def decide_batch(batch: pa.RecordBatch, plan: ReplayPlan) -> pa.RecordBatch:
    """The rows of ``DECIDED`` for a batch of members, in the order of days."""
    tiles = Tiles.of(batch, plan.rules.metrics)
    first = int(tiles.known_M.min()) if plan.held_day is None else plan.held_day + 1
    earliest = first - plan.rules.memory_days
    metrics = Metrics.of((earliest, plan.last_day), batch.num_rows, tiles.member_T, tiles.day_T, tiles.values_XT)
    calendar = ProgrammeCalendar(plan.rules.config, tiles.known_M, plan.last_day)
    earning = Earning(plan.rules, calendar, metrics, tiles.known_M)
    held = Held.nobody(batch.num_rows)
    if plan.held_day is not None:
        held = Held(_filled(batch.column("held_level"), -1), _filled(batch.column("held_own"), 0))
        for day in range(earliest, first):
            earning.see(day)
    changes = replay(earning, assignments_of(batch, plan.rules), held, (first, plan.last_day))
    return _decided(batch, changes)


def _decided(batch: pa.RecordBatch, changes: Changes) -> pa.RecordBatch:
    num_metrics = len(changes.values_XC)
    offsets = np.arange(changes.day_C.size + 1, dtype=np.int32) * num_metrics
    columns = [
        batch.column("member_id").take(pa.array(changes.member_C)),
        pa.array(changes.day_C, pa.int32()),
        pa.array(changes.level_C, pa.int32()),
        pa.array(changes.own_C, pa.int32()),
        pa.array(changes.reason_C.astype(object), pa.string()),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(changes.values_XC.T).ravel())),
    ]
    return pa.RecordBatch.from_arrays(columns, [field.split()[0] for field in DECIDED.split(", ")])


def _filled(column: pa.Array, null: int) -> Longs:
    return column.fill_null(null).to_numpy(zero_copy_only=False).astype(np.int64)
