"""The encoder: from named features to the one array<float> that training and scoring both read.

Fitted on training rows only; kept as JSON in the bundle; the same function encodes for both. Numbers go through
a signed log1p, are standardised and clipped, or become normal scores of the training rows' quantiles
(``quantiles.py``); the level held now is one-hot. A null takes the value of its declaration.
After them come the needs, which stay as they are: what a level's metric lacks to each level on the label date; and, for
a model that reads them, the last events.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.examples.event_inputs import EventInputs
from memberlevel_spark.examples.quantiles import Knots, fit_knots, normal_scores, of_normal_scores
from memberlevel_spark.examples.signed_log import signed_exp, signed_log
from memberlevel_spark.models.spec import Components
from memberlevel_spark.schemas import MEMBER_EVENT_SEQUENCES

CLIP = 5.0
WEEKLY = "weekly_"
# Fitting sums integers, so that the result does not depend on the order in which partitions arrive.
FIXED_POINT = 1_000_000
# So many squares of a fixed-point logarithm, at most 4.4e7 of a 64-bit number, add up within 64 bits.
ROWS_PER_SUM = 4096
ENCODED = T.ArrayType(T.FloatType(), containsNull=False)
Numbers = Literal["standard", "quantile"]
PARTIAL_SUMS = "num_rows bigint, totals array<string>, squares array<string>"


@dataclass(frozen=True)
class Input:
    """One number the encoder reads: a column, element ``index`` of an array column, or whether a column ``equals``.

    ``meaning`` is the digest of a column whose values mean nothing without it, such as the indices of a vocabulary.
    """

    column: str
    index: int | None = None
    when_null: int = 0
    equals: int | None = None
    meaning: str | None = None

    @property
    def name(self) -> str:
        """The column's name, with the element's index for an array, or with the value it is compared with."""
        if self.equals is not None:
            return f"{self.column}_is_{self.equals}"
        return self.column if self.index is None else f"{self.column}_{self.index}"

    @property
    def sql(self) -> str:
        """The number as double, never null."""
        element = f"`{self.column}`" + ("" if self.index is None else f"[{self.index}]")
        element = element if self.equals is None else f"({element} = {self.equals})"
        return f"coalesce(cast({element} AS double), {float(self.when_null)}D)"

    def numbers(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The same as ``sql`` of columns [N], of an array column [N, its length], in which NaN is null."""
        element_N = columns[self.column] if self.index is None else columns[self.column][:, self.index]
        is_null_N = np.isnan(element_N)
        element_N = element_N if self.equals is None else (element_N == self.equals).astype(np.float64)
        return np.where(is_null_N, float(self.when_null), element_N)


@dataclass(frozen=True)
class Need:
    """What one metric lacks to one level above the lowest: a ``column`` of the features, or always the same number."""

    metric: str
    level: int
    column: str | None = None
    always: float = 0.0

    @property
    def name(self) -> str:
        """``needs_spend_cents_to_level_1``."""
        return f"needs_{self.metric}_to_level_{self.level}"

    @property
    def value(self) -> Column:
        """The amount as float, never null: nothing where the level is reached on the label date by itself."""
        lacking = F.lit(self.always) if self.column is None else F.col(self.column)
        return F.when(F.col("level_if_idle") >= self.level, F.lit(0.0)).otherwise(lacking).cast("float")

    def numbers(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
        """The same as ``value`` of columns [N]."""
        level_N = columns["level_if_idle"]
        lacking_N = np.full_like(level_N, self.always) if self.column is None else columns[self.column]
        return np.where(level_N >= self.level, 0.0, lacking_N).astype(np.float32)


@dataclass(frozen=True)
class Encoder:
    """Fitted encoder: ``means`` and ``deviations`` are of the signed log1p of each input over the training rows.

    ``next_categories`` are not read: they are what a model tells apart of the first order to come, most frequent first.
    With ``quantiles``, the training rows' of each input, there are neither means nor deviations. ``components``
    are for networks that read them instead of the elements before the needs; the array is the same.
    """

    inputs: tuple[Input, ...]
    num_levels: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    needs: tuple[Need, ...] = ()
    events: EventInputs | None = None
    next_categories: tuple[str, ...] = ()
    quantiles: tuple[Knots, ...] = ()
    components: Components = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every element of the encoded array before the events."""
        levels = (f"level_now_is_{k}" for k in range(self.num_levels))
        return (*(item.name for item in self.inputs), *levels, *(need.name for need in self.needs))

    def names_of(self, columns: Collection[str]) -> frozenset[str]:
        """Names of the inputs and needs that are read from one of the columns."""
        read: tuple[Input | Need, ...] = (*self.inputs, *self.needs)
        return frozenset(each.name for each in read if each.column in columns)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose columns are read."""
        return input_tables(self.events)

    @property
    def num_features(self) -> int:
        """Number of elements of the encoded array."""
        return len(self.names) + (self.events.num_values if self.events else 0)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose needs are in the array, in their order."""
        return tuple(dict.fromkeys(need.metric for need in self.needs))

    @property
    def num_scaled(self) -> int:
        """Number of elements before the needs."""
        return len(self.inputs) + self.num_levels

    @property
    def num_weekly(self) -> tuple[int, int]:
        """Number of measures and of weeks of the weekly tiles, which are the last inputs."""
        weekly = [item for item in self.inputs if item.column.startswith(WEEKLY)]
        num_measures = len({item.column for item in weekly})
        return num_measures, len(weekly) // max(num_measures, 1)

    @classmethod
    def fit(
        cls,
        training_rows: DataFrame,
        inputs: Sequence[Input],
        num_levels: int,
        *,
        needs: Sequence[Need] = (),
        events: EventInputs | None = None,
        numbers: Numbers = "standard",
    ) -> "Encoder":
        """Measure mean and standard deviation of each input, 1 where it never varies; or its quantiles.

        Errors: ArtefactError when there are no rows.
        """
        raw = training_rows.select(_raw(inputs).alias("raw"))
        moments = _moments(raw) if numbers == "standard" else []
        quantiles = fit_knots(raw, len(inputs)) if numbers == "quantile" else ()
        if not (moments or quantiles):
            raise ArtefactError(
                "there are no training rows to fit the encoder on. Check timeline.train and the labels."
            )
        means, deviations = zip(*moments, strict=True) if moments else ((), ())
        return cls(tuple(inputs), num_levels, means, deviations, tuple(needs), events, quantiles=quantiles)

    def encode(self) -> Column:
        """The encoded features as array<float> without nulls, for rows that have the input columns and level_now."""
        to_matrix, read = self.matrix, self.events

        # In numpy: Spark interprets what higher-order functions are given, and its logarithm is ten times slower.
        @F.arrow_udf(ENCODED)  # type: ignore[call-overload]
        def encoded(raw: pa.Array, level_now: pa.Array, needs: pa.Array, events: pa.Array) -> pa.Array:
            level_now_N = level_now.to_numpy(zero_copy_only=False)
            features_NE = to_matrix(_matrix(raw), level_now_N, _matrix(needs), read.matrix(events) if read else None)
            offsets = pa.array(np.arange(len(raw) + 1, dtype=np.int32) * features_NE.shape[1])
            return pa.ListArray.from_arrays(offsets, pa.array(features_NE.ravel()))

        needs = F.array(*[need.value for need in self.needs]) if self.needs else F.array().cast("array<float>")
        events = self.events.value if self.events else F.lit(False)
        return encoded(_raw(self.inputs), F.col("level_now"), needs, events)

    def encode_columns(
        self, columns: Mapping[str, NDArray[np.float64]], events: pa.StructArray | None = None
    ) -> NDArray[np.float32]:
        """What ``encode`` gives, to the bit, of columns in memory, with NaN for null: [N, num_features].

        ``events`` are rows of ``EventInputs.value``, where the model reads them. Errors: ArtefactError when a column is
        missing.
        """
        self._require(columns)
        level_now_N = columns["level_now"]
        raw_NF = np.stack([item.numbers(columns) for item in self.inputs], axis=1)
        needs = [need.numbers(columns) for need in self.needs]
        needs_NX = np.stack(needs, axis=1) if needs else np.empty((len(level_now_N), 0), dtype=np.float32)
        return self.matrix(raw_NF, level_now_N, needs_NX, self.events.matrix(events) if self.events else None)

    def matrix(
        self,
        raw_NF: NDArray[np.float64],
        level_now_N: NDArray[Any],
        needs_NX: NDArray[Any],
        events_NV: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The encoded features [N, num_features] of raw inputs, levels, needs and what is read of events."""
        level_NK = level_now_N[:, None] == np.arange(self.num_levels)
        parts = [self._all_scaled(raw_NF), level_NK, needs_NX, *([] if events_NV is None else [events_NV])]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def decode(self, name: str, features_NE: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw values [N] of one input from encoded features, as far as they were not clipped. Errors: KeyError."""
        place = {given: place for place, given in enumerate(self.names)}[name]
        return self.unscaled(place, features_NE[:, place])

    def scaled(self, place: int, raw_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """What raw values of the input at a place become, between -CLIP and CLIP."""
        if self.quantiles:
            return normal_scores(raw_N, self.quantiles[place])
        return np.clip((signed_log(raw_N) - self.means[place]) / self.deviations[place], -CLIP, CLIP)

    def unscaled(self, place: int, encoded_N: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw values of the input at a place; what was clipped lies on its bound."""
        encoded = encoded_N.astype(np.float64)
        if self.quantiles:
            return of_normal_scores(encoded, self.quantiles[place])
        return signed_exp(encoded * self.deviations[place] + self.means[place])

    def _all_scaled(self, raw_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same as ``scaled`` of each input, at once where that is faster."""
        if self.quantiles:
            return np.stack([self.scaled(place, raw_N) for place, raw_N in enumerate(raw_NF.T)], axis=1)
        return np.clip((signed_log(raw_NF) - np.array(self.means)) / np.array(self.deviations), -CLIP, CLIP)

    def to_json(self) -> str:
        """The encoder as JSON; equal encoders give equal text. What came later is in it only where there is any."""
        later = ("next_categories", "quantiles", "components")
        return json.dumps(
            {name: kept for name, kept in asdict(self).items() if kept or name not in later}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> "Encoder":
        """Errors: ArtefactError when the text is not an encoder."""
        try:
            values = json.loads(text)
            inputs = tuple(Input(**item) for item in values["inputs"])
            needs = tuple(Need(**item) for item in values["needs"])
            read = values["events"]
            events = EventInputs(read["num_events"], tuple(read["sizes"]), read["meaning"]) if read else None
            moments = tuple(values["means"]), tuple(values["deviations"])
            told = tuple(values.get("next_categories", ()))
            quantiles = tuple(tuple(of_input) for of_input in values.get("quantiles", ()))
            components = tuple(tuple(of_array) for of_array in values.get("components", ()))
            if any(len(scales) != len(inputs) for scales in ([quantiles] if quantiles else moments)):
                raise ValueError(f"{len(inputs)} inputs, and not as many scales")
            return cls(inputs, values["num_levels"], *moments, needs, events, told, quantiles, components)
        except (ValueError, KeyError, TypeError) as problem:
            raise ArtefactError(f"an encoder cannot be read: {problem!r}. Run the stage examples again.") from None

    def require_columns(self, frame: DataFrame) -> None:
        """Errors: ArtefactError when the frame lacks a column the encoder was fitted on."""
        self._require(frame.columns)

    def _require(self, columns: Collection[str]) -> None:
        lacking = {need.column for need in self.needs if need.column} | ({"level_if_idle"} if self.needs else set())
        missing = ({item.column for item in self.inputs} | lacking) - set(columns)
        if missing:
            raise ArtefactError(
                f"features the model was trained on are missing: {first_five(missing)}. Train a model on the present"
                " declarations, or run features with the declarations of the model."
            )

    def require_meaning(self, published: Mapping[str, str]) -> None:
        """``published``: digest of each column by its name.

        Errors: ArtefactError when a column has its name and another meaning than the encoder was fitted on.
        """
        meanings = {i.column: i.meaning for i in self.inputs if i.meaning is not None}
        if self.events:
            meanings[MEMBER_EVENT_SEQUENCES.name] = self.events.meaning
        wrong = {column for column, meaning in meanings.items() if published.get(column) != meaning}
        if wrong:
            raise ArtefactError(
                f"features mean something else than the model was trained on: {first_five(wrong)}. Train a model on"
                " the present features, or make them again with the vocabulary of the model."
            )


def input_tables(events: EventInputs | None) -> tuple[str, ...]:
    """The tables an encoder reads, with or without the last events."""
    plain = ("member_features", "member_sequences")
    return (*plain, MEMBER_EVENT_SEQUENCES.name) if events else plain


def _raw(inputs: Sequence[Input]) -> Column:
    # As text: the calls that it takes to build some hundred columns are slower than the query.
    return F.expr(f"array({', '.join(item.sql for item in inputs)})")


def _matrix(rows: pa.Array) -> NDArray[np.float64]:
    """Rows of an array column as [N, F]; there are some, and none of their elements is null."""
    return np.asarray(rows.flatten().to_numpy(zero_copy_only=False)).reshape(len(rows), -1)


def _partial_sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Per task: its rows, and the sums of each input and of its square, as text since they pass 64 bits."""
    num_rows = 0
    totals: Any = 0
    squares: Any = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        raw_NF = _matrix(batch.column("raw"))
        for start in range(0, batch.num_rows, ROWS_PER_SUM):
            rows = np.rint(signed_log(raw_NF[start : start + ROWS_PER_SUM]) * FIXED_POINT).astype(np.int64)
            totals = totals + rows.sum(axis=0).astype(object)
            squares = squares + np.square(rows).sum(axis=0).astype(object)
        num_rows += batch.num_rows
    if num_rows:
        sums = [pa.array([[str(number) for number in each]]) for each in (totals, squares)]
        yield pa.record_batch([pa.array([num_rows]), *sums], names=["num_rows", "totals", "squares"])


def _moments(raw: DataFrame) -> list[tuple[float, float]]:
    """Mean and deviation of each element of the array ``raw``; nothing without rows."""
    parts = raw.mapInArrow(_partial_sums, PARTIAL_SUMS).collect()
    totals, squares = (_added_up([part[name] for part in parts]) for name in ("totals", "squares"))
    num_rows = sum(part["num_rows"] for part in parts)
    return [_mean_and_deviation(num_rows, *sums) for sums in zip(totals, squares, strict=True)]


def _added_up(parts: Sequence[Sequence[str]]) -> list[int]:
    return [sum(int(number) for number in numbers) for numbers in zip(*parts, strict=True)]


def _mean_and_deviation(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and population standard deviation from exact integer sums of fixed-point values."""
    variance = (count * squares - total * total) / (count * count)
    deviation = math.sqrt(variance) / FIXED_POINT
    return total / count / FIXED_POINT, deviation if deviation > 1e-6 else 1.0
