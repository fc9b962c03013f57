"""Going on as before, applied to the level rules; rivals and the tables that compare them."""

import math
from datetime import date

import numpy as np
import pytest

from memberlevel_spark.evaluation.baselines import run_rate_levels
from memberlevel_spark.evaluation.comparison import CurvePoint, Result, comparison_page, learning_curve_part
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.rivals import Rows, rival_forecasts
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.examples.encoder import Encoder, Input, Need


def test_a_level_is_reached_when_what_comes_covers_what_is_needed() -> None:
    needs = np.array([[[0, 100, 300]], [[50, 150, 350]], [[0, 0, 0]]])
    assert run_rate_levels(needs, [[100.0], [40.0], [0.0]], every_metric=True).tolist() == [2, 0, 3]


def test_every_metric_must_reach_a_level_or_any() -> None:
    needs = np.array([[[10, 20], [1, 9]]])
    assert run_rate_levels(needs, [[25.0, 3.0]], every_metric=True).tolist() == [1]
    assert run_rate_levels(needs, [[25.0, 3.0]], every_metric=False).tolist() == [2]


INPUTS = ("num_orders_sum_28d", "spend_cents_sum_28d", "tenure_days")
ENCODER = Encoder(
    tuple(Input(name) for name in INPUTS),
    2,
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (Need("spend_cents", 1, "to_level_1_spend_cents_carry_over"),),
)


def encoded(orders: float, cents: float, tenure: int, level: int, needed: float) -> list[float]:
    return [math.log1p(orders), math.log1p(cents), math.log1p(tenure), float(level == 0), float(level == 1), needed]


def test_members_known_for_less_than_the_window_had_less_time() -> None:
    rows = np.array([encoded(8, 2800, 1000, 0, 699), encoded(8, 2800, 13, 0, 1401)], dtype=np.float32)
    run_rate = RunRate(ENCODER, (7, 28, 364), horizon_days=7, every_metric=True)
    found = run_rate.outcomes(rows)
    assert found.orders_N == pytest.approx([2, 4], rel=1e-5)
    assert found.spend_N == pytest.approx([700, 1400], rel=1e-5)
    assert found.p_churn_N == pytest.approx(np.exp([-2, -4]), rel=1e-4)
    assert run_rate.levels(rows).tolist() == [1, 0]


def test_without_a_window_of_at_most_a_quarter_the_shortest_is_taken() -> None:
    longer = Encoder((Input("num_orders_sum_182d"), Input("tenure_days")), 2, (0.0, 0.0), (1.0, 1.0))
    rows = np.array([[math.log1p(26), math.log1p(999), 1, 0]], dtype=np.float32)
    found = RunRate(longer, (182, 364), horizon_days=7, every_metric=True).outcomes(rows)
    assert found.orders_N == pytest.approx([1], rel=1e-5)
    assert found.spend_N is None


def test_rivals_speak_of_the_same_members_and_name_their_level_as_sure_as_they_were_in_training() -> None:
    random = np.random.default_rng(3)
    made = [encoded(random.poisson(3), random.gamma(2, 400), 400, int(i % 2), 500) for i in range(400)]
    features = np.array(made, dtype=np.float32)
    target = (features[:, 1] > math.log1p(700)).astype(int)
    level_now = features[:, 4].astype(int)
    train, test = (Rows(features[part], level_now[part], target[part]) for part in (slice(300), slice(300, None)))
    run_rate = RunRate(ENCODER, (28,), horizon_days=28, every_metric=True)
    found = rival_forecasts(train, test, run_rate, seed=1)
    assert list(found) == ["boosted_tree", "logistic", "run_rate", "persistence", "majority"]
    for name, forecast in found.items():
        assert forecast.p_level_NK is not None and forecast.p_level_NK.shape == (100, 2), name
    stayed = float((level_now[:300] == target[:300]).mean())
    persistence = found["persistence"].p_level_NK
    assert persistence is not None
    assert persistence[np.arange(100), level_now[300:]] == pytest.approx(max(stayed, 0.5 + 1e-6))


def test_a_forecast_is_judged_by_all_that_it_speaks_of() -> None:
    actuals = Actuals(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.0, 2.0, 1.0]), np.array([0.0, 30.0, 9.0]))
    levels = Forecast(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    assert "churn_auc" not in judge(actuals, levels)
    buys = [0.9, 2.0, 3000, 100, 2000, 4000]
    array = np.array([[0.9, 0.1, 0.2, 0.3, 400, 0, 100, 900], [0.4, 0.6, *buys], [0.2, 0.8, *buys]])
    whole = judge(actuals, Forecast.of_array(array, 2).in_units(100))
    assert whole["spend_mae"] == pytest.approx((1 + 10 + 11) / 3)
    assert (whole["spend_coverage_80"], whole["churn_auc"], whole["accuracy"]) == (1.0, 1.0, 1.0)


def results() -> list[Result]:
    empty = np.empty((0, 2))
    days = (date(2024, 1, 7), date(2024, 1, 14))
    made = [
        Result(day, "model", seed, {"log_loss": 0.3 + 0.01 * seed + 0.1 * place, "spend_mae": 69.123}, empty)
        for place, day in enumerate(days)
        for seed in (1, 2)
    ]
    made += [Result(day, "majority", 1, {"log_loss": 1.0, "spend_mae": None}, empty) for day in days]
    return [*made, Result(days[1], "softmax", 1, {"log_loss": 0.5}, empty)]


def test_the_page_gives_means_over_dates_with_the_spread_of_seeds_and_compares_on_common_dates() -> None:
    gap = {"metric": "log_loss", "mean": -0.635, "low": -0.7, "high": -0.6}
    undefined = {"metric": "log_loss", "mean": None, "low": None, "high": None}
    page = comparison_page(results(), {"majority": [gap], "softmax": [undefined]})
    assert page.splitlines() == [
        "## 2 test dates, 2024-01-07 to 2024-01-14",
        "",
        "| forecaster | log_loss | spend_mae |",
        "| --- | --- | --- |",
        "| model | 0.3650 ± 0.0071 | 69.12 ± 0.00 |",
        "| majority | 1.0000 | n/a |",
        "",
        "The model less the other, and the middle 95 % of it over members:",
        "",
        "| model less | log_loss |",
        "| --- | --- |",
        "| majority | -0.6350 (-0.7000 to -0.6000) |",
        "",
        "## 1 test dates, 2024-01-14 to 2024-01-14",
        "",
        "| forecaster | log_loss | spend_mae |",
        "| --- | --- | --- |",
        "| model | 0.4150 ± 0.0071 | 69.12 ± 0.00 |",
        "| softmax | 0.5000 | n/a |",
        "",
        "The model less the other, and the middle 95 % of it over members:",
        "",
        "| model less | log_loss |",
        "| --- | --- |",
        "| softmax | n/a |",
    ]


def test_the_learning_curve_is_a_row_per_share_and_forecaster_with_the_spread_of_seeds() -> None:
    day, empty = date(2024, 1, 14), np.empty((0, 2))
    losses = {0.125: (0.5, 0.52), 1.0: (0.4, 0.4)}
    points = [
        CurvePoint(
            share, round(2400 * share), round(9600 * share), Result(day, "model", seed, {"log_loss": loss}, empty)
        )
        for share, pair in losses.items()
        for seed, loss in enumerate(pair)
    ]
    tree = Result(day, "boosted_tree", 1, {"log_loss": 0.45, "upgrade_auc": None}, empty)
    part = learning_curve_part([*points, CurvePoint(1.0, 2400, 9600, tree)])
    assert part.splitlines() == [
        "",
        "## Learning curve: trained on a share of the members, all of them forecast as of 2024-01-14",
        "",
        "| share | members | rows | forecaster | log_loss |",
        "| --- | --- | --- | --- | --- |",
        "| 0.125 | 300 | 1,200 | model | 0.5100 ± 0.0141 |",
        "| 1 | 2,400 | 9,600 | model | 0.4000 ± 0.0000 |",
        "| 1 | 2,400 | 9,600 | boosted_tree | 0.4500 |",
    ]
    assert points[0].plain() == {
        "share": 0.125,
        "members": 300,
        "rows": 1200,
        "forecaster": "model",
        "seed": 0,
        "log_loss": 0.5,
    }
    assert learning_curve_part([]) == ""
