"""How many orders a member will place: none, or a negative binomial that is cut off at 0.

Shape legend: B rows, K thresholds.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# Bounds of log mean and log dispersion before the cut: a count of e^±8 and more is beyond any horizon.
_LIMIT = 8.0
# A need beyond it is out of reach; below it every number is added up.
_MOST = 10_000


class Counts(NamedTuple):
    """One distribution per row: P(0), and above it a negative binomial of mean μ and variance μ + μ² / r, without 0."""

    log_p_some_B: Tensor  # log P(at least one)
    log_mean_B: Tensor  # log μ, before the cut
    log_r_B: Tensor

    @classmethod
    def of(cls, log_p_some_B: Tensor, raw_B2: Tensor) -> "Counts":
        """From 2 unbounded numbers per row."""
        log_mean_B, log_r_B = raw_B2.clamp(-_LIMIT, _LIMIT).unbind(dim=1)
        return cls(log_p_some_B, log_mean_B, log_r_B)

    def log_likelihood_given_some(self, count_B: Tensor) -> Tensor:
        """Return log P(count | at least one) [B] of counts of 1 and more."""
        return self._log_pmf(count_B.clamp(min=1)) - self._log_positive()

    def mean(self) -> Tensor:
        """Return the expected number [B]."""
        return torch.exp(self.log_mean_B - self._log_positive() + self.log_p_some_B)

    def log_survival(self, needed_BK: Tensor) -> Tensor:
        """Return log P(count ≥ needed) [B, K]; 0 where nothing is needed, hardly ever where the need is out of reach.

        A need may lie between two numbers, as the mean of several does; it takes the higher one.
        """
        within_BK = needed_BK <= _MOST
        number_BK = torch.where(within_BK, needed_BK, 1).ceil().clamp(min=1)
        most = int(number_BK.max())
        number_N = torch.arange(1, most + 1, device=needed_BK.device, dtype=self.log_mean_B.dtype)
        given_some = Counts(self.log_p_some_B[:, None], self.log_mean_B[:, None], self.log_r_B[:, None])
        p_BN = given_some.log_likelihood_given_some(number_N.expand(len(needed_BK), -1)).exp()
        below_BN = functional.pad(p_BN.cumsum(dim=1), (1, 0))[:, :most]
        above_BK = 1 - below_BN.gather(1, (number_BK - 1).long())
        above_BK = torch.where(within_BK, above_BK, 0).clamp(min=torch.finfo(p_BN.dtype).tiny)
        log_p_BK = above_BK.log() + self.log_p_some_B[:, None]
        return torch.where(needed_BK > 0, log_p_BK, torch.zeros_like(log_p_BK))

    def _log_pmf(self, count_B: Tensor) -> Tensor:
        r_B = self.log_r_B.exp()
        choices_B = torch.lgamma(count_B + r_B) - torch.lgamma(r_B) - torch.lgamma(count_B + 1)
        log_total_B = torch.logaddexp(self.log_r_B, self.log_mean_B)
        return choices_B + r_B * (self.log_r_B - log_total_B) + count_B * (self.log_mean_B - log_total_B)

    def _log_positive(self) -> Tensor:
        """log(1 − P(0)) before the cut, where log P(0) = r (log r − log(r + μ))."""
        log_p_zero_B = -self.log_r_B.exp() * functional.softplus(self.log_mean_B - self.log_r_B)
        return torch.log(-torch.expm1(log_p_zero_B))


class CountsHead(nn.Module):
    """The distribution of a count, linear in what the body gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Linear(width, 2)

    def forward(self, log_p_some_B: Tensor, known_BH: Tensor) -> Counts:
        """Return one distribution per row."""
        return Counts.of(log_p_some_B, self.raw(known_BH))
