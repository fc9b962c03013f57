"""Reasons: what speaks for and against each member's chances, in words.

In: rows of member_id, as_of_date, level_now and ``features``. Out: ``member_reasons``, one row per member, as-of date
and model version.

A reason is a topic and its effect, in probability: what this topic makes of the difference between the member and the
typical member of the same level. Effects add up to that difference, but for ``unexplained_...``, the error of a
numerical integral. They are of the network's own chances, before calibrators.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.forecast_schemas import EXPLAINED, MEMBER_REASONS
from memberlevel_spark.scoring.apply import KEPT, feature_matrix, with_result
from memberlevel_spark.scoring.predictor import PackedModel, attributions
from memberlevel_spark.scoring.topics import EVENTS, STANDING

# Per outcome, before the effects of the topics.
NUM_FACTS = 3


@dataclass(frozen=True)
class Reasoner:
    """What explains: the model, the typical member of each level [K][X], the topic of each encoded feature [P], and the
    number of points of the integral."""

    model: PackedModel
    typical: NDArray[np.float32]
    topics: tuple[str, ...]
    num_steps: int

    @property
    def words(self) -> tuple[str, ...]:
        """Every topic once, in the order of the effects; that of the events is the last."""
        return (*dict.fromkeys((STANDING, *self.topics)), EVENTS)

    def explain(self, features_NE: NDArray[np.float32], level_now_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Per outcome: chance, typical chance, what is unexplained, and the effect of each of ``words``; in one row."""
        found = attributions(self.model, features_NE, level_now_N, self.typical, num_steps=self.num_steps)
        place = {word: number for number, word in enumerate(self.words)}
        topic_PW = np.zeros((len(self.topics), len(place)))
        topic_PW[np.arange(len(self.topics)), [place[topic] for topic in self.topics]] = 1
        effects_NOW = found.parts_NOP @ topic_PW
        effects_NOW[:, :, place[STANDING]] += found.needs_NO
        effects_NOW[:, :, place[EVENTS]] += found.events_NO
        facts_NO3 = np.stack([found.chance_NO, found.typical_NO, found.unexplained_NO], axis=2)
        return np.concatenate([facts_NO3, effects_NOW], axis=2).reshape(len(features_NE), -1)


def build_reasons(encoded: DataFrame, reasoner: Reasoner, model_version: str) -> DataFrame:
    """Explain every row; reasons of the largest effect come first, those without any effect are left out."""
    kept = ", ".join(f"{name} {encoded.schema[name].dataType.simpleString()}" for name in KEPT)
    explained = encoded.select(*KEPT, "features").mapInArrow(_mapper(reasoner), f"{kept}, explained array<double>")
    width = NUM_FACTS + len(reasoner.words)
    columns: list[Column] = []
    for number, outcome in enumerate(EXPLAINED):
        first = number * width
        facts = dict(enumerate((f"p_{outcome}", f"typical_p_{outcome}", f"unexplained_p_{outcome}")))
        columns += [F.element_at("explained", first + 1 + place).alias(name) for place, name in facts.items()]
        columns.append(_reasons(reasoner.words, first + NUM_FACTS).alias(f"reasons_{outcome}"))
    named = explained.select(*KEPT, F.lit(model_version).alias("model_version"), *columns)
    return named.select(*MEMBER_REASONS.schema.names)


def _reasons(words: tuple[str, ...], first: int) -> Column:
    told = [
        F.struct(F.lit(word).alias("topic"), F.element_at("explained", first + 1 + place).alias("effect"))
        for place, word in enumerate(words)
    ]
    by_size = F.array_sort(F.array(*told), lambda a, b: _order(a, b))
    return F.filter(by_size, lambda reason: reason["effect"] != 0)


def _order(a: Column, b: Column) -> Column:
    """Largest effect first, whichever its sign; equal ones by their topic."""
    size_a, size_b = F.abs(a["effect"]), F.abs(b["effect"])
    by_topic = F.when(a["topic"] < b["topic"], -1).when(a["topic"] > b["topic"], 1).otherwise(0)
    return F.when(size_a > size_b, -1).when(size_a < size_b, 1).otherwise(by_topic)


def told_reasons(explained: Sequence[float], words: tuple[str, ...]) -> dict[str, Any]:
    """What ``build_reasons`` makes of one row of ``Reasoner.explain``: chances and sorted reasons, by column."""
    columns: dict[str, Any] = {}
    width = NUM_FACTS + len(words)
    for number, outcome in enumerate(EXPLAINED):
        chance, typical, unexplained, *effects = explained[number * width : (number + 1) * width]
        by_size = sorted(zip(words, effects, strict=True), key=lambda reason: (-abs(reason[1]), reason[0]))
        columns |= {f"p_{outcome}": chance, f"typical_p_{outcome}": typical}
        columns[f"reasons_{outcome}"] = [{"topic": word, "effect": effect} for word, effect in by_size if effect != 0]
        columns[f"unexplained_p_{outcome}"] = unexplained
    return columns


def _mapper(reasoner: Reasoner):  # type: ignore[no-untyped-def]
    def explained(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                features_NE = feature_matrix(batch.column("features"))
                level_now_N = batch.column("level_now").to_numpy().astype(np.int64)
                yield with_result(batch, reasoner.explain(features_NE, level_now_N), name="explained")

    return explained
