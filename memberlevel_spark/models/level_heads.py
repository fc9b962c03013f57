"""From what a network knows of a member to P(level = k), in several ways; all give log-probabilities.

Shape legend: B rows of a batch, H hidden units, K levels (0 is the lowest), K1 levels above the lowest, X metrics.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from memberlevel_spark.models.normal import log_between, log_normal_cdf

# The smallest probability of a level that the rules alone can give: a member may always be promoted by hand.
_SMALLEST = 1e-6


class SoftmaxLevels(nn.Module):
    """One linear score per level; also those of a support vector machine, whose loss alone is another."""

    def __init__(self, width: int, num_levels: int) -> None:
        super().__init__()
        self.scores = nn.Linear(width, num_levels)

    def forward(self, known_BH: Tensor) -> Tensor:
        """Return log-probabilities [B, K]."""
        return functional.log_softmax(self.scores(known_BH), dim=1)


class OrdinalLevels(nn.Module):
    """Cumulative logits: P(level ≥ k) = σ(μ − cut_k) with ascending cuts and one linear μ."""

    def __init__(self, width: int, num_levels: int) -> None:
        super().__init__()
        self.mu = nn.Linear(width, 1)
        self.first_cut = nn.Parameter(torch.tensor([-(num_levels - 2) / 2]))
        # log(e − 1) gives steps of 1.
        self.raw_steps = nn.Parameter(torch.full((num_levels - 2,), 0.5413))

    def forward(self, known_BH: Tensor) -> Tensor:
        """Return log-probabilities [B, K]."""
        cut_K1 = torch.cat([self.first_cut, self.first_cut + functional.softplus(self.raw_steps).cumsum(0)])
        z_BK1 = self.mu(known_BH) - cut_K1
        lowest_B1, highest_B1 = functional.logsigmoid(-z_BK1[:, :1]), functional.logsigmoid(z_BK1[:, -1:])
        high_BK2, low_BK2 = z_BK1[:, :-1], z_BK1[:, 1:]
        # σ(b) − σ(a) = σ(b) σ(−a) (1 − e^−(b − a))
        between_BK2 = functional.logsigmoid(high_BK2) + functional.logsigmoid(-low_BK2)
        between_BK2 = between_BK2 + torch.log(-torch.expm1(-(high_BK2 - low_BK2).clamp(min=1e-6)))
        return torch.cat([lowest_B1, between_BK2, highest_B1], dim=1)


class NormalLevels(nn.Module):
    """Linear regression of the level number with normal errors, cut into levels half-way between their numbers.

    P(level = k) = Φ((k + ½ − μ) / σ) − Φ((k − ½ − μ) / σ), the outer levels reaching to infinity; μ is linear and σ is
    one learned number.
    """

    # σ between 0.007 and 150 levels: beyond that a bin's two edges are the same float.
    _LOG_SIGMA_LIMIT = 5.0

    def __init__(self, width: int, num_levels: int) -> None:
        super().__init__()
        self.mu = nn.Linear(width, 1)
        self.log_sigma = nn.Parameter(torch.zeros(()))
        nn.init.constant_(self.mu.bias, (num_levels - 1) / 2)
        self.register_buffer("edges_K1", torch.arange(num_levels - 1) + 0.5, persistent=False)

    def forward(self, known_BH: Tensor) -> Tensor:
        """Return log-probabilities [B, K]."""
        sigma = self.log_sigma.clamp(-self._LOG_SIGMA_LIMIT, self._LOG_SIGMA_LIMIT).exp()
        z_BK1 = (self.edges_K1 - self.mu(known_BH)) / sigma
        lowest_B1 = log_normal_cdf(z_BK1[:, :1])
        highest_B1 = log_normal_cdf(-z_BK1[:, -1:])
        return torch.cat([lowest_B1, log_between(z_BK1[:, :-1], z_BK1[:, 1:]), highest_B1], dim=1)


def levels_by_rules(log_reached_XBK1: Tensor, *, every_metric: bool) -> Tensor:
    """Return log-probabilities [B, K] from log P(metric x reaches level k) of each metric.

    Metrics rise and fall together: a member reaches a level by every metric as surely as by the least likely one, and
    by any as surely as by the likeliest. That needs no more than the single distributions and keeps levels in order.
    """
    log_reached_BK1 = log_reached_XBK1.amin(dim=0) if every_metric else log_reached_XBK1.amax(dim=0)
    reached_BK1 = log_reached_BK1.exp().cummin(dim=1).values
    ones_B1, zeros_B1 = torch.ones_like(reached_BK1[:, :1]), torch.zeros_like(reached_BK1[:, :1])
    p_BK = torch.cat([ones_B1, reached_BK1], dim=1) - torch.cat([reached_BK1, zeros_B1], dim=1)
    num_levels = p_BK.shape[1]
    return torch.log((p_BK.clamp(min=0) + _SMALLEST) / (1 + num_levels * _SMALLEST))


class Gate(nn.Module):
    """A learned share, per member, of trust in the rules; the rest goes to a softmax of its own."""

    def __init__(self, width: int, num_levels: int) -> None:
        super().__init__()
        self.free = SoftmaxLevels(width, num_levels)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(self, known_BH: Tensor, by_rules_BK: Tensor) -> Tensor:
        """Return log-probabilities [B, K]."""
        trust_B1 = self.trust(known_BH)
        return torch.logaddexp(
            functional.logsigmoid(trust_B1) + by_rules_BK, functional.logsigmoid(-trust_B1) + self.free(known_BH)
        )
