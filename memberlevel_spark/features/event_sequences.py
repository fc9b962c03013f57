"""Event sequences: the last events of each member before each as-of date, as arrays of one length.

In: ``members`` and the rows of ``recent_events.py``. Out: ``member_event_sequences``, one row per member and as-of date
on which the member was known; ``num_events`` is the true length, newest event first, 0 behind the oldest.

The rows go to the kernel sorted by member and time, not as arrays of arrays: Spark builds nothing per member, and a
batch of whole members is one numpy problem.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.features.kernel_axes import LAST_DAY, Longs, Questions
from memberlevel_spark.features.kernel_events import RecentEvents
from memberlevel_spark.features.recent_events import SequencePlan
from memberlevel_spark.features.vocabulary import NONE, UNKNOWN, indices
from memberlevel_spark.ingest.canonical import EVENT_TYPES
from memberlevel_spark.schemas import EVENT_ARRAYS, MEMBER_EVENT_SEQUENCES

# Raised when the same events would give other numbers; stamped beside the vocabulary.
LAYOUT = 1
# Elements of one array over the rows of an outgoing batch: 4 to 8 bytes each, nine arrays.
MAX_ELEMENTS = 1 << 19
ARROW_TYPES = {"int": pa.int32(), "bigint": pa.int64(), "float": pa.float32()}


def build_event_sequences(members: DataFrame, recent: DataFrame, plan: SequencePlan) -> DataFrame:
    """Sequences of all members known on each date, silent ones included; never null.

    ``age_seconds`` run from the event to the end of the as-of date in the business zone, ``gap_seconds`` from the
    member's event before it, shown or not; the first event ever has gap 0.
    """
    known = members.groupBy("member_id").agg(F.min(F.unix_date("known_from")).alias("known_day"))
    rows = known.unionByName(recent, allowMissingColumns=True)
    # By a hash of the member, not the member: both sides of the union may be partitioned by member already, each in
    # another number of parts, and Spark then leaves this shuffle out and lays part beside part.
    # A member's own row has no day and comes first.
    in_order = rows.repartition(F.xxhash64("member_id")).sortWithinPartitions(
        "member_id", F.col("day").asc_nulls_first(), "event_ts", "event_id"
    )
    read = in_order.drop("event_ts", "event_id")
    arrays = ", ".join(f"{name} array<{kind.simpleString()}>" for name, kind in EVENT_ARRAYS.items())
    sequences = read.mapInArrow(_kernel(plan), f"member_id string, as_of_day int, num_events int, {arrays}")
    as_of_date = F.date_from_unix_date("as_of_day").alias("as_of_date")
    return sequences.select("*", as_of_date).select(*MEMBER_EVENT_SEQUENCES.schema.names)


def _kernel(plan: SequencePlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in whole_members(batches):
            yield from sequences_of(batch, plan)

    return compute


def whole_members(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, sorted by member, in batches none of which ends in the midst of a member."""
    rest: pa.RecordBatch | None = None
    for batch in batches:
        joined = batch if rest is None else pa.concat_batches([rest, batch])
        last = int(_starts(joined)[-1]) if joined.num_rows else 0
        if last:
            yield joined.slice(0, last)
        rest = joined.slice(last)
    if rest is not None and rest.num_rows:
        yield rest


def sequences_of(batch: pa.RecordBatch, plan: SequencePlan) -> Iterator[pa.RecordBatch]:
    """All as-of dates of a batch of whole members, in parts that a worker's memory holds."""
    starts_M = _starts(batch)
    ends_M = np.append(starts_M[1:], batch.num_rows)
    step = max(1, MAX_ELEMENTS // (len(plan.as_of_dates) * plan.num_events))
    for first in range(0, len(starts_M), step):
        start, end = starts_M[first], ends_M[min(first + step, len(ends_M)) - 1]
        yield _sequences(batch.slice(start, end - start), starts_M[first : first + step] - start, plan)


def _sequences(batch: pa.RecordBatch, starts_M: Longs, plan: SequencePlan) -> pa.RecordBatch:
    known_M, is_event_R = _known(batch, starts_M)
    days_A = np.asarray(plan.as_of_days, dtype=np.int64)
    member_Q, date_Q = np.nonzero(known_M[:, None] <= days_A[None, :])
    member_E = np.repeat(np.arange(len(starts_M)), np.diff(starts_M, append=batch.num_rows))[is_event_R]
    given = batch.filter(pa.array(is_event_R))
    asked = Questions(member_Q.astype(np.int64), days_A[date_Q])
    recent = RecentEvents(
        asked, member_E, day_E=_longs(given, "day"), num_members=len(starts_M), length=plan.num_events
    )
    second_E, end_A = _longs(given, "second"), np.asarray(plan.end_seconds, dtype=np.int64)
    arrays = {name: recent.values(values_E) for name, values_E in _coded(given, plan).items()}
    arrays["age_seconds"] = recent.age_seconds(second_E, end_A[date_Q])
    arrays["gap_seconds"] = recent.gap_seconds(second_E)
    columns = [
        batch.column("member_id").take(pa.array(starts_M[member_Q])),
        pa.array(asked.as_of_Q, pa.int32()),
        pa.array(recent.num_Q, pa.int32()),
        *[_lists(arrays[name], ARROW_TYPES[kind.simpleString()]) for name, kind in EVENT_ARRAYS.items()],
    ]
    return pa.RecordBatch.from_arrays(columns, ["member_id", "as_of_day", "num_events", *EVENT_ARRAYS])


def _known(batch: pa.RecordBatch, starts_M: Longs) -> tuple[Longs, np.ndarray]:
    """First day of every member and which rows are events; a member without a row of its own is never known."""
    day_R = batch.column("known_day").fill_null(LAST_DAY).to_numpy(zero_copy_only=False)
    is_event_R = batch.column("known_day").is_null().to_numpy(zero_copy_only=False)
    return day_R[starts_M].astype(np.int64), is_event_R


def _coded(given: pa.RecordBatch, plan: SequencePlan) -> dict[str, np.ndarray]:
    """What an event carries as it is, and its texts as indices; types are those of the code, so none is unknown."""
    plain = {
        name: given.column(name).to_numpy(zero_copy_only=False)
        for name in ("amount_log", "hour", "weekday", "product_bucket")
    }
    return {
        **plain,
        "event_type": indices(given.column("event_type"), EVENT_TYPES, missing=NONE) - 1,
        "category": indices(given.column("category"), plan.categories, missing=UNKNOWN),
        "channel": indices(given.column("channel"), plan.channels, missing=UNKNOWN),
    }


def _starts(batch: pa.RecordBatch) -> Longs:
    """The first row of each member."""
    ids = batch.column("member_id")
    changes = pc.not_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0)))
    return np.flatnonzero(np.append(True, changes.to_numpy(zero_copy_only=False))).astype(np.int64)


def _longs(batch: pa.RecordBatch, name: str) -> Longs:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False)).astype(np.int64)


def _lists(values_QL: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    offsets = np.arange(len(values_QL) + 1, dtype=np.int32) * values_QL.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values_QL.ravel(), kind))
