"""What would tip a member: the smallest extra amount of a metric with which a level becomes likely.

In: rows of member_id, as_of_date, level_now and ``features``. Out: ``member_advice``, one row per member, as-of date,
model version, goal and metric.

For the next level and for the one held, and for every metric that levels are earned by. The search asks the model what
it would say had the member earned more (``what_if.py``), up to the amount with which the rules grant the level for
certain, so the answer is never more than that.

Shape legend: N rows, E elements of the array of features, G points of a grid.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.build import OUT_OF_REACH
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.forecast_schemas import MEMBER_ADVICE
from memberlevel_spark.scoring.apply import KEPT, feature_matrix
from memberlevel_spark.scoring.predictor import PackedModel, predict_levels
from memberlevel_spark.scoring.what_if import Lever

Floats = NDArray[np.float64]
# P(level = k) [N, K] of features [N, E].
Forecaster = Callable[[NDArray[np.float32]], Floats]
# Shares of what is needed that are asked about, and halvings between two of them.
GRID = tuple(step / 8 for step in range(1, 9))
HALVINGS = 5
# A chance that falls by more as a member earns more is told.
FALLS = 1e-3
GOALS = ("rise", "keep")
ADVISED = ("goal", "target_level", "metric", "needed", "p_now", "extra", "p_with_extra", "monotone")


class Advice(NamedTuple):
    """Of one goal and metric, each [N]. Where a row has no such goal, ``target_level`` is -1.

    - needed: what the rules lack to the level on the label date, in the metric's unit; 0: nothing. NaN where the level
      does not ask for the metric, which then is no way to it.
    - p_now, p_with_extra: the chance to hold at least the level, as things are and with ``extra``.
    - extra: the smallest amount that makes it likely, rounded up; NaN where this metric alone does not.
    - monotone: whether the model's chance never falls as the amount grows.
    """

    target_level_N: NDArray[np.int64]
    needed_N: Floats
    p_now_N: Floats
    extra_N: Floats
    p_with_extra_N: Floats
    monotone_N: NDArray[np.bool_]


@dataclass(frozen=True)
class Adviser:
    """How advice is found.

    Args:
        likely: the chance from which a level counts as likely.
        at_once: whether a level is held from the day on which its thresholds are reached. Then the amount that the
            rules lack grants it for certain, unless another metric is lacking too.
        every_metric: whether a level asks for all of its metrics, or for any of them.
    """

    encoder: Encoder
    likely: float
    at_once: bool
    every_metric: bool

    def advise(
        self,
        forecast: Forecaster,
        features_NE: NDArray[np.float32],
        level_now_N: NDArray[np.int64],
        *,
        goal: str,
        metric: str,
    ) -> Advice:
        """Search for every row at once."""
        target_N = self._targets(level_now_N, goal)
        has_goal_N = target_N >= 0
        lever, asked_N = Lever.of(self.encoder, metric), np.where(has_goal_N, target_N, 1)
        needed_N = self._needed(features_NE, asked_N, metric)
        is_way_N = needed_N < np.float32(OUT_OF_REACH)
        searched_N = np.where(is_way_N, needed_N, 0.0)
        granted_N = (searched_N > 0) & self._granted(features_NE, asked_N, metric)

        def chance(amount_N: Floats) -> Floats:
            p_level_NK = forecast(lever.with_more(features_NE, amount_N))
            at_least_NK = np.arange(p_level_NK.shape[1]) >= asked_N[:, None]
            found_N = np.minimum((p_level_NK * at_least_NK).sum(axis=1), 1.0)
            return np.where(granted_N & (amount_N >= needed_N), 1.0, found_N)

        p_now_N = chance(np.zeros(len(features_NE)))
        amounts_GN = np.ceil(np.outer(GRID, searched_N))
        chances_GN = np.stack([chance(amount_N) for amount_N in amounts_GN])
        steps_GN = np.diff(np.concatenate([p_now_N[None], chances_GN]), axis=0)
        low_N, high_N, p_high_N = self._bracket(amounts_GN, chances_GN, p_now_N)
        for _ in range(HALVINGS):
            middle_N = np.ceil((low_N + high_N) / 2)
            p_middle_N = chance(middle_N)
            enough_N = (p_middle_N >= self.likely) & (middle_N < high_N)
            low_N = np.where(enough_N, low_N, np.minimum(middle_N, high_N))
            high_N, p_high_N = np.where(enough_N, middle_N, high_N), np.where(enough_N, p_middle_N, p_high_N)
        reached_N = is_way_N & (p_high_N >= self.likely)
        return Advice(
            target_level_N=target_N,
            needed_N=np.where(is_way_N, needed_N, np.nan),
            p_now_N=p_now_N,
            extra_N=np.where(reached_N, high_N, np.nan),
            p_with_extra_N=np.where(reached_N, p_high_N, chances_GN[-1]),
            monotone_N=np.asarray((steps_GN >= -FALLS).all(axis=0)),
        )

    def _targets(self, level_now_N: NDArray[np.int64], goal: str) -> NDArray[np.int64]:
        if goal == "keep":
            return np.where(level_now_N > 0, level_now_N, -1)
        return np.where(level_now_N < self.encoder.num_levels - 1, level_now_N + 1, -1)

    def _needed(self, features_NE: NDArray[np.float32], target_N: NDArray[np.int64], metric: str) -> Floats:
        first = self.encoder.num_scaled
        by_level = {n.level: first + place for place, n in enumerate(self.encoder.needs) if n.metric == metric}
        places_N = np.array([by_level[level] for level in target_N.tolist()], dtype=np.int64)
        return features_NE[np.arange(len(features_NE)), places_N].astype(np.float64)

    def _granted(self, features_NE: NDArray[np.float32], target_N: NDArray[np.int64], metric: str) -> NDArray[np.bool_]:
        """Whether this metric alone decides the level of a row."""
        alone_N = np.full(len(features_NE), self.at_once)
        for other in self.encoder.metrics:
            if self.every_metric and other != metric:
                alone_N &= self._needed(features_NE, target_N, other) <= 0
        return alone_N

    def _bracket(self, amounts_GN: Floats, chances_GN: Floats, p_now_N: Floats) -> tuple[Floats, Floats, Floats]:
        """The first asked amount that is enough with the one before it; 0 and 0 where none is needed."""
        rows = np.arange(len(p_now_N))
        enough_GN = chances_GN >= self.likely
        first_N = np.where(enough_GN.any(axis=0), enough_GN.argmax(axis=0), len(GRID) - 1)
        high_N, p_high_N = amounts_GN[first_N, rows], chances_GN[first_N, rows]
        low_N = np.where(first_N > 0, amounts_GN[np.maximum(first_N - 1, 0), rows], 0.0)
        already_N = p_now_N >= self.likely
        return (
            np.where(already_N, 0.0, low_N),
            np.where(already_N, 0.0, high_N),
            np.where(already_N, p_now_N, p_high_N),
        )


def build_advice(encoded: DataFrame, adviser: Adviser, model: PackedModel, model_version: str) -> DataFrame:
    """``member_advice`` of rows of member_id, as_of_date, level_now and ``features``."""
    columns = [field for field in MEMBER_ADVICE.schema if field.name != "model_version"]
    schema = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in columns)

    def advise(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield from advice_batches(batch, adviser, model)

    advice = encoded.select(*KEPT, "features").mapInArrow(advise, schema)
    return advice.withColumn("model_version", F.lit(model_version)).select(*MEMBER_ADVICE.schema.names)


def advice_batches(batch: pa.RecordBatch, adviser: Adviser, model: PackedModel) -> Iterator[pa.RecordBatch]:
    """The advice of a batch of encoded members: one batch per goal and metric, of the members that have the goal."""
    features_NE = feature_matrix(batch.column("features"))
    level_now_N = batch.column("level_now").to_numpy().astype(np.int64)
    for goal in GOALS:
        for metric in adviser.encoder.metrics:
            found = adviser.advise(
                lambda rows_NE: predict_levels(model, rows_NE), features_NE, level_now_N, goal=goal, metric=metric
            )
            has_goal_N = found.target_level_N >= 0
            columns = [
                *[batch.column(name) for name in KEPT],
                pa.array([goal] * len(batch)),
                pa.array(found.target_level_N, pa.int32()),
                pa.array([metric] * len(batch)),
                pa.array(found.needed_N, from_pandas=True).cast(pa.int64()),
                pa.array(found.p_now_N),
                pa.array(found.extra_N, from_pandas=True).cast(pa.int64()),
                pa.array(found.p_with_extra_N),
                pa.array(found.monotone_N),
            ]
            names = [*KEPT, *ADVISED]
            yield pa.RecordBatch.from_arrays(columns, names).filter(pa.array(has_goal_N))
