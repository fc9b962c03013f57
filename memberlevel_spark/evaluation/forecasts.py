"""What happened to members beside what was forecast for them, and the judgement; no Spark.

Shape legend: N members, K levels, C next categories, P numbers of the predictor.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from memberlevel_spark.evaluation.category_metrics import category_metrics
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray
from memberlevel_spark.evaluation.metrics import level_metrics
from memberlevel_spark.evaluation.outcomes import churn_metrics, coverage, order_metrics, spend_metrics
from memberlevel_spark.scoring.predictor import NUMBERS, P_CATEGORY


@dataclass(frozen=True)
class Actuals:
    """What happened, one row per member; spend in the unit that errors are wanted in.

    ``category_N`` is the number of the first order's category, -1 without one; None where nobody asks for it.
    """

    target_N: IntArray
    level_now_N: IntArray
    orders_N: FloatArray
    spend_N: FloatArray
    category_N: IntArray | None = None

    @classmethod
    def of(
        cls,
        target_N: IntArray,
        level_now_N: IntArray,
        outcomes_N2: np.ndarray,
        *,
        unit: float,
        category_N: IntArray | None = None,
    ) -> "Actuals":
        """From columns of ``examples``; ``outcomes_N2`` are orders and spend, ``unit`` minor units make a whole one."""
        orders_N, spend_N = outcomes_N2.astype(np.float64).T
        return cls(target_N, level_now_N, orders_N, spend_N / unit, category_N)

    def of_rows(self, kept_N: np.ndarray) -> "Actuals":
        """Those of some members, by a mask or by places."""
        happened = {field.name: getattr(self, field.name) for field in fields(self)}
        return Actuals(**{name: value[kept_N] for name, value in happened.items() if value is not None})


@dataclass(frozen=True)
class Forecast:
    """What was said of the same members; None is what a forecaster does not speak of.

    ``p_category_NC`` is given an order; ``first_category_N`` is named first whatever its probability, -1 is none.
    """

    p_level_NK: FloatArray | None = None
    p_churn_N: FloatArray | None = None
    orders_N: FloatArray | None = None
    spend_N: FloatArray | None = None
    spend_low_N: FloatArray | None = None
    spend_median_N: FloatArray | None = None
    spend_high_N: FloatArray | None = None
    p_category_NC: FloatArray | None = None
    first_category_N: np.ndarray | None = None

    @classmethod
    def of_array(cls, forecast_NP: FloatArray, num_levels: int) -> "Forecast":
        """From the predictor's array: P(level = k), its ``NUMBERS`` and, where they are told, next categories."""
        num_known = num_levels + len(NUMBERS)
        numbers = dict(zip(NUMBERS, forecast_NP[:, num_levels:num_known].T, strict=True))
        return cls(
            p_level_NK=forecast_NP[:, :num_levels],
            p_churn_N=1 - numbers["p_buy"],
            orders_N=numbers["expected_orders"],
            spend_N=numbers["expected_spend_cents"],
            spend_low_N=numbers["spend_cents_low"],
            spend_median_N=numbers["spend_cents_median"],
            spend_high_N=numbers["spend_cents_high"],
            p_category_NC=forecast_NP[:, num_known:] if forecast_NP.shape[1] > num_known else None,
        )

    @classmethod
    def of_rows_applied(cls, rows: pd.DataFrame) -> "Forecast":
        """From rows that ``apply_model`` gave."""
        p_level_NK = np.stack(rows["p_level"].to_list())
        parts = [p_level_NK, rows[list(NUMBERS)].to_numpy()]
        if P_CATEGORY in rows:
            parts.append(np.stack(rows[P_CATEGORY].to_list()))
        return cls.of_array(np.concatenate(parts, axis=1), p_level_NK.shape[1])

    def in_units(self, unit: float) -> "Forecast":
        """The same with spend in units of ``unit``."""
        names = ("spend_N", "spend_low_N", "spend_median_N", "spend_high_N")
        amounts = {name: getattr(self, name) for name in names}
        return replace(self, **{name: value / unit for name, value in amounts.items() if value is not None})

    def of_rows(self, kept_N: np.ndarray) -> "Forecast":
        """What was said of some members, by a mask or by places."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return Forecast(**{name: value[kept_N] for name, value in said.items() if value is not None})

    def with_levels(self, p_level_NK: FloatArray) -> "Forecast":
        """The same forecast, and of levels too."""
        return replace(self, p_level_NK=p_level_NK)


def judge(actuals: Actuals, forecast: Forecast) -> dict[str, float | None]:
    """Return every metric of what the forecaster speaks of: level, churn, orders, spend, next category."""
    found: dict[str, float | None] = {}
    if forecast.p_level_NK is not None:
        found |= level_metrics(actuals.target_N, actuals.level_now_N, forecast.p_level_NK)
    if forecast.p_churn_N is not None:
        found |= churn_metrics(actuals.orders_N == 0, forecast.p_churn_N)
    if forecast.orders_N is not None:
        found |= order_metrics(actuals.orders_N, forecast.orders_N)
    if forecast.spend_N is not None:
        median_N = forecast.spend_N if forecast.spend_median_N is None else forecast.spend_median_N
        found |= spend_metrics(actuals.spend_N, forecast.spend_N, median_N)
    if forecast.spend_low_N is not None and forecast.spend_high_N is not None:
        found["spend_coverage_80"] = coverage(actuals.spend_N, forecast.spend_low_N, forecast.spend_high_N)
    if forecast.p_category_NC is not None and actuals.category_N is not None:
        found |= category_metrics(actuals.category_N, forecast.p_category_NC, forecast.first_category_N)
    return found
