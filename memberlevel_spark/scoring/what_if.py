"""What a member's features would be, had they earned more of a metric of the level programme. No Spark, no torch.

The amount counts as earned on the as-of date and on the label date, by the activity there was: sums of the metric over
every window, this week's tile and what is carried over grow by it; what is missing to a level shrinks by it. Averages,
shares, gaps and the number of orders stay.

Shape legend: N rows, E elements of the array of features.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.examples.encoder import WEEKLY, Encoder


@dataclass(frozen=True)
class Lever:
    """Where an amount of one metric shows in the array of features: elements that grow, that shrink, and needs."""

    encoder: Encoder
    grows: tuple[int, ...]
    shrinks: tuple[int, ...]
    needs: tuple[int, ...]

    @classmethod
    def of(cls, encoder: Encoder, metric: str) -> "Lever":
        """The lever of a metric that levels are earned by."""
        m = re.escape(metric)
        names = encoder.names[: len(encoder.inputs)]
        grows = re.compile(rf"{m}_sum(_\d+d)?|{WEEKLY}{m}_0|level_{m}_(now|carry_over)")
        shrinks = re.compile(rf"to_level_\d+_{m}_(now|carry_over)|to_keep_{m}")
        first = encoder.num_scaled
        return cls(
            encoder,
            grows=tuple(place for place, name in enumerate(names) if grows.fullmatch(name)),
            shrinks=tuple(place for place, name in enumerate(names) if shrinks.fullmatch(name)),
            needs=tuple(first + place for place, need in enumerate(encoder.needs) if need.metric == metric),
        )

    def with_more(self, features_NE: NDArray[np.float32], amount_N: NDArray[np.float64]) -> NDArray[np.float32]:
        """The features had each row's member earned so much more; what was clipped counts as lying on the bound."""
        more_NE = features_NE.copy()
        for place in self.grows:
            more_NE[:, place] = self._changed(features_NE[:, place], place, lambda raw_N: raw_N + amount_N)
        for place in self.shrinks:
            more_NE[:, place] = self._changed(
                features_NE[:, place], place, lambda raw_N: np.maximum(raw_N - amount_N, np.minimum(raw_N, 0))
            )
        for place in self.needs:
            more_NE[:, place] = np.maximum(features_NE[:, place] - amount_N, 0)
        return more_NE

    def _changed(
        self,
        encoded_N: NDArray[np.float32],
        place: int,
        change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float32]:
        raw_N = self.encoder.unscaled(place, encoded_N)
        if self.encoder.quantiles:
            # Metrics are whole numbers. A digit that float32 lost would put a member beside those it is equal to, whose
            # score may be far away.
            raw_N = np.rint(raw_N)
        return self.encoder.scaled(place, change(raw_N)).astype(np.float32)
