"""BG/NBD and Gamma-Gamma: the published fit of the CDNOW members, simulated members, and limits known by hand."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.buy_till_you_die import BgNbd, GammaGamma
from memberlevel_spark.evaluation.order_histories import history_forecast

# Fader, Hardie and Lee 2005, table 2; Fader and Hardie 2013. Times in weeks.
PUBLISHED = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)


@pytest.fixture(scope="module")
def cdnow() -> dict[str, np.ndarray]:
    """The 2,357 members of the CDNOW sample, from the data files of the package lifetimes."""
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(next(iter(spec.submodule_search_locations))) / "datasets"
    with (path / "cdnow_customers_summary_with_transactions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("x", "t_x", "T", "zbar")}


def test_the_fit_of_the_cdnow_members_is_the_published_one(cdnow: dict[str, np.ndarray]) -> None:
    histories, weight = np.unique(np.stack([cdnow[k] for k in ("x", "t_x", "T")], axis=1), axis=0, return_counts=True)
    assert (len(histories), weight.sum()) == (1016, 2357)
    found = BgNbd.fit(*histories.T, weight.astype(float))
    assert (found.r, found.alpha, found.a, found.b) == pytest.approx((0.243, 4.414, 0.793, 2.426), abs=1.1e-3)
    log_likelihood = (found.log_likelihood(*histories.T) * weight).sum()
    assert log_likelihood == pytest.approx(-9582.4, abs=0.05)


def test_the_worth_of_cdnow_orders_is_the_published_one(cdnow: dict[str, np.ndarray]) -> None:
    again = cdnow["x"] > 0
    found = GammaGamma.fit(cdnow["x"][again], cdnow["zbar"][again], np.ones(again.sum()))
    assert (found.p, found.q, found.gamma) == pytest.approx((6.25, 3.74, 15.44), abs=0.015)


def test_the_expectation_of_a_known_member_is_the_published_one() -> None:
    one = PUBLISHED.expected_orders(np.array([2.0]), np.array([30.43]), np.array([38.86]), ahead=39)
    assert one == pytest.approx([1.226], abs=1e-3)


def simulated(num_members: int, *, weeks: float, ahead: float) -> tuple[np.ndarray, ...]:
    """Members who order and leave by the model's laws: x, t_x, t, and their orders in the time ahead."""
    random = np.random.default_rng(4)
    rows = []
    for _ in range(num_members):
        rate = random.gamma(1.2, 1 / 4.0)
        leaves = random.beta(1.0, 3.0)
        clock, x, t_x, later = 0.0, 0, 0.0, 0
        while True:
            clock += random.exponential(1 / rate)
            if clock > weeks + ahead:
                break
            if clock <= weeks:
                x, t_x = x + 1, clock
            else:
                later += 1
            if random.random() < leaves:
                break
        rows.append((x, t_x, weeks, later))
    return tuple(np.array(rows).T)


def test_members_who_keep_the_laws_are_forecast_as_they_behave() -> None:
    x, t_x, t, later = simulated(6000, weeks=40, ahead=20)
    found = BgNbd.fit(x, t_x, t, np.ones(len(x)))
    assert (found.r, found.alpha) == pytest.approx((1.2, 4.0), rel=0.15)
    assert (found.a / (found.a + found.b)) == pytest.approx(0.25, rel=0.1)
    expected = found.expected_orders(x, t_x, t, ahead=20)
    assert expected.mean() == pytest.approx(later.mean(), rel=0.06)
    assert found.p_no_order(x, t_x, t, ahead=20).mean() == pytest.approx((later == 0).mean(), abs=0.015)
    busy = x >= np.quantile(x, 0.8)
    assert expected[busy].mean() == pytest.approx(later[busy].mean(), rel=0.08)


def test_nobody_leaves_before_a_second_order_and_long_silence_means_gone() -> None:
    alive = PUBLISHED.p_alive(np.array([0.0, 20.0, 20.0]), np.array([0.0, 38.0, 5.0]), np.full(3, 38.86))
    assert alive[0] == 1
    assert alive[1] > 0.9 and alive[2] < 1e-3


def test_histories_without_a_second_order_or_without_worth_are_refused() -> None:
    zero, ten = np.zeros(3), np.full(3, 10.0)
    with pytest.raises(DataQualityError, match="none of 3 histories has a second order"):
        BgNbd.fit(zero, zero, ten, np.ones(3))
    with pytest.raises(DataQualityError, match="Gamma-Gamma cannot be fitted: 2 members"):
        GammaGamma.fit(np.array([1.0, 2.0]), np.array([10.0, 0.0]), np.ones(2))


def test_members_are_matched_by_name_and_who_never_ordered_never_will() -> None:
    random = np.random.default_rng(2)
    x = random.poisson(3, 200)
    histories = pa.table(
        {
            "member_id": [f"m{number:03d}" for number in reversed(range(200))],
            "x": x,
            "t_x": np.where(x > 0, random.integers(20, 80, 200), 0),
            "t": np.full(200, 90),
            "num_orders": (x + 1) * 2,
            "worth_cents": np.where(x > 0, random.gamma(5, 300, 200), np.nan),
        }
    )
    found = history_forecast(histories, np.array(["m199", "unknown", "m000"]), horizon_days=28)
    assert found.orders_N is not None and found.spend_N is not None and found.p_churn_N is not None
    assert (found.orders_N[1], found.spend_N[1], found.p_churn_N[1]) == (0, 0, 1)
    model = BgNbd.fit(*(histories.column(k).to_numpy().astype(float) for k in ("x", "t_x", "t")), np.ones(200))
    first, last = (tuple(float(histories.column(k)[place].as_py()) for k in ("x", "t_x", "t")) for place in (0, 199))
    for place, history in ((0, first), (2, last)):
        days = model.expected_orders(*(np.array([number]) for number in history), ahead=28)
        assert found.orders_N[place] == pytest.approx(2 * days[0], rel=1e-3)
