"""Levels by rules, ordinal levels and the gate, each against what they must be by their definition."""

import numpy as np
import pytest
import torch

from memberlevel_spark.models.level_heads import Gate, OrdinalLevels, levels_by_rules

pytestmark = pytest.mark.torch


def log_reached(*rows: list[float]) -> torch.Tensor:
    """Metrics x 1 member x levels above the lowest."""
    return torch.tensor(rows).log()[:, None]


def test_the_probability_of_a_level_is_what_is_reached_less_what_is_reached_beyond() -> None:
    p = levels_by_rules(log_reached([0.9, 0.5, 0.2]), every_metric=True).exp()
    torch.testing.assert_close(p, torch.tensor([[0.1, 0.4, 0.3, 0.2]]), atol=1e-5, rtol=0)


def test_every_metric_asks_for_the_least_likely_and_any_for_the_likeliest() -> None:
    reached = log_reached([0.9, 0.2], [0.6, 0.5])
    every, any_of = (levels_by_rules(reached, every_metric=given).exp() for given in (True, False))
    torch.testing.assert_close(every, torch.tensor([[0.4, 0.4, 0.2]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(any_of, torch.tensor([[0.1, 0.4, 0.5]]), atol=1e-5, rtol=0)


def test_a_level_that_is_reached_already_leaves_no_room_below() -> None:
    p = levels_by_rules(log_reached([1.0, 1.0, 0.25]), every_metric=True).exp()
    torch.testing.assert_close(p, torch.tensor([[0.0, 0.0, 0.75, 0.25]]), atol=1e-5, rtol=0)


def test_a_harder_level_is_never_likelier_than_an_easier_one() -> None:
    p = levels_by_rules(log_reached([0.3, 0.6]), every_metric=True).exp()
    torch.testing.assert_close(p, torch.tensor([[0.7, 0.0, 0.3]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_levels", [2, 3, 12])
def test_ordinal_levels_are_differences_of_cumulative_logits(num_levels: int) -> None:
    head = OrdinalLevels(5, num_levels).double()
    rows = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2
    steps = np.log1p(np.exp(head.raw_steps.detach().numpy()))
    cuts = head.first_cut.item() + np.concatenate([[0.0], np.cumsum(steps)])
    above = 1 / (1 + np.exp(-(head.mu(rows).detach().numpy() - cuts)))
    edges = np.concatenate([np.ones((20, 1)), above, np.zeros((20, 1))], axis=1)
    np.testing.assert_allclose(head(rows).exp().detach().numpy(), edges[:, :-1] - edges[:, 1:], atol=1e-12)


def test_the_gate_mixes_rules_and_softmax_by_its_trust() -> None:
    gate = Gate(5, 3)
    rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    by_rules = torch.tensor([[0.7, 0.2, 0.1]]).expand(4, -1)
    trust = torch.sigmoid(torch.tensor(1.0))  # of fresh weights, whoever the member is
    expected = trust * by_rules + (1 - trust) * gate.free(rows).exp()
    torch.testing.assert_close(gate(rows, by_rules.log()).exp(), expected)
    gate.trust.bias.data.fill_(30.0)
    torch.testing.assert_close(gate(rows, by_rules.log()).exp(), by_rules)
