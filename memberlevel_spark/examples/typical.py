"""The typical member of each level: the mean of the encoded features over the training rows that held it.

In: ``examples``. Out: one row of means per level, kept as JSON in the bundle; reasons compare a member with it.

Shape legend: N rows, K levels, P elements of the array before the events.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row

from memberlevel_spark.errors import ArtefactError

TYPICAL = "typical.json"
# Sums of integers, so that they do not depend on the order in which partitions arrive.
_FIXED_POINT = 1_000_000
_SUMS = "level int, num_rows bigint, totals array<string>"


@dataclass(frozen=True)
class TypicalMembers:
    """``means`` of each level, lowest first; a level that no training row held has those of all rows."""

    means: tuple[tuple[float, ...], ...]

    def array(self) -> NDArray[np.float32]:
        """The means [K, P]."""
        return np.array(self.means, dtype=np.float32)

    def to_json(self) -> str:
        """As JSON; equal means give equal text."""
        return json.dumps({"means": self.means})

    @classmethod
    def from_json(cls, text: str) -> "TypicalMembers":
        """Errors: ArtefactError when the text is not the means of levels."""
        try:
            means = tuple(tuple(float(number) for number in level) for level in json.loads(text)["means"])
            if len({len(level) for level in means}) != 1:
                raise ValueError("levels of different length")
        except (ValueError, KeyError, TypeError) as problem:
            raise ArtefactError(
                f"the typical members cannot be read: {problem!r}. Run the stages examples, train and register again."
            ) from None
        return cls(means)

    @classmethod
    def of_sums(cls, sums: list[Row], num_levels: int) -> "TypicalMembers":
        """From the rows of ``build_sums``, collected; there is one at least."""
        totals: list[Any] = [0] * num_levels
        counts = [0] * num_levels
        for row in sums:
            totals[row["level"]] = totals[row["level"]] + np.array([int(text) for text in row["totals"]], dtype=object)
            counts[row["level"]] += row["num_rows"]
        of_all = sum(totals), sum(counts)
        by_level = [held if held[1] else of_all for held in zip(totals, counts, strict=True)]
        return cls(tuple(tuple(float(t / _FIXED_POINT / count) for t in total) for total, count in by_level))


def build_sums(training_rows: DataFrame, *, num_elements: int) -> DataFrame:
    """Per task and level: its rows, and sums of the first ``num_elements`` of ``features``, as text."""

    def sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals: dict[int, Any] = {}
        counts: dict[int, int] = {}
        for batch in batches:
            if not batch.num_rows:
                continue
            level_N = batch.column("level_now").to_numpy()
            values_NE = batch.column("features").flatten().to_numpy(zero_copy_only=False)
            values_NP = values_NE.reshape(len(level_N), -1)[:, :num_elements].astype(np.float64)
            for level in np.unique(level_N).tolist():
                own_NP = np.rint(values_NP[level_N == level] * _FIXED_POINT)
                # What a level lacks may pass 64 bits when it is added up, so Python's integers do it.
                added = own_NP.astype(object).sum(axis=0) if np.abs(own_NP).max() > 1e14 else _summed(own_NP)
                totals[level] = totals.get(level, 0) + added
                counts[level] = counts.get(level, 0) + len(own_NP)
        if counts:
            levels = sorted(counts)
            texts = [[str(int(number)) for number in totals[level]] for level in levels]
            columns = [pa.array(levels, pa.int32()), pa.array([counts[level] for level in levels]), pa.array(texts)]
            yield pa.record_batch(columns, names=["level", "num_rows", "totals"])

    return training_rows.select("level_now", "features").mapInArrow(sums, _SUMS)


def _summed(own_NP: NDArray[np.float64]) -> NDArray[np.object_]:
    """Sums of at most some ten thousand numbers of at most 1e14: below 2^63."""
    return own_NP.astype(np.int64).sum(axis=0).astype(object)
