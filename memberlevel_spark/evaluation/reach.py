"""How far forecasts get on the way from persistence to the truth, in a shop whose truth is known. No Spark.

In: realised levels, the forecasts and the true level probabilities, of the same members. Out: a row per forecast.
Shapes: N members, K levels.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from memberlevel_spark.evaluation.metrics import level_metrics

Reach = dict[str, dict[str, float | None]]


def reachable_gain(realised_N: ArrayLike, forecasts: Mapping[str, ArrayLike], p_truth_NK: ArrayLike) -> Reach:
    """``log_loss`` and ``share`` of each forecast, ``persistence`` among them, and of the truth itself.

    share = (L(persistence) − L(forecast)) / (L(persistence) − L(truth)), where L is the mean log-loss −ln p(realised
    level): 0 like persistence, 1 like the truth. Below 0 a forecast is worse than persistence; a little above 1 can
    happen by luck on few rows. Null when persistence is as good as the truth, so that there is nothing to gain.
    """
    losses = {name: _log_loss(realised_N, p) for name, p in {**forecasts, "truth": p_truth_NK}.items()}
    gain = losses["persistence"] - losses["truth"]
    return {
        name: {"log_loss": loss, "share": (losses["persistence"] - loss) / gain if gain > 0 else None}
        for name, loss in losses.items()
    }


def _log_loss(realised_N: ArrayLike, p_NK: ArrayLike) -> float:
    # The level now plays no part in the log-loss.
    loss = level_metrics(realised_N, np.zeros_like(np.asarray(realised_N)), p_NK)["log_loss"]
    assert loss is not None
    return loss
