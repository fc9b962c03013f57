"""The zero-inflated lognormal, against scipy's normal and lognormal, and against draws."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from memberlevel_spark.models.lognormal import LARGEST_SIGMA, SMALLEST_SIGMA, LogNormalAmounts
from memberlevel_spark.models.normal import log_between_from

pytestmark = pytest.mark.torch

P_SOME = 0.8


def amounts(mu: float, sigma: float, dtype: torch.dtype = torch.float64) -> LogNormalAmounts:
    """One row."""
    return LogNormalAmounts(*(torch.tensor([value], dtype=dtype) for value in (math.log(P_SOME), mu, sigma)))


SMALL, LARGE = amounts(1.5, 0.6), amounts(8.5, 1.1)


def log_probability(of: LogNormalAmounts, amount: float) -> float:
    return of.log_likelihood_given_some(torch.tensor([amount], dtype=of.mu_B.dtype)).item()


def test_the_probabilities_of_all_amounts_add_up_to_one() -> None:
    assert sum(math.exp(log_probability(SMALL, n)) for n in range(2000)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("amount", [0, 1, 7, 30, 400])
@pytest.mark.parametrize("of", [SMALL, LARGE])
def test_an_amount_is_a_slice_of_a_normal(of: LogNormalAmounts, amount: int) -> None:
    edges = np.log(np.array([amount + 0.5, amount + 1.5]))
    edges[0] = -np.inf if amount == 0 else edges[0]
    y = stats.norm(of.mu_B.item(), of.sigma_B.item())
    # Where the left tail is all there is, its differences keep their digits.
    expected = np.diff(y.cdf(edges))[0] if edges[1] < y.mean() else -np.diff(y.sf(edges))[0]
    assert log_probability(of, amount) == pytest.approx(math.log(expected), rel=1e-6)


@pytest.mark.parametrize("amount", [0.0, 3.0, 900.0, 1e5, 1e7])
def test_float32_keeps_the_digits_of_large_amounts_in_thin_slices(amount: float) -> None:
    exact, rounded = (log_probability(amounts(8.5, 1.1, dtype), amount) for dtype in (torch.float64, torch.float32))
    assert rounded == pytest.approx(exact, abs=2e-5 * (1 + abs(exact)))
    # 1e7 is a slice of a ten-millionth in log space: density times width.
    density = stats.lognorm(s=1.1, scale=math.exp(8.5)).logpdf(1e7 + 1)
    assert log_probability(LARGE, 1e7) == pytest.approx(density, abs=1e-6)


@pytest.mark.parametrize("width", [1e-9, 1e-3, 0.0199, 0.0201, 0.5, 9.0])
@pytest.mark.parametrize("low", [-30.0, -3.0, -0.01, 0.0, 2.0, 30.0])
def test_a_slice_of_the_normal_is_exact_on_both_sides_of_where_the_formula_changes(low: float, width: float) -> None:
    found = log_between_from(*(torch.tensor([value], dtype=torch.float64) for value in (low, width))).item()
    steps = low + width * (np.polynomial.legendre.leggauss(60)[0] + 1) / 2
    weights = np.polynomial.legendre.leggauss(60)[1] * width / 2
    largest = stats.norm.logpdf(steps).max()
    expected = largest + math.log((weights * np.exp(stats.norm.logpdf(steps) - largest)).sum())
    assert found == pytest.approx(expected, abs=2e-6)


def test_a_refund_beyond_the_purchases_counts_as_nothing_spent() -> None:
    assert log_probability(SMALL, -500.0) == log_probability(SMALL, 0.0)


@pytest.mark.parametrize("needed", [1, 2, 10])
def test_survival_is_the_sum_of_the_amounts_from_the_threshold_on(needed: int) -> None:
    expected = P_SOME * (1 - sum(math.exp(log_probability(SMALL, n)) for n in range(needed)))
    found = SMALL.log_survival(torch.tensor([[float(needed), 0.0]], dtype=torch.float64)).exp()
    assert found[0].tolist() == pytest.approx([expected, 1.0], rel=1e-9)
    assert found[0, 0].item() == pytest.approx(P_SOME * stats.norm.sf(math.log(needed + 0.5), 1.5, 0.6), rel=1e-12)


@pytest.mark.parametrize(("mu", "sigma"), [(1.5, 0.6), (0.2, 1.4), (8.5, 1.1), (8.5, 0.1)])
def test_the_mean_is_that_of_a_large_sample_which_is_nothing_below_one(mu: float, sigma: float) -> None:
    y = np.random.default_rng(5).normal(mu, sigma, 4_000_000)
    drawn = np.maximum(np.expm1(y), 0)
    error = drawn.std() / math.sqrt(drawn.size) / drawn.mean()
    assert amounts(mu, sigma).mean().item() == pytest.approx(P_SOME * drawn.mean(), rel=4 * error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_quantile_is_scipys_of_those_with_an_order(share: float) -> None:
    found = LARGE.quantiles((share,))[0, 0].item()
    given_some = 1 - (1 - share) / P_SOME
    expected = stats.lognorm(s=1.1, scale=math.exp(8.5)).ppf(given_some) - 1 if given_some > 0 else 0.0
    assert found == pytest.approx(expected, rel=1e-9)
    drawn = np.expm1(np.random.default_rng(6).normal(8.5, 1.1, 1_000_000))
    bought = np.random.default_rng(7).random(drawn.size) < P_SOME
    assert (drawn * bought <= found).mean() == pytest.approx(max(share, 1 - P_SOME), abs=2e-3)


def test_sigma_stays_within_its_bounds_and_everything_finite_in_float32_with_gradients() -> None:
    raw = torch.tensor([[8.0, 0.0], [60.0, -90.0], [-60.0, 90.0], [8.0, -90.0], [8.0, 90.0]], requires_grad=True)
    log_p_some = torch.full((5,), -0.1)
    middle = (SMALLEST_SIGMA + LARGEST_SIGMA) / 2
    sigma = LogNormalAmounts.of(log_p_some, raw).sigma_B.tolist()
    assert sigma == pytest.approx([middle, SMALLEST_SIGMA, LARGEST_SIGMA, SMALLEST_SIGMA, LARGEST_SIGMA], abs=1e-5)
    for amount in (0.0, 1.0, 40.0, 1e4, 1e7, 1e10):
        raw.grad = None
        of = LogNormalAmounts.of(log_p_some, raw)
        found = [of.log_likelihood_given_some(torch.full((5,), amount)), of.log_survival(torch.full((5, 2), amount))]
        assert all(torch.isfinite(each).all() for each in (*found, of.mean(), of.quantiles((0.1, 0.5, 0.999))))
        sum(each.sum() for each in found).backward()
        assert raw.grad is not None and torch.isfinite(raw.grad).all()
        assert raw.grad[0].abs().sum() > 0


def test_the_gradient_is_that_of_the_exact_slice() -> None:
    mu = torch.tensor([8.5], requires_grad=True)
    of = LogNormalAmounts(torch.tensor([-0.1]), mu, torch.tensor([1.1]))
    of.log_likelihood_given_some(torch.tensor([1e6])).sum().backward()
    assert mu.grad is not None
    assert mu.grad.item() == pytest.approx((math.log(1e6 + 1) - 8.5) / 1.1**2, rel=1e-4)
