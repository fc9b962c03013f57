"""Fits calibrators on forecasts of rows that the network has not learned from; no Spark.

In: an uncalibrated forecast, as the predictor gives it, and what happened. Out: ``Calibrators``. A head stays as it is
where there is too little to learn from, with a word in the log.

Shape legend: N rows, K levels, D tenths of the rows.
"""

import logging
from collections.abc import Collection
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression, isotonic_regression

from memberlevel_spark.config.model import CalibratedHead
from memberlevel_spark.models.calibrators import Calibrators, Curve
from memberlevel_spark.scoring.predictor import NUMBERS

HEADS: tuple[CalibratedHead, ...] = get_args(CalibratedHead)
Floats = NDArray[np.float64]

FEWEST_ROWS = 200
NUM_TENTHS = 10
# A level that is never held may have any temperature: 20 is beyond what networks are unsure by.
_LARGEST_TEMPERATURE = 20.0
# How much of the mean ratio goes into the curve of the spend, so that members of equal ratio keep their order.
_RISE = 0.01

logger = logging.getLogger(__name__)


def fit_calibrators(
    forecast_NP: Floats, target_N: NDArray[Any], *, outcomes_N2: NDArray[Any], heads: Collection[CalibratedHead]
) -> Calibrators:
    """Fit the calibrators of some heads.

    Args:
        forecast_NP: the predictor's array, made without calibrators.
        target_N: level held at the label date.
        outcomes_N2: number of orders, and spend in minor units.
        heads: ``level``, ``p_buy``, ``spend``; the others stay as they are. The spend is fitted to what it is after
            ``p_buy``.
    """
    num_levels = forecast_NP.shape[1] - len(NUMBERS)
    numbers = dict(zip(NUMBERS, forecast_NP[:, num_levels:].T, strict=True))
    orders_N, spend_N = np.asarray(outcomes_N2, dtype=np.float64).T
    bought_N = orders_N > 0
    temperature, p_buy, spend = 1.0, None, None
    if "level" in heads and _is_enough("level", np.asarray(target_N)):
        temperature = fit_temperature(forecast_NP[:, :num_levels], target_N)
    if "p_buy" in heads and _is_enough("p_buy", bought_N):
        p_buy = fit_p_buy(numbers["p_buy"], bought_N)
    if "spend" in heads and _is_enough("spend", bought_N):
        spend = fit_spend(_after_p_buy(numbers, Calibrators(p_buy=p_buy)), spend_N)
    return Calibrators(temperature, p_buy, spend)


def fit_temperature(p_level_NK: Floats, target_N: NDArray[Any]) -> float:
    """Return the temperature T of least log-loss of softmax(log p / T), between 1/20 and 20.

    Guo et al. 2017. The log-loss is convex in 1/T, so there is one minimum.
    """
    log_p_NK = np.log(np.maximum(p_level_NK, np.finfo(np.float64).tiny))
    rows_N = np.arange(len(log_p_NK))

    def log_loss(inverse: float) -> float:
        return float(-log_softmax(log_p_NK * inverse, axis=1)[rows_N, target_N].mean())

    bounds = (1 / _LARGEST_TEMPERATURE, _LARGEST_TEMPERATURE)
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(1 / found.x)


def fit_p_buy(p_buy_N: Floats, bought_N: NDArray[Any]) -> Curve:
    """Return the isotonic regression of buying on P(order), no nearer to 0 and 1 than N rows can tell.

    The bounds are 1/(N+2) and (N+1)/(N+2), Laplace's rule for an event that was met never, or always.
    """
    least = 1 / (len(p_buy_N) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(p_buy_N, np.asarray(bought_N, dtype=np.float64))
    return Curve(tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))


def fit_spend(expected_N: Floats, spend_N: Floats) -> Curve | None:
    """Return a curve through the tenths of rows by expected spend: mean expected -> mean realised spend.

    Means that fall are pooled (isotonic regression, weights are rows). To 99 % of them comes 1 % of what one ratio for
    all would give, so that the curve rises and members keep their order. None where nothing was spent or expected.
    """
    spent, expected = spend_N.sum(), expected_N.sum()
    if not (spent > 0 and expected > 0):
        logger.warning("calibration of spend is left out: %.0f spent, %.0f expected, in minor units", spent, expected)
        return None
    tenths = np.array_split(np.argsort(expected_N, kind="stable"), NUM_TENTHS)
    means = np.array([(expected_N[rows].mean(), spend_N[rows].mean(), len(rows)) for rows in tenths])
    # Tenths of one expectation are one point.
    x_D, of_D = np.unique(means[:, 0], return_inverse=True)
    rows_D = np.bincount(of_D, weights=means[:, 2])
    realised_D = np.bincount(of_D, weights=means[:, 1] * means[:, 2]) / rows_D
    # Where refunds prevail, less than nothing was spent.
    pooled_D = isotonic_regression(realised_D, sample_weight=rows_D, y_min=0.0)
    y_D = (1 - _RISE) * pooled_D + _RISE * spent / expected * x_D
    above_zero = x_D > 0
    return Curve((0.0, *map(float, x_D[above_zero])), (0.0, *map(float, y_D[above_zero])))


def _after_p_buy(numbers: dict[str, Floats], calibrators: Calibrators) -> Floats:
    """Expected spend with the calibrated P(order): the mean given an order stays."""
    p_buy_N = numbers["p_buy"]
    given_order_N = numbers["expected_spend_cents"] / np.where(p_buy_N > 0, p_buy_N, 1.0)
    return calibrators.calibrated_p_buy(p_buy_N) * given_order_N


def _is_enough(head: CalibratedHead, happened_N: NDArray[Any]) -> bool:
    """Whether there are rows of two kinds, and enough of them."""
    enough = len(happened_N) >= FEWEST_ROWS and len(np.unique(happened_N)) > 1
    if not enough:
        kinds = len(np.unique(happened_N))
        logger.warning(
            "calibration of %s is left out: %d rows of %d kind(s), it takes %d of 2",
            head,
            len(happened_N),
            kinds,
            FEWEST_ROWS,
        )
    return enough
