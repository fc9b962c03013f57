"""Features of many as-of dates in one pass: one row per member with its tiles as arrays, through the numpy kernel.

In: ``members`` (when the shop knew them first) and ``member_days``. Out: one row per member and as-of date on which the
member was known, with ``values`` (declared window features, then recency), ``weekly`` (weekly sums per measure, newest
first) and ``metric_now`` / ``metric_carry_over`` of the level rules.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.features.kernel import Longs, TileAxis, weekly_sums, windowed

EPOCH = date(1970, 1, 1)
WINDOWED_SCHEMA = (
    "member_id string, as_of_day int, known_day int, values array<bigint>, weekly array<bigint>,"
    " metric_now bigint, metric_carry_over bigint"
)


@dataclass(frozen=True)
class WindowPlan:
    """What the kernel computes; plain values only, since it travels to the executors."""

    measures: tuple[str, ...]
    as_of_days: tuple[int, ...]
    windows_days: tuple[int, ...]
    sequence_weeks: int
    level_measure: int
    order_measure: int
    metric_days: int
    carry_over_days: int


def days_since_epoch(days: Sequence[date]) -> tuple[int, ...]:
    """Days since 1970-01-01, ascending."""
    return tuple(sorted((day - EPOCH).days for day in days))


def build_windows(members: DataFrame, member_days: DataFrame, plan: WindowPlan) -> DataFrame:
    """Run the kernel over all members; tiles after an as-of date are never looked at for that date."""
    day = F.unix_date("day")
    tiles = member_days.groupBy("member_id").agg(
        F.collect_list(F.struct(day.alias("day"), *[F.col(name) for name in plan.measures])).alias("tiles")
    )
    known = members.groupBy("member_id").agg(F.min(F.unix_date("valid_from")).alias("known_day"))
    rows = known.join(tiles, "member_id", "left").select(
        "member_id",
        "known_day",
        F.col("tiles.day").alias("day"),
        *[F.col(f"tiles.{name}").alias(name) for name in plan.measures],
    )
    return rows.mapInArrow(_kernel(plan), WINDOWED_SCHEMA)


def _kernel(plan: WindowPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield compute_batch(batch, plan)

    return compute


def compute_batch(batch: pa.RecordBatch, plan: WindowPlan) -> pa.RecordBatch:
    """All as-of dates of a batch of members; rows in the order of members, then dates."""
    known_day = batch.column("known_day").to_numpy().astype(np.int64)
    member_Q, as_of_Q = _questions(known_day, np.asarray(plan.as_of_days, dtype=np.int64))
    axis = _axis(batch, plan.measures)
    sums, counts = windowed(axis, member_Q, as_of_Q, plan.windows_days)
    per_measure = np.concatenate([sums, counts], axis=1).reshape(-1, member_Q.size)
    last, first = axis.last_and_first(plan.order_measure, member_Q, as_of_Q)
    weekly = weekly_sums(axis, member_Q, as_of_Q, plan.sequence_weeks)
    metric = [axis.window_sums(member_Q, as_of_Q - n, as_of_Q) for n in (plan.metric_days, plan.carry_over_days)]
    columns = [
        batch.column("member_id").take(pa.array(member_Q)),
        pa.array(as_of_Q, pa.int32()),
        pa.array(known_day[member_Q], pa.int32()),
        _fixed_lists(np.vstack([per_measure, last, first]).T),
        _fixed_lists(weekly.transpose(1, 0, 2).reshape(member_Q.size, -1)),
        *[pa.array(sums_MQ[plan.level_measure]) for sums_MQ in metric],
    ]
    names = [field.split()[0] for field in WINDOWED_SCHEMA.split(", ")]
    return pa.RecordBatch.from_arrays(columns, names)


def _questions(known_day: Longs, as_of_days: Longs) -> tuple[Longs, Longs]:
    """Every member with every as-of date from the day the shop knew them."""
    member, date_index = np.nonzero(known_day[:, None] <= as_of_days[None, :])
    return member.astype(np.int64), as_of_days[date_index]


def _axis(batch: pa.RecordBatch, measures: Sequence[str]) -> TileAxis:
    days = batch.column("day")
    lengths = np.nan_to_num(days.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    member_T = np.repeat(np.arange(batch.num_rows, dtype=np.int64), lengths)
    day_T = days.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    values = [batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in measures]
    return TileAxis.of(member_T, day_T, np.stack(values).astype(np.int64).reshape(len(measures), -1))


def _fixed_lists(rows: Longs) -> pa.ListArray:
    num_rows, width = rows.shape
    offsets = np.arange(num_rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(rows).ravel()))
