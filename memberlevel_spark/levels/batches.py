"""Members with their histories as Arrow rows: how Spark hands a batch of members to the engine.

One row per member: ``known_day``; ``day`` and one array per measure (the tiles); ``manual_from``, ``manual_until`` and
``manual_level`` (levels given by hand) where a programme has them. Days are numbers. Shapes: M members, T tiles of the
batch, X metrics.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.levels.calendar import Longs
from memberlevel_spark.levels.engine import OPEN_END, Assignments
from memberlevel_spark.levels.rules import LevelRules

# Members of a batch are taken in parts of about so many running sums (8 bytes each).
MAX_SUMS = 16_000_000
MANUAL = ("manual_from", "manual_until", "manual_level")


def with_histories(members: DataFrame, member_days: DataFrame, measures: Sequence[str], rules: LevelRules) -> DataFrame:
    """One row per member with its tiles of ``measures`` and its manual levels."""
    tile = F.struct(F.unix_date("day").alias("day"), *[F.col(name) for name in measures])
    # Brought together first: lists that are begun before the shuffle cost memory and gather next to nothing.
    together = member_days.select("member_id", tile.alias("tile")).repartition("member_id")
    tiles = together.groupBy("member_id").agg(F.collect_list("tile").alias("tiles"))
    given = _manual(rules).alias("manual") if rules.config.manual else F.lit(None).alias("manual")
    known = members.groupBy("member_id").agg(F.min(F.unix_date("known_from")).alias("known_day"), given)
    arrays = [F.col(f"tiles.{name}").alias(name) for name in ("day", *measures)]
    by_hand = [F.col(f"manual.{name}").alias(name) for name in MANUAL] if rules.config.manual else []
    return known.join(tiles, "member_id", "left").select("member_id", "known_day", *arrays, *by_hand)


def _manual(rules: LevelRules) -> Column:
    level, until = manual_columns(rules)
    assert rules.config.manual is not None, "the programme has no manual levels"
    # Given for a day in the past, it holds from the day on which the shop learned of it.
    since = F.greatest("valid_from", known_from(rules.config.manual.level), known_from(rules.config.manual.until))
    row = F.struct(F.unix_date(since), F.unix_date(until), level)
    named = row.cast("struct<manual_from: int, manual_until: int, manual_level: int>")
    return F.collect_list(F.when(level.isNotNull(), named))


def known_from(attribute: str) -> Column:
    """The day from which the shop knew what a row of ``members`` says of an attribute."""
    return F.coalesce(F.element_at("corrected_from", F.lit(attribute)), F.col("known_from"))


def manual_columns(rules: LevelRules) -> tuple[Column, Column]:
    """Number of the level a profile gives by hand (null: none), and the day on which it ends (null: never)."""
    manual = rules.config.manual
    assert manual is not None, "the programme has no manual levels"
    numbers = F.create_map(*[F.lit(item) for number, name in enumerate(rules.names) for item in (name, number)])
    given = F.element_at("attributes", manual.level)
    return F.element_at(numbers, given), F.element_at("attributes", manual.until).try_cast("date")


@dataclass(frozen=True)
class Tiles:
    """The tiles of a batch, one after the other."""

    known_M: Longs
    member_T: Longs
    day_T: Longs
    values_XT: Longs

    @classmethod
    def of(cls, batch: pa.RecordBatch, measures: Sequence[str]) -> "Tiles":
        """``measures`` in the order of the rows of ``values_XT``."""
        values = [flat(batch.column(name)) for name in measures]
        return cls(
            known_M=batch.column("known_day").to_numpy().astype(np.int64),
            member_T=member_index(batch.column("day")),
            day_T=flat(batch.column("day")),
            values_XT=np.stack(values).reshape(len(measures), -1),
        )


def assignments_of(batch: pa.RecordBatch, rules: LevelRules) -> Assignments:
    """The manual levels of a batch of members."""
    exactly = rules.config.manual is not None and rules.config.manual.mode == "exactly"
    if MANUAL[0] not in batch.schema.names:
        none = np.zeros(0, dtype=np.int64)
        return Assignments.of((none, none, none, none), exactly=exactly)
    first, until, level = (batch.column(name) for name in MANUAL)
    ends = until.flatten().cast(pa.int64()).fill_null(OPEN_END).to_numpy(zero_copy_only=False)
    return Assignments.of((member_index(first), flat(first), ends, flat(level)), exactly=exactly)


def member_chunks(batch: pa.RecordBatch, rules: LevelRules, last_day: int) -> Iterator[pa.RecordBatch]:
    """The batch in parts whose running sums fit the memory of a worker; nothing for an empty batch."""
    if not batch.num_rows:
        return
    first_day = int(np.min(batch.column("known_day").to_numpy())) - rules.memory_days
    num_members = max(1, MAX_SUMS // (max(last_day - first_day, 1) * len(rules.metrics)))
    for start in range(0, batch.num_rows, num_members):
        yield batch.slice(start, num_members)


def flat(lists: pa.ListArray) -> Longs:
    """The elements of all lists, one list after the other; a null list has none."""
    return np.asarray(lists.flatten().to_numpy(zero_copy_only=False)).astype(np.int64)


def member_index(lists: pa.ListArray) -> Longs:
    """The row of each element of ``flat``."""
    lengths = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
