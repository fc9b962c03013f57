"""The leakage check: no row may depend on what came after the day on which it is known.

In: a pipeline (from ``Sources`` to named frames), the sources, an as-of date. The pipeline runs again with the later
events, profiles and products deleted, and with them perturbed and others added (``futures.py``); every row known by the
as-of date must be the same in all its columns. A row is known on its ``known_from_date`` (null: not yet), on its
``as_of_date`` where it has no such column, and always where it has neither.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from memberlevel_spark.errors import LeakageError, first_five
from memberlevel_spark.features.futures import FUTURES, Cut
from memberlevel_spark.features.point_in_time import Sources

Pipeline = Callable[[Sources], Mapping[str, DataFrame]]
KNOWN_ON = ("known_from_date", "as_of_date")
KEY = ("member_id", "as_of_date")
ALWAYS = date(1970, 1, 1)
WHOLE_ROW = "(a whole row)"
# Rows looked into for the columns that differ; a leak is in many rows, a message has five.
MAX_ROWS = 50


@dataclass(frozen=True, order=True)
class Leak:
    """One column of one row that another future changed."""

    frame: str
    column: str
    key: str
    future: str

    def __str__(self) -> str:
        return f"{self.frame}.{self.column} of {self.key} by a future {self.future}"


def leakage_check(pipeline: Pipeline, cut: Cut, *, sources: Sources, expected: DataFrame | None = None) -> int:
    """Hold the frames of a pipeline against other futures after ``cut.as_of``; returns the number of rows compared.

    ``expected`` is ``known_rows`` of the pipeline on the sources, where it was made for another date already. Errors:
    LeakageError naming columns, members and dates, the first five.
    """
    told = known_rows(pipeline(sources)) if expected is None else expected
    leaks = [leak for future in FUTURES for leak in leaks_by(future, pipeline, cut, sources=sources, expected=told)]
    if leaks:
        # One of each column: five members of one column would say less.
        of_columns = {(leak.frame, leak.column): leak for leak in sorted(leaks, reverse=True)}
        raise LeakageError(
            f"what was known on {cut.as_of} depends on what came later: {first_five(of_columns.values())}. Make these"
            " columns of events up to their as-of date; features/leakage.py says how they were found."
        )
    return told.where(F.col("known_on") <= F.lit(cut.as_of)).count()


def leaks_by(future: str, pipeline: Pipeline, cut: Cut, *, sources: Sources, expected: DataFrame) -> list[Leak]:
    """What one other future changes in the ``MAX_ROWS`` first rows that it changes; empty when there is no leak."""
    other = FUTURES[future](sources, cut)
    # Read several times by one pipeline, and a long plan of their own.
    kept = [frame.persist() for frame in (other.events, other.members)]
    found = known_rows(pipeline(other))
    # Both ways, and with multiplicity: a row that is gone, is new, or is there twice differs too.
    both = expected.withColumn("side", F.lit(1)).unionAll(found.withColumn("side", F.lit(-1)))
    by_content = both.where(F.col("known_on") <= F.lit(cut.as_of)).groupBy("frame", "key", "content")
    unequal = by_content.agg(F.sum("side").alias("side")).where(F.col("side") != 0)
    try:
        rows = unequal.orderBy("frame", "key", "side").limit(2 * MAX_ROWS).collect()
    finally:
        for frame in kept:
            frame.unpersist()
    return [Leak(name, column, key, future) for (name, key), pair in _pairs(rows) for column in _columns(pair)]


def known_rows(frames: Mapping[str, DataFrame]) -> DataFrame:
    """Rows of all frames as text: ``frame``, ``known_on`` (null: not yet), ``key``, ``content`` with every column.

    JSON keeps a double to the last bit, -0.0 and null apart from 0.0.
    """
    return reduce(DataFrame.unionAll, [_as_text(name, frame) for name, frame in frames.items()])


def _as_text(name: str, frame: DataFrame) -> DataFrame:
    known_on = next((F.col(column) for column in KNOWN_ON if column in frame.columns), F.lit(ALWAYS))
    key = [F.col(column).cast("string") for column in KEY if column in frame.columns]
    return frame.select(
        F.lit(name).alias("frame"),
        known_on.alias("known_on"),
        F.concat_ws(" on ", *key).alias("key"),
        F.to_json(F.struct("*")).alias("content"),
    )


def _pairs(rows: list[Row]) -> list[tuple[tuple[str, str], list[str]]]:
    pairs: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        pairs.setdefault((row["frame"], row["key"]), []).append(row["content"])
    return list(pairs.items())


def _columns(contents: list[str]) -> list[str]:
    """The columns in which the two contents of a row differ."""
    if len(contents) != 2:
        return [WHOLE_ROW]
    # Numbers as they are written: -0.0 is not 0.0.
    before, after = (json.loads(content, parse_float=str) for content in contents)
    return [name for name in {**before, **after} if before.get(name) != after.get(name)] or [WHOLE_ROW]
