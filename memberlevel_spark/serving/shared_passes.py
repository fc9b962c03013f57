"""Forecasts of members that are asked for at the same time, in one pass of the network.

A pass costs the same for one row as for a whole block, since every block has the same shape (``predictor.py``), and a
row's forecast is the same to the bit whichever rows come with it. So those who wait for a pass share the next one.
"""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.scoring.predictor import BLOCK_ROWS, PackedModel, predict

Forecast = NDArray[np.float64]


@dataclass(frozen=True)
class _Asked:
    """One row [1, F] and where its forecast [1, K + numbers] goes."""

    model: PackedModel
    features_1F: NDArray[np.float32]
    forecast: "Future[Forecast]" = field(default_factory=Future)


class SharedPasses:
    """``predict`` for many threads."""

    def __init__(self) -> None:
        self._waiting: deque[_Asked] = deque()
        self._turn = threading.Lock()

    def predict(self, model: PackedModel, features_1F: NDArray[np.float32]) -> Forecast:
        """The forecast of one row, as ``predictor.predict`` gives it."""
        asked = _Asked(model, features_1F)
        self._waiting.append(asked)
        with self._turn:
            # Whoever had the turn before may have taken this row along.
            while not asked.forecast.done():
                self._pass()
        return asked.forecast.result()

    def _pass(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), BLOCK_ROWS))]
        # More than one model only while a new champion takes over.
        for model in dict.fromkeys(asked.model for asked in taken):
            together = [asked for asked in taken if asked.model == model]
            try:
                forecasts_NP = predict(model, np.concatenate([asked.features_1F for asked in together]))
            except Exception as problem:
                for asked in together:
                    asked.forecast.set_exception(problem)
            else:
                for place, asked in enumerate(together):
                    asked.forecast.set_result(forecasts_NP[place : place + 1])
