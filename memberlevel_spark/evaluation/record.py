"""What ``evaluation.json`` says of the test date, from what happened and what was forecast. No Spark.

In: actuals and forecasts, ``model`` and ``persistence`` among them. Out: one dictionary of plain values without NaN.

Shape legend: N members, K levels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from memberlevel_spark.evaluation.calibration import churn_reliability, p_move_down, p_move_up, reliability
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.inputs import FloatArray
from memberlevel_spark.evaluation.metrics import confusion_matrix
from memberlevel_spark.evaluation.outcomes import spend_by_tenths
from memberlevel_spark.evaluation.ranking import gain_curve
from memberlevel_spark.evaluation.slices import MODEL, Dimension, slice_metrics


def evaluation_record(
    actuals: Actuals, forecasts: Mapping[str, Forecast], dimensions: Sequence[Dimension], *, min_slice_members: int
) -> dict[str, Any]:
    """Metrics of every forecast, and more of the model: hits and misses, calibration, tenths of spend, slices.

    - test: forecaster -> metric -> value or None.
    - confusion, reliability: of the model; the latter's events are moves_up, all_levels and churns.
    - gains: ``gain_curves``.
    - spend_tenths: ``spend_by_tenths`` of the model's expectation, amounts in the unit of ``actuals``.
    - slices: ``slice_metrics``.
    """
    model = forecasts[MODEL]
    assert model.p_level_NK is not None, "the model forecasts levels"
    points = reliability(actuals.target_N, model.p_level_NK, level_now_N=actuals.level_now_N)
    if model.p_churn_N is not None:
        points += churn_reliability(actuals.orders_N == 0, model.p_churn_N)
    predicted_N, num_levels = model.p_level_NK.argmax(axis=1), model.p_level_NK.shape[1]
    return {
        "num_members": int(actuals.target_N.size),
        "test": {name: judge(actuals, forecast) for name, forecast in forecasts.items()},
        "confusion": confusion_matrix(actuals.target_N, predicted_N, num_levels).tolist(),
        "reliability": points,
        "gains": gain_curves(actuals, forecasts),
        "spend_tenths": [] if model.spend_N is None else spend_by_tenths(actuals.spend_N, model.spend_N),
        "slices": slice_metrics(actuals, forecasts, dimensions, min_members=min_slice_members),
    }


def gain_curves(actuals: Actuals, forecasts: Mapping[str, Forecast]) -> list[dict[str, Any]]:
    """``ranking.gain_curve`` of each event and forecaster that speaks of it, as ``{event, forecaster, …}``.

    Events: churn, upgrade, downgrade (members to whom it happened) and spend (what they spent, by expected spend).
    """
    rows = []
    for event, amount_N in _to_capture(actuals).items():
        for name, forecast in forecasts.items():
            score_N = _scores(actuals, forecast).get(event)
            if score_N is not None:
                rows.append({"event": event, "forecaster": name, **gain_curve(amount_N, score_N)})
    return rows


def _to_capture(actuals: Actuals) -> dict[str, Any]:
    return {
        "churn": actuals.orders_N == 0,
        "upgrade": actuals.target_N > actuals.level_now_N,
        "downgrade": actuals.target_N < actuals.level_now_N,
        "spend": actuals.spend_N,
    }


def _scores(actuals: Actuals, forecast: Forecast) -> dict[str, FloatArray | None]:
    """By which number a forecaster would order members, for what it speaks of."""
    scores = {"churn": forecast.p_churn_N, "spend": forecast.spend_N}
    if forecast.p_level_NK is not None:
        scores["upgrade"] = p_move_up(actuals.level_now_N, forecast.p_level_NK)
        scores["downgrade"] = p_move_down(actuals.level_now_N, forecast.p_level_NK)
    return scores
