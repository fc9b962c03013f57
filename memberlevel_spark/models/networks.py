"""The networks: encoded features in; out P(level = k), the distributions of orders and of spend, the next category.

One body (``bodies.py``), and heads that agree with each other: whether a member orders at all is said once, and with it
number and spend are 0; a level by rules follows from the spend, orders or points to come and what the member needs.

Shape legend: B rows of a batch, F features, H numbers of the body, K levels (0 is the lowest), K1 levels above it, X
metrics of the level programme, C categories (the last is all others), T tasks.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from memberlevel_spark.models.amounts import Amounts, AmountsHead, EarnedHead
from memberlevel_spark.models.bodies import Body
from memberlevel_spark.models.counts import Counts, CountsHead
from memberlevel_spark.models.int8 import use_int8_layers
from memberlevel_spark.models.level_heads import Gate, NormalLevels, OrdinalLevels, SoftmaxLevels, levels_by_rules
from memberlevel_spark.models.lognormal import LogNormalAmounts, LogNormalHead
from memberlevel_spark.models.spec import LINEAR, ModelSpec

SPEND, ORDERS = "spend_cents", "num_orders"
SPEND_HEADS = {"mixture": AmountsHead, "lognormal": LogNormalHead}


class Outlook(NamedTuple):
    """What a network says of each member of a batch, over the label's window."""

    log_p_level_BK: Tensor
    log_p_none_B: Tensor  # log P(no order)
    orders: Counts
    spend: Amounts | LogNormalAmounts  # in minor units
    log_scale_T: Tensor  # how unsure each task of the loss is taken to be: level, orders, spend, next category
    log_p_category_BC: Tensor | None = None  # of the first order, given that there is one; None: it is not told


class Network(nn.Module):
    """One body and its heads."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._spec = spec
        self.body = Body(spec)
        width = self.body.width
        self.some = nn.Linear(width, 1)
        self.orders, self.spend = CountsHead(width), SPEND_HEADS[spec.spend_head](width)
        by_others = [metric for metric in spec.metrics if metric not in (SPEND, ORDERS)] if spec.by_rules else []
        self.earned = nn.ModuleDict({metric: EarnedHead(width) for metric in by_others})
        self.levels = _level_head(spec, width)
        self.categories = nn.Linear(width, spec.num_p_category) if spec.num_p_category else None
        self.log_scale_T = nn.Parameter(torch.zeros(3 if self.categories is None else 4))

    def forward(self, features_BF: Tensor) -> Outlook:
        """Return the outlook of each row."""
        known_BH = self.body(features_BF).to(features_BF.dtype)
        needs_BN = features_BF[:, self._spec.num_encoded : self._spec.num_encoded + self._spec.num_needs]
        # Logarithms of small probabilities need all digits, also where the body computes with fewer.
        with torch.autocast(features_BF.device.type, enabled=False):
            return self._outlook(known_BH, needs_BN)

    def _outlook(self, known_BH: Tensor, needs_BN: Tensor) -> Outlook:
        some_B = self.some(known_BH).squeeze(1)
        log_p_some_B = functional.logsigmoid(some_B)
        orders, spend = self.orders(log_p_some_B, known_BH), self.spend(log_p_some_B, known_BH)
        levels_BK = self._levels(known_BH, needs_BN, {ORDERS: orders, SPEND: spend})
        outlook = Outlook(levels_BK, functional.logsigmoid(-some_B), orders, spend, self.log_scale_T)
        if self.categories is None:
            return outlook
        return outlook._replace(log_p_category_BC=functional.log_softmax(self.categories(known_BH), dim=1))

    def _levels(
        self, known_BH: Tensor, needs_BN: Tensor, earned: Mapping[str, Counts | Amounts | LogNormalAmounts]
    ) -> Tensor:
        if not self._spec.by_rules:
            assert self.levels is not None
            direct_BK: Tensor = self.levels(known_BH)
            return direct_BK
        earned = {**earned, **{metric: head(known_BH) for metric, head in self.earned.items()}}
        needs_BXK1 = needs_BN.unflatten(1, (len(self._spec.metrics), -1))
        reached = [earned[metric].log_survival(needs_BXK1[:, x]) for x, metric in enumerate(self._spec.metrics)]
        by_rules_BK = levels_by_rules(torch.stack(reached), every_metric=self._spec.every_metric)
        return by_rules_BK if self.levels is None else self.levels(known_BH, by_rules_BK)


def _level_head(spec: ModelSpec, width: int) -> nn.Module | None:
    """The head of the levels; None where the rules alone give them."""
    kind = LINEAR.get(spec.name, spec.level_head)
    if kind == "rules":
        return None
    heads = {"gate": Gate, "softmax": SoftmaxLevels, "hinge": SoftmaxLevels, "ordinal": OrdinalLevels}
    return {**heads, "normal": NormalLevels}[kind](width, spec.num_levels)


def build_network(spec: ModelSpec) -> Network:
    """Build the network a spec names, with fresh weights from torch's current random state."""
    network = Network(spec)
    if spec.int8:
        use_int8_layers(network.body)
    return network
