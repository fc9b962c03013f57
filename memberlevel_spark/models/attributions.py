"""Why a network says what it says: from the typical member of a level to this one, by integrated gradients.

Integrated gradients (Sundararajan, Taly, Yan 2017, equation 1; computed by Captum) follow a chance along the straight
line from one input to another and give each feature its part of the difference. The parts add up to it, but for the
error of the numerical integral, which is stated. Two parts of the input change in one step each: needs, since a level
that needs nothing more is certain and one that needs a cent is not, so that no path leads from one to the other, and
events, which cannot be mixed. So first the needs become the member's, then, by the integral, the encoded features, then
the events.

Shape legend: B rows, E elements of the array of features, P of them encoded features, N needs, V of events, O outcomes,
K levels.
"""

from typing import NamedTuple

import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

# Chances that are explained: up, down, buy.
_NUM_OUTCOMES = 3


class Attributions(NamedTuple):
    """Of every row and outcome; ``chance = typical + needs + parts + events + unexplained``."""

    chance_BO: Tensor
    typical_BO: Tensor
    needs_BO: Tensor
    parts_BOP: Tensor
    events_BO: Tensor
    unexplained_BO: Tensor


class _Chances(nn.Module):
    """The chances of moving up, of moving down and of an order, as differentiable functions of the features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, encoded_BP: Tensor, others_BX: Tensor, level_now_B: Tensor) -> Tensor:
        outlook = self.network(torch.cat([encoded_BP, others_BX], dim=1))
        p_level_BK = outlook.log_p_level_BK.exp()
        level_K = torch.arange(p_level_BK.shape[1])
        above_BK, below_BK = level_K > level_now_B[:, None], level_K < level_now_B[:, None]
        chances = [(p_level_BK * above_BK).sum(1), (p_level_BK * below_BK).sum(1), -torch.expm1(outlook.log_p_none_B)]
        return torch.stack(chances, dim=1)


def attribute(
    network: nn.Module,
    features_BE: Tensor,
    level_now_B: Tensor,
    typical_KX: Tensor,
    *,
    num_encoded: int,
    num_steps: int,
) -> Attributions:
    """Explain the network's chances, uncalibrated, against the typical member of the level that each row holds.

    ``typical_KX`` has the encoded features and needs of each level. The integral takes ``num_steps`` points of a
    Gauss-Legendre quadrature per row and outcome. The network must be in evaluation mode.
    """
    typical_BX = typical_KX[level_now_B]
    num_typical = typical_BX.shape[1]
    start_BP, encoded_BP = (rows[:, :num_encoded].contiguous() for rows in (typical_BX, features_BE))
    needs_BN, events_BV = features_BE[:, num_encoded:num_typical], features_BE[:, num_typical:]
    no_events_BV = torch.zeros_like(events_BV)
    typical_needs_BX, own_needs_BX, own_BX = (
        torch.cat(others, dim=1)
        for others in (
            (typical_BX[:, num_encoded:], no_events_BV),
            (needs_BN, no_events_BV),
            (needs_BN, events_BV),
        )
    )
    chances = _Chances(network)
    with torch.no_grad():
        typical_BO = chances(start_BP, typical_needs_BX, level_now_B)
        with_needs_BO = chances(start_BP, own_needs_BX, level_now_B)
        without_events_BO = chances(encoded_BP, own_needs_BX, level_now_B)
        chance_BO = chances(encoded_BP, own_BX, level_now_B)
    gradients = IntegratedGradients(chances)
    parts = [
        gradients.attribute(
            encoded_BP,
            baselines=start_BP,
            target=outcome,
            additional_forward_args=(own_needs_BX, level_now_B),
            n_steps=num_steps,
            method="gausslegendre",
        )
        for outcome in range(_NUM_OUTCOMES)
    ]
    parts_BOP = torch.stack(parts, dim=1).detach()
    return Attributions(
        chance_BO=chance_BO,
        typical_BO=typical_BO,
        needs_BO=with_needs_BO - typical_BO,
        parts_BOP=parts_BOP,
        events_BO=chance_BO - without_events_BO,
        unexplained_BO=without_events_BO - with_needs_BO - parts_BOP.sum(dim=2),
    )
