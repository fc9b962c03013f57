"""Distributions of orders and of spend, against scipy's and against sums over their own probabilities."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from memberlevel_spark.models.amounts import LARGEST_SCALE, SMALLEST_SCALE, Amounts
from memberlevel_spark.models.counts import Counts

pytestmark = pytest.mark.torch

P_SOME = 0.8


def amounts(*parts: tuple[float, float, float]) -> Amounts:
    """One row; a part is its weight, location and scale."""
    weight, location, scale = torch.tensor(parts, dtype=torch.float64).T
    log_p_some = torch.tensor([math.log(P_SOME)], dtype=torch.float64)
    return Amounts(log_p_some, weight.log()[None], location[None], scale[None])


SMALL = amounts((0.3, 1.0, 0.2), (0.7, 2.5, 0.4))
LARGE = amounts((0.5, 8.0, 0.3), (0.5, 10.0, 0.1))


def probability(of: Amounts, amount: float) -> float:
    return of.log_likelihood_given_some(torch.tensor([amount], dtype=torch.float64)).exp().item()


def test_the_probabilities_of_all_amounts_add_up_to_one() -> None:
    assert sum(probability(SMALL, n) for n in range(3000)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("amount", [0, 1, 7, 30])
def test_an_amount_is_a_slice_of_a_mixture_of_logistics(amount: int) -> None:
    edges = np.log(np.array([amount + 0.5, amount + 1.5]))
    edges[0] = -np.inf if amount == 0 else edges[0]
    parts = [(0.3, stats.logistic(1.0, 0.2)), (0.7, stats.logistic(2.5, 0.4))]
    expected = sum(weight * np.diff(part.cdf(edges))[0] for weight, part in parts)
    assert probability(SMALL, amount) == pytest.approx(expected, rel=1e-9)


def test_a_refund_beyond_the_purchases_counts_as_nothing_spent() -> None:
    assert probability(SMALL, -500.0) == probability(SMALL, 0.0)


@pytest.mark.parametrize("needed", [1, 2, 10])
def test_survival_is_the_sum_of_the_amounts_from_the_threshold_on(needed: int) -> None:
    expected = P_SOME * (1 - sum(probability(SMALL, n) for n in range(needed)))
    found = SMALL.log_survival(torch.tensor([[float(needed), 0.0]], dtype=torch.float64)).exp()
    assert found[0].tolist() == pytest.approx([expected, 1.0], rel=1e-9)


def test_the_mean_is_the_mean_of_a_large_sample() -> None:
    random = np.random.default_rng(5)
    first = random.random(2_000_000) < 0.5
    y = np.where(first, random.logistic(8.0, 0.3, first.size), random.logistic(10.0, 0.1, first.size))
    expected = P_SOME * np.expm1(y).mean()
    assert LARGE.mean().item() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_quantile_has_its_share_of_the_probability_below_it(share: float) -> None:
    quantile = LARGE.quantiles((share,))[:, 0]
    if share < 1 - P_SOME:
        assert quantile.item() == 0
    else:
        above = LARGE.log_survival((quantile + 0.5)[:, None]).exp().item()
        assert above == pytest.approx(1 - share, abs=1e-6)


def test_quantiles_of_several_rows_with_parts_of_unequal_weight_each_have_their_shares() -> None:
    uneven = [amounts((0.9, 8.0, 0.3), (0.1, 10.0, 0.1)), amounts((0.2, 6.0, 0.05), (0.8, 9.0, 0.4)), LARGE]
    rows = Amounts(*(torch.cat(parts) for parts in zip(*uneven, strict=True)))
    quantiles_BQ = rows.quantiles((0.3, 0.5, 0.9))
    above_BQ = rows.log_survival(quantiles_BQ + 0.5).exp()
    torch.testing.assert_close(above_BQ, torch.tensor([[0.7, 0.5, 0.1]] * 3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_scales_stay_where_the_mean_is_finite_and_logarithms_stay_finite_in_float32() -> None:
    raw = torch.tensor([[0.0, 0.0, 0.0, -50.0, 8.0, 50.0, -100.0, 0.0, 100.0]], requires_grad=True)
    of = Amounts.of(torch.tensor([-0.1]), raw)
    assert of.scale_BM[0].tolist() == pytest.approx([SMALLEST_SCALE, (SMALLEST_SCALE + LARGEST_SCALE) / 2, 0.5])
    assert LARGEST_SCALE < 1
    for amount in (0.0, 1.0, 1e7):
        likelihood = Amounts.of(torch.tensor([-0.1]), raw).log_likelihood_given_some(torch.tensor([amount]))
        assert torch.isfinite(likelihood).all()
        likelihood.sum().backward()
    of_needed = Amounts.of(torch.tensor([-0.1]), raw).log_survival(torch.tensor([[0.0, 5.0, 1e12]]))
    assert torch.isfinite(of_needed).all()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


MEAN, R = 2.5, 1.7
COUNTS = Counts(
    *(torch.tensor([value], dtype=torch.float64) for value in (math.log(P_SOME), math.log(MEAN), math.log(R)))
)
SCIPY = stats.nbinom(R, R / (R + MEAN))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_count_is_a_negative_binomial_without_zero(count: int) -> None:
    found = COUNTS.log_likelihood_given_some(torch.tensor([float(count)]).double()).exp().item()
    assert found == pytest.approx(SCIPY.pmf(count) / SCIPY.sf(0), rel=1e-9)


def test_the_mean_count_includes_members_without_orders() -> None:
    assert COUNTS.mean().item() == pytest.approx(P_SOME * MEAN / SCIPY.sf(0), rel=1e-9)


def test_a_count_reaches_a_threshold_as_often_as_scipy_says() -> None:
    found = COUNTS.log_survival(torch.tensor([[0.0, 1.0, 4.0, 4.0, 12.0]]).double()).exp()[0].tolist()
    expected = [1.0, *(P_SOME * SCIPY.sf(needed - 1) / SCIPY.sf(0) for needed in (1, 4, 4, 12))]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_need_between_two_numbers_takes_the_higher_and_one_out_of_reach_is_hardly_ever_met():
    found = COUNTS.log_survival(torch.tensor([[2.3, 3.0, 4.5, 5.0, 1e12]]).double())[0]
    assert found[0] == found[1] and found[2] == found[3] and found[4] < -300 and torch.isfinite(found).all()


def test_counts_stay_finite_in_float32_with_gradients_at_their_bounds() -> None:
    raw = torch.tensor([[-50.0, 50.0], [50.0, -50.0], [7.9, 7.9], [-7.9, -7.9]], requires_grad=True)
    of = Counts.of(torch.full((4,), -0.1), raw)
    found = [of.log_likelihood_given_some(torch.full((4,), count)) for count in (1.0, 1000.0)]
    assert all(torch.isfinite(each).all() for each in (*found, of.mean(), of.log_survival(torch.ones(4, 2))))
    torch.stack(found).sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
