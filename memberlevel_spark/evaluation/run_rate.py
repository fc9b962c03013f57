"""The forecast that everybody goes on as before: the mean of the last weeks, times the horizon.

Without a model: what a marketer would do on a sheet of paper, and hard to beat where members are regular.

Shape legend: N rows, E encoded features, X metrics, K1 levels above the lowest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memberlevel_spark.config import Config
from memberlevel_spark.evaluation.baselines import run_rate_levels
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray
from memberlevel_spark.examples.encoder import Encoder

# Windows of up to a quarter: longer ones forget that members change.
LONGEST_WINDOW_DAYS = 91


@dataclass(frozen=True)
class RunRate:
    """What it takes to go on as before.

    Args:
        encoder: of the examples.
        windows_days: of the sums among the features.
        horizon_days: of the label, its gap included.
        every_metric: whether a level asks for all metrics, or for any one of them.
    """

    encoder: Encoder
    windows_days: Sequence[int]
    horizon_days: int
    every_metric: bool

    @classmethod
    def of(cls, config: Config, encoder: Encoder) -> "RunRate":
        """That of a shop."""
        reach_days, every_metric = config.timeline.label.reach_days, config.levels.reach == "all"
        return cls(encoder, config.features.windows_days, reach_days, every_metric)

    def levels(self, features_NE: np.ndarray) -> IntArray:
        """The level [N] of each member by the rules."""
        metrics, first, end = self.encoder.metrics, self.encoder.num_scaled, len(self.encoder.names)
        needs_NXK1 = features_NE[:, first:end].reshape(len(features_NE), len(metrics), -1)
        ahead_NX = np.stack([self._ahead(metric, features_NE) for metric in metrics], axis=1)
        return run_rate_levels(needs_NXK1, ahead_NX, every_metric=self.every_metric)

    def outcomes(self, features_NE: np.ndarray) -> Forecast:
        """Orders, spend in minor units where it is a feature, and P(churn) as a Poisson's of the orders."""
        orders_N = self._ahead("num_orders", features_NE)
        has_spend = any(item.column.startswith("spend_cents_sum_") for item in self.encoder.inputs)
        spend_N = self._ahead("spend_cents", features_NE) if has_spend else None
        return Forecast(p_churn_N=np.exp(-orders_N), orders_N=orders_N, spend_N=spend_N)

    def _ahead(self, measure: str, features_NE: np.ndarray) -> FloatArray:
        """What a measure will add up to by the label date."""
        days = max((days for days in self.windows_days if days <= LONGEST_WINDOW_DAYS), default=min(self.windows_days))
        total_N = self.encoder.decode(f"{measure}_sum_{days}d", features_NE)
        # Members known for less than the window have had less time.
        known_N = np.clip(self.encoder.decode("tenure_days", features_NE) + 1, 1, days)
        ahead_N: FloatArray = np.maximum(total_N, 0) / known_N * self.horizon_days
        return ahead_N
