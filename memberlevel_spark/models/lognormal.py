"""The zero-inflated lognormal: no order at all, or an amount whose logarithm is normal (Wang, Liu and Miao 2019).

An amount is 0 without an order. With one, Y = log(1 + amount) is normal, cut into whole numbers as in ``amounts.py``:
amount n is Y between log(n + ½) and log(n + 1½), 0 is everything below.

Shape legend: B rows, K thresholds, Q shares.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from memberlevel_spark.models.normal import log_between_from, log_normal_cdf

# Of log(1 + amount). At the largest the mean is over seven times the median; below the smallest a miss costs too much.
SMALLEST_SIGMA, LARGEST_SIGMA = 0.1, 2.0
# Where every row begins: thirty units of a currency, in cents.
_FIRST_MU = 8.0
_SMALLEST_P = 1e-7
_LARGEST_LOG = 30.0


class LogNormalAmounts(NamedTuple):
    """One distribution per row."""

    log_p_some_B: Tensor  # log P(at least one order)
    mu_B: Tensor  # in log(1 + amount)
    sigma_B: Tensor

    @classmethod
    def of(cls, log_p_some_B: Tensor, raw_B2: Tensor) -> "LogNormalAmounts":
        """From 2 unbounded numbers per row."""
        mu_B, raw_B = raw_B2.unbind(dim=1)
        return cls(log_p_some_B, mu_B, SMALLEST_SIGMA + (LARGEST_SIGMA - SMALLEST_SIGMA) * torch.sigmoid(raw_B))

    def log_survival(self, needed_BK: Tensor) -> Tensor:
        """Return log P(amount ≥ needed) [B, K]; 0 where nothing is needed."""
        edge_BK = torch.log(needed_BK.clamp(min=0) + 0.5)
        log_p_BK = log_normal_cdf((self.mu_B[:, None] - edge_BK) / self.sigma_B[:, None])
        return torch.where(needed_BK > 0, log_p_BK + self.log_p_some_B[:, None], torch.zeros_like(log_p_BK))

    def log_likelihood_given_some(self, amount_B: Tensor) -> Tensor:
        """Return log P(amount | at least one order) [B]; amounts below 0, where refunds prevail, count as 0."""
        amount_B = amount_B.clamp(min=0)
        low_B = (torch.log(amount_B + 0.5) - self.mu_B) / self.sigma_B
        width_B = torch.log1p(1 / (amount_B + 0.5)) / self.sigma_B
        return torch.where(amount_B > 0, log_between_from(low_B, width_B), log_normal_cdf(low_B + width_B))

    def mean(self) -> Tensor:
        """Return the expected amount [B], those without an order included: E[max(e^Y − 1, 0)] times P(some).

        E[max(e^Y − 1, 0)] = e^(μ + σ²/2) Φ(μ/σ + σ) − Φ(μ/σ).
        """
        z_B = self.mu_B / self.sigma_B
        log_mean_B = (self.mu_B + self.sigma_B.square() / 2).clamp(max=_LARGEST_LOG)
        mean_B = torch.exp(log_mean_B) * torch.special.ndtr(z_B + self.sigma_B) - torch.special.ndtr(z_B)
        return mean_B.clamp(min=0) * self.log_p_some_B.exp()

    def quantiles(self, shares: Sequence[float]) -> Tensor:
        """Return the amounts [B, Q] below or at which shares of the probability lie, 0 where no order is likelier."""
        left_Q = 1 - self.log_p_some_B.new_tensor(tuple(shares))
        target_BQ = left_Q / self.log_p_some_B.exp().clamp(min=_SMALLEST_P)[:, None]
        z_BQ = torch.special.ndtri(target_BQ.clamp(_SMALLEST_P, 1 - _SMALLEST_P))
        log_amount_BQ = self.mu_B[:, None] - self.sigma_B[:, None] * z_BQ
        return torch.where(target_BQ < 1, torch.expm1(log_amount_BQ).clamp(min=0), torch.zeros_like(z_BQ))


class LogNormalHead(nn.Module):
    """The distribution of an amount, linear in what the body gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Linear(width, 2)
        with torch.no_grad():
            self.raw.bias[0] = _FIRST_MU

    def forward(self, log_p_some_B: Tensor, known_BH: Tensor) -> LogNormalAmounts:
        """Return one distribution per row."""
        return LogNormalAmounts.of(log_p_some_B, self.raw(known_BH))
