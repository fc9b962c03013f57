"""The numbers a forecast of orders and of spend is judged by; no Spark.

In: realised and forecast outcomes of the same members. Out: one number per metric; ``None`` where a metric is undefined
on the data, never NaN.

Shape legend: N members.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn import metrics as sk

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.evaluation.calibration import event_ece
from memberlevel_spark.evaluation.inputs import FloatArray, check_same_rows
from memberlevel_spark.evaluation.ranking import captured_share, event_metrics, shared_over_ties

NUM_TENTHS = 10
TOP_SHARES = (0.01, 0.05, 0.10, 0.20)
# The share of members whose spend lies between the forecast's lower and upper bound, if the forecast is right.
INTERVAL_SHARE = 0.8
# Below it, the forecast of a count is taken as this: a member who ordered after all would cost infinitely much.
SMALLEST_COUNT = 1e-3


def churn_metrics(churned_N: ArrayLike, p_churn_N: ArrayLike) -> dict[str, float | None]:
    """Judge P(no order in the horizon): AUC, average precision, lift in the first 1, 5 and 10 %, Brier score, ECE.

    ``churn_ece``: ``event_ece`` with 15 bins.
    ``churn_lift_10``: how many times as many of the tenth of members whose churn is likeliest churned, as of all.
    """
    true_N, p_N = _checked(churned_N, p_churn_N, names=("churned", "p_churn"))
    height = {"churn_brier": float(np.square(p_N - true_N).mean()), "churn_ece": event_ece(true_N, p_N)}
    return {**event_metrics("churn", true_N, p_N), **height}


def order_metrics(num_orders_N: ArrayLike, expected_N: ArrayLike) -> dict[str, float | None]:
    """Judge the expected number of orders: mean absolute error, and mean Poisson deviance.

    The deviance is 2 · mean(y ln(y / μ) − y + μ); an expectation below 0.001 counts as that.
    """
    true_N, expected_N = _checked(num_orders_N, expected_N, names=("num_orders", "expected_orders"))
    return {
        "orders_mae": float(sk.mean_absolute_error(true_N, expected_N)),
        "orders_deviance": float(sk.mean_poisson_deviance(true_N, np.maximum(expected_N, SMALLEST_COUNT))),
    }


def spend_metrics(spend_N: ArrayLike, expected_N: ArrayLike, median_N: ArrayLike) -> dict[str, float | None]:
    """Judge forecast spend, in the unit it is given in.

    - spend_mae: mean absolute error of the median, which is what minimises it.
    - spend_spearman: rank correlation of expected and realised spend.
    - spend_gini: normalised Gini of the expected spend (``normalised_gini``).
    - spend_decile_error: over tenths of members by expected spend, mean absolute gap of expected and realised sums,
      as a share of all that was spent.
    - spend_top_1, _5, _10, _20: share of all spend that this percentage of members, those with the highest
      expectation, brought.

    Rank metrics are None when all spend, or all expectations, are equal; shares when nothing was spent.
    Members of equal expectation share their mean spend.
    """
    true_N, expected_N = _checked(spend_N, expected_N, names=("spend", "expected spend"))
    _, median_N = _checked(spend_N, median_N, names=("spend", "median spend"))
    total = float(true_N.sum())
    varies = np.unique(true_N).size > 1 and np.unique(expected_N).size > 1
    return {
        "spend_mae": float(sk.mean_absolute_error(true_N, median_N)),
        "spend_spearman": float(np.corrcoef(rankdata(true_N), rankdata(expected_N))[0, 1]) if varies else None,
        "spend_gini": normalised_gini(true_N, expected_N) if varies and total > 0 else None,
        "spend_decile_error": _decile_error(true_N, expected_N) if total > 0 else None,
        **{f"spend_top_{round(100 * share)}": captured_share(true_N, expected_N, share) for share in TOP_SHARES},
    }


def spend_by_tenths(spend_N: ArrayLike, expected_N: ArrayLike) -> list[dict[str, float]]:
    """Members and the sums of expected and realised spend, of each tenth of members from the lowest expectation up.

    Tenths differ by one member at most; of fewer than ten members, only those that have one. Members of equal
    expectation share their mean spend.
    """
    true_N, expected_N = _checked(spend_N, expected_N, names=("spend", "expected spend"))
    shared_N = shared_over_ties(true_N, expected_N)
    parts = np.array_split(np.argsort(expected_N, kind="stable"), min(NUM_TENTHS, len(true_N)))
    return [
        {"members": len(part), "expected": float(expected_N[part].sum()), "realised": float(shared_N[part].sum())}
        for part in parts
    ]


def coverage(spend_N: ArrayLike, low_N: ArrayLike, high_N: ArrayLike) -> float:
    """Return the share of members whose spend lies between both bounds, the bounds included."""
    true_N, low_N = _checked(spend_N, low_N, names=("spend", "low"))
    _, high_N = _checked(spend_N, high_N, names=("spend", "high"))
    # A forecast in fractions of a cent must not miss what was spent by one.
    return float(((true_N >= np.floor(low_N)) & (true_N <= np.ceil(high_N))).mean())


def normalised_gini(spend_N: ArrayLike, expected_N: ArrayLike) -> float:
    """Return the Gini coefficient of spend ordered by expectation, over that of spend ordered by itself.

    1 is the true order, 0 a random one. Members of equal expectation share their mean: their order says nothing.
    """
    true_N, expected_N = _checked(spend_N, expected_N, names=("spend", "expected spend"))
    shared_N = shared_over_ties(true_N, expected_N)
    return _gini(shared_N[np.argsort(expected_N, kind="stable")]) / _gini(np.sort(true_N))


def _gini(ascending_N: FloatArray) -> float:
    """1 − 2 × the area below the Lorenz curve, for values in the order in which they are added up."""
    cumulated_N = np.cumsum(ascending_N) / ascending_N.sum()
    return float(1 - (2 * cumulated_N.sum() - 1) / len(ascending_N))


def _decile_error(true_N: FloatArray, expected_N: FloatArray) -> float:
    tenths = spend_by_tenths(true_N, expected_N)
    return float(sum(abs(tenth["expected"] - tenth["realised"]) for tenth in tenths) / true_N.sum())


def _checked(true_N: ArrayLike, forecast_N: ArrayLike, *, names: tuple[str, str]) -> tuple[FloatArray, FloatArray]:
    arrays = [np.asarray(values, dtype=np.float64) for values in (true_N, forecast_N)]
    for name, array in zip(names, arrays, strict=True):
        if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
            shown = first_five(array[~np.isfinite(array)]) if array.ndim == 1 and array.size else array.shape
            raise DataQualityError(f"{name} must be one finite number per member: {shown}. Check the scores.")
    check_same_rows(**dict(zip(("first", "second"), arrays, strict=True)))
    return arrays[0], arrays[1]
