"""How sure it is that a model is better: what the gate decides by. No Spark.

In: what happened, and level forecasts of the same members. Out: plain values for ``evaluation.json``.

Shape legend: N members, K levels, D draws.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from memberlevel_spark.evaluation.backtest import Judged, accuracy_of, log_loss_of, paired_differences
from memberlevel_spark.evaluation.calibration import classwise_ece
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray

# Both are sums over members, so that a resample costs no more than a pass over them.
COMPARED = {"log_loss": log_loss_of, "accuracy": accuracy_of}


def evidence(
    actuals: Actuals,
    member_N: np.ndarray,
    p_level: Mapping[str, FloatArray],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """``comparisons`` of the model with every other forecaster of levels, and its ``ece_by_chance``."""
    given = (member_N, actuals.level_now_N, actuals.target_N)
    return {
        "comparisons": comparisons(*given, p_level, num_resamples=num_resamples, seed=seed),
        "ece_by_chance": ece_by_chance(p_level["model"], num_draws=num_resamples, seed=seed),
    }


def comparisons(
    member_N: np.ndarray,
    level_now_N: IntArray,
    target_N: IntArray,
    p_level: Mapping[str, FloatArray],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """The forecaster ``model`` less each other one: name -> metric -> mean, and low and high, the middle 95 %."""
    judged = [Judged(member_N, level_now_N, target_N, {name: [p_NK] for name, p_NK in p_level.items()})]
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name in p_level:
        if name != "model":
            told = paired_differences(
                judged, ("model", name), num_resamples=num_resamples, seed=seed, statistics=COMPARED
            )
            found[name] = {each.metric: _interval(asdict(each)) for each in told}
    return found


def _interval(difference: dict[str, Any]) -> dict[str, float | None]:
    return {name: difference[name] for name in ("mean", "low", "high")}


def ece_by_chance(p_level_NK: FloatArray, *, num_draws: int, seed: int) -> float:
    """The ``classwise_ece`` below which 97.5 % of forecasts lie that mean exactly what they say, on these members.

    Levels are drawn from the forecast's own probabilities (consistency resampling, Bröcker and Smith 2007): on few
    members a perfect forecast shows an error too. 0 without draws.
    """
    random = np.random.default_rng(seed)
    edges_NK = np.cumsum(p_level_NK, axis=1)
    errors_D = [classwise_ece(_drawn(edges_NK, random), p_level_NK) for _ in range(num_draws)]
    return float(np.quantile(errors_D, 0.975)) if errors_D else 0.0


def _drawn(edges_NK: FloatArray, random: np.random.Generator) -> IntArray:
    """One level per member. Rounding may end the edges a hair below 1, hence the last edge is left out."""
    drawn_N: IntArray = (random.random(len(edges_NK))[:, None] > edges_NK[:, :-1]).sum(axis=1)
    return drawn_N
