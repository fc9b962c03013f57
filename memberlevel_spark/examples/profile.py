"""What rows look like as a whole: a histogram of every number, and how often a column is null or of a new category.

In: encoded rows, or scores. Out: one ``Profile`` per part of the rows, counted by Spark in one pass. That of the
training rows is kept with the model; monitoring compares later rows with it.

Shape legend: N rows, E numbers, C flags (columns that may be null, then categories), B bins.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import WEEKLY, Encoder, Input
from memberlevel_spark.features.vocabulary import NONE, UNKNOWN

PROFILE = "profile.json"
# Standard deviations of the training rows: encoded numbers are standardised. What is not is brought to the same scale.
EDGES = tuple(step / 4 for step in range(-15, 16))
NUM_BINS = len(EDGES) + 1
# In the place of a bin: the row is flagged.
FLAG = -1
# What brings each kind of number onto the scale of the bins, from -4 to 4: amounts from nothing to nine million minor
# units, chances from .25 % to 99.75 %, numbers of orders from .02 to 55.
SCALES: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "standard": lambda value_N: value_N,
    "amount": lambda value_N: np.log1p(np.maximum(value_N, 0.0)) / 2 - 4,
    "chance": lambda value_N: _log_odds(np.clip(value_N, 1e-6, 1 - 1e-6)) / 1.5,
    "number": lambda value_N: np.log(np.maximum(value_N, 1e-6)),
}
COUNTED = "part string, position int, bin int, rows bigint"
Counts = Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class Profile:
    """Rows of each bin by the number's name; rows that are null, or of a category that is not in the vocabulary, by
    column."""

    num_rows: int
    bins: Mapping[str, tuple[int, ...]]
    nulls: Mapping[str, int]
    new_categories: Mapping[str, int]

    def to_json(self) -> str:
        """The profile as JSON; equal ones give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """Errors: ArtefactError when the text is no profile."""
        try:
            values = json.loads(text)
            bins = {name: tuple(rows) for name, rows in values["bins"].items()}
            return cls(int(values["num_rows"]), bins, values["nulls"], values["new_categories"])
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ArtefactError(
                f"a profile cannot be read: {problem!r}. Run the stages from examples to register again."
            ) from None


@dataclass(frozen=True)
class Numbers:
    """What is counted: the numbers by name, each with the scale that brings it onto the bins (``SCALES``); and the
    columns that may be null and those of categories, which are the flags."""

    scales: Mapping[str, str]
    nullable: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, encoder: Encoder) -> "Numbers":
        """What an encoder reads, but for the events. Elements of weekly tiles are never null."""
        columns = dict.fromkeys(item.column for item in encoder.inputs if not item.column.startswith(WEEKLY))
        scales = {
            name: "standard" if place < encoder.num_scaled else "amount" for place, name in enumerate(encoder.names)
        }
        return cls(scales, tuple(columns), tuple(_categories(encoder.inputs)))

    def bins_of(self, values_NE: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows per number and bin, [E, B]; a bin is closed on the left."""
        num_cells = NUM_BINS * len(self.scales)
        columns = zip(self.scales.values(), values_NE.T, strict=True)
        scaled_NE = np.stack([SCALES[scale](value_N) for scale, value_N in columns], axis=1)
        cell_NE = np.searchsorted(EDGES, scaled_NE, side="right") + np.arange(0, num_cells, NUM_BINS)
        return np.bincount(cell_NE.ravel(), minlength=num_cells).reshape(-1, NUM_BINS)

    def profile(self, counts: Counts) -> Profile:
        """From the rows of each position and bin; everything is 0 where there were no rows."""
        bins = {
            name: tuple(counts.get((place, number), 0) for number in range(NUM_BINS))
            for place, name in enumerate(self.scales)
        }
        flagged = [counts.get((place, FLAG), 0) for place in range(len(self.nullable) + len(self.categories))]
        nulls = dict(zip(self.nullable, flagged, strict=False))
        new = dict(zip(self.categories, flagged[len(self.nullable) :], strict=True))
        return Profile(sum(next(iter(bins.values()))), bins, nulls, new)


def encoded_rows(joined: DataFrame, encoder: Encoder, part: Column) -> DataFrame:
    """part, values and flags of rows that have the encoder's inputs; ``part`` is text, such as a date."""
    numbers, categories = Numbers.of(encoder), _categories(encoder.inputs)
    nothing = [F.col(column).isNull() | _is_none(column, categories) for column in numbers.nullable]
    new = [F.coalesce(F.col(column) == index, F.lit(False)) for column, index in categories.items()]
    flags = F.array(*nothing, *new)
    return joined.select(part.alias("part"), encoder.encode().alias("values"), flags.alias("flags"))


def build_counts(rows: DataFrame, numbers: Numbers) -> DataFrame:
    """Rows per part, position and bin: columns part, position, bin, rows. Flags have a position of their own each."""
    of_tasks = rows.select("part", "values", "flags").mapInArrow(_counter(numbers), COUNTED)
    return of_tasks.groupBy("part", "position", "bin").agg(F.sum("rows").alias("rows"))


def profiles_of(counted: Iterable[tuple[str, int, int, int]], numbers: Numbers) -> dict[str, Profile]:
    """The profile of each part, from the rows of ``build_counts``."""
    by_part: dict[str, dict[tuple[int, int], int]] = {}
    for part, position, number, rows in counted:
        by_part.setdefault(part, {})[position, number] = rows
    return {part: numbers.profile(counts) for part, counts in by_part.items()}


def _categories(inputs: Sequence[Input]) -> dict[str, int]:
    """Columns whose values are entries of a vocabulary, and the one that stands for a text which is none of them."""
    met: dict[str, int] = {}
    for item in inputs:
        if item.equals is not None and item.meaning is not None:
            # Of the parts of a breakdown the last stands for all others.
            met[item.column] = UNKNOWN if _of_profile(item.column) else max(item.equals, met.get(item.column, 0))
    return met


def _of_profile(column: str) -> bool:
    return column.startswith("profile_")


def _is_none(column: str, categories: Mapping[str, int]) -> Column:
    """Whether a category of the profile has no value, which is not null there."""
    return F.col(column) == NONE if column in categories and _of_profile(column) else F.lit(False)


def _log_odds(p_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(p_N) - np.log1p(-p_N))


def _counter(numbers: Numbers) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """In numpy: Spark would make a row of every single number."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            values_NE = _matrix(batch.column("values"), np.float64)[:, : len(numbers.scales)]
            flags_NC = _matrix(batch.column("flags"), np.bool_)
            parts = batch.column("part").dictionary_encode()
            part_N = parts.indices.to_numpy()
            for index, part in enumerate(parts.dictionary.to_pylist()):
                own_N = part_N == index
                yield _counted(part, numbers.bins_of(values_NE[own_N]), flags_NC[own_N].sum(axis=0))

    return count


def _counted(part: str, rows_EB: NDArray[np.int64], flagged_C: NDArray[np.int64]) -> pa.RecordBatch:
    position_M, bin_M = np.nonzero(rows_EB)
    flags_F = np.nonzero(flagged_C)[0]
    positions = np.concatenate([position_M, flags_F])
    bins = np.concatenate([bin_M, np.full(len(flags_F), FLAG)])
    rows = np.concatenate([rows_EB[position_M, bin_M], flagged_C[flags_F]])
    columns = [pa.array([part] * len(rows)), *(pa.array(each, pa.int32()) for each in (positions, bins))]
    return pa.RecordBatch.from_arrays([*columns, pa.array(rows, pa.int64())], ["part", "position", "bin", "rows"])


def _matrix(column: pa.ListArray, kind: type) -> NDArray[np.generic]:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.array(flat, dtype=kind).reshape(len(column), -1)
