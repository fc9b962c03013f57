"""What a member will earn, as a distribution over whole numbers: no order at all, or a mixture of log-logistics.

An amount (cents, points, items) is 0 without an order. With one, Y = log(1 + amount) is a mixture of logistic
distributions, cut into whole numbers: amount n is Y between log(n + ½) and log(n + 1½), 0 is everything below.

Shape legend: B rows, M parts of the mixture, K thresholds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# A part's scale in log space. The mean is finite below 1; half of it lets a part reach over a factor of a hundred.
SMALLEST_SCALE, LARGEST_SCALE = 0.02, 0.5
NUM_PARTS = 3
# Where the parts begin, in log(1 + amount): tens, hundreds and thousands of currency units in cents.
_FIRST_LOCATIONS = (7.0, 8.0, 9.0)
# Steps in log space towards a quantile: enough for a cent in a million.
_HALVINGS, _NEWTON_STEPS = 10, 4
_SMALLEST_P = 1e-7
_LARGEST_LOG = 30.0


class Amounts(NamedTuple):
    """One distribution per row."""

    log_p_some_B: Tensor  # log P(at least one order)
    log_weight_BM: Tensor  # of the parts, given an order
    location_BM: Tensor  # in log(1 + amount)
    scale_BM: Tensor

    @classmethod
    def of(cls, log_p_some_B: Tensor, raw_BP: Tensor) -> "Amounts":
        """From 3 M unbounded numbers per row."""
        weight_BM, location_BM, scale_BM = raw_BP.chunk(3, dim=1)
        scale_BM = SMALLEST_SCALE + (LARGEST_SCALE - SMALLEST_SCALE) * torch.sigmoid(scale_BM)
        return cls(log_p_some_B, functional.log_softmax(weight_BM, dim=1), location_BM, scale_BM)

    def log_survival(self, needed_BK: Tensor) -> Tensor:
        """Return log P(amount ≥ needed) [B, K]; 0 where nothing is needed."""
        edge_BK = torch.log(needed_BK.clamp(min=0) + 0.5)
        z_BKM = (self.location_BM[:, None] - edge_BK[:, :, None]) / self.scale_BM[:, None]
        log_p_BK = torch.logsumexp(functional.logsigmoid(z_BKM) + self.log_weight_BM[:, None], dim=2)
        return torch.where(needed_BK > 0, log_p_BK + self.log_p_some_B[:, None], torch.zeros_like(log_p_BK))

    def log_likelihood_given_some(self, amount_B: Tensor) -> Tensor:
        """Return log P(amount | at least one order) [B]; amounts below 0, where refunds prevail, count as 0."""
        amount_B = amount_B.clamp(min=0)
        low_BM = (torch.log(amount_B + 0.5)[:, None] - self.location_BM) / self.scale_BM
        width_BM = torch.log1p(1 / (amount_B + 0.5))[:, None] / self.scale_BM
        high_BM = low_BM + width_BM
        # σ(b) − σ(a) = σ(b) σ(−a) (1 − e^−(b − a)), which keeps its digits however close a and b are.
        between_BM = (
            functional.logsigmoid(high_BM) + functional.logsigmoid(-low_BM) + torch.log(-torch.expm1(-width_BM))
        )
        at_zero_BM = functional.logsigmoid(high_BM)
        log_p_BM = torch.where((amount_B > 0)[:, None], between_BM, at_zero_BM)
        return torch.logsumexp(log_p_BM + self.log_weight_BM, dim=1)

    def mean(self) -> Tensor:
        """Return the expected amount [B], those without an order included: E[max(e^Y − 1, 0)] times P(some).

        E[e^Y] of a logistic Y is e^μ πs / sin πs; what lies below 0 is cut off, which matters for amounts near 1 only.
        """
        scale = self.scale_BM * math.pi
        mean_BM = torch.exp(self.location_BM.clamp(max=_LARGEST_LOG)) * scale / torch.sin(scale) - 1
        return (mean_BM.clamp(min=0) * self.log_weight_BM.exp()).sum(dim=1) * self.log_p_some_B.exp()

    def quantiles(self, shares: Sequence[float]) -> Tensor:
        """Return the amounts [B, Q] below or at which shares of the probability lie, 0 where no order is likelier.

        A quantile lies between those of the parts; halving comes near it, Newton's steps the rest of the way.
        """
        left_Q1 = 1 - self.log_p_some_B.new_tensor(tuple(shares))[:, None]
        target_QB = left_Q1 / self.log_p_some_B.exp().clamp(min=_SMALLEST_P)
        parts = _Parts.of(self)
        of_parts_MQB = parts.at(torch.logit(target_QB.clamp(_SMALLEST_P, 1 - _SMALLEST_P)))
        low_QB, high_QB = of_parts_MQB.amin(dim=0), of_parts_MQB.amax(dim=0)
        for _ in range(_HALVINGS):
            middle_QB = (low_QB + high_QB) / 2
            is_above_QB = parts.above(middle_QB)[0] > target_QB
            low_QB, high_QB = torch.where(is_above_QB, middle_QB, low_QB), torch.where(is_above_QB, high_QB, middle_QB)
        found_QB = (low_QB + high_QB) / 2
        for _ in range(_NEWTON_STEPS):
            above_QB, density_QB = parts.above(found_QB)
            step_QB = (above_QB - target_QB) / density_QB.clamp(min=_SMALLEST_P)
            found_QB = (found_QB + step_QB).clamp(low_QB, high_QB)
        return torch.where(target_QB < 1, torch.expm1(found_QB).clamp(min=0), torch.zeros_like(found_QB)).T


class _Parts(NamedTuple):
    """The parts with rows last: along rows a processor computes several times faster than along three parts."""

    location_M1B: Tensor
    scale_M1B: Tensor
    weight_M1B: Tensor

    @classmethod
    def of(cls, amounts: Amounts) -> "_Parts":
        kept = (amounts.location_BM, amounts.scale_BM, amounts.log_weight_BM.exp())
        return cls(*(part_BM.T.contiguous()[:, None] for part_BM in kept))

    def at(self, logit_QB: Tensor) -> Tensor:
        """Where each part has a probability above it, given as its logit, [M, Q, B]."""
        return self.location_M1B - self.scale_M1B * logit_QB

    def above(self, log_amount_QB: Tensor) -> tuple[Tensor, Tensor]:
        """P(Y above) and the density there, given an order, [Q, B]."""
        above_MQB = torch.sigmoid((self.location_M1B - log_amount_QB) / self.scale_M1B)
        density_MQB = above_MQB * (1 - above_MQB) / self.scale_M1B
        return (above_MQB * self.weight_M1B).sum(dim=0), (density_MQB * self.weight_M1B).sum(dim=0)


class AmountsHead(nn.Module):
    """The distribution of an amount, linear in what the body gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Linear(width, 3 * NUM_PARTS)
        with torch.no_grad():
            self.raw.bias[NUM_PARTS : 2 * NUM_PARTS] = torch.tensor(_FIRST_LOCATIONS)

    def forward(self, log_p_some_B: Tensor, known_BH: Tensor) -> Amounts:
        """Return one distribution per row."""
        return Amounts.of(log_p_some_B, self.raw(known_BH))


class EarnedHead(nn.Module):
    """The distribution of an amount that needs no order, such as points or activities."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.some, self.amount = nn.Linear(width, 1), AmountsHead(width)

    def forward(self, known_BH: Tensor) -> Amounts:
        """Return one distribution per row."""
        amounts: Amounts = self.amount(functional.logsigmoid(self.some(known_BH).squeeze(1)), known_BH)
        return amounts
