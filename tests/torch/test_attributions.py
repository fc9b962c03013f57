"""Integrated gradients of the chances: parts that add up, closed forms, and rows that do not disturb each other."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.special import logit
from torch import Tensor, nn

from memberlevel_spark.models.attributions import attribute
from memberlevel_spark.models.level_heads import SoftmaxLevels
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.predictor import EXPLAINED_ROWS, PackedModel, attributions, predict

pytestmark = pytest.mark.torch


class Product(nn.Module):
    """Two levels; P(level 1) is 0.5 + 0.3 x y + 0.1 z, 0.2 less with any need; P(order) is 0.2 + 0.5 z, an event."""

    def forward(self, features_BE: Tensor) -> SimpleNamespace:
        x_B, y_B, need_B, z_B = features_BE.unbind(dim=1)
        up_B = 0.5 + 0.3 * x_B * y_B + 0.1 * z_B - 0.2 * (need_B > 0)
        return SimpleNamespace(
            log_p_level_BK=torch.stack([1 - up_B, up_B], dim=1).log(), log_p_none_B=torch.log(0.8 - 0.5 * z_B)
        )


def test_parts_are_the_closed_form_of_the_path_and_needs_and_events_are_steps_of_their_own():
    features = torch.tensor([[1.0, 0.5, 0.0, 0.2], [0.5, 1.0, 70.0, 0.0]])
    typical = torch.tensor([[0.5, 0.1, 50.0], [0.0, 0.0, 0.0]])
    found = attribute(Product(), features, torch.tensor([0, 0]), typical, num_encoded=2, num_steps=8)
    # The integral of 0.3 y along the straight line, times the step in x: 0.3 (x - x0) (y + y0) / 2.
    np.testing.assert_allclose(found.parts_BOP[0, 0], [0.3 * 0.5 * 0.3, 0.3 * 0.4 * 0.75], rtol=1e-5)
    np.testing.assert_allclose(found.parts_BOP[1, 0], [0.0, 0.3 * 0.9 * 0.5], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.typical_BO[:, 0], [0.315, 0.315], rtol=1e-6)
    np.testing.assert_allclose(found.needs_BO, [[0.2, 0.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(found.events_BO, [[0.02, 0.0, 0.1], [0.0, 0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(found.chance_BO[0], [0.67, 0.0, 0.3], rtol=1e-5)
    assert found.unexplained_BO.abs().max() < 1e-6


def test_each_row_is_compared_with_the_typical_member_of_its_own_level_and_moves_from_there():
    features = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).repeat(2, 1)
    typical = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    found = attribute(Product(), features, torch.tensor([0, 1]), typical, num_encoded=2, num_steps=8)
    np.testing.assert_allclose(found.typical_BO[:, :2], [[0.5, 0.0], [0.0, 0.35]], rtol=1e-6)
    # From level 1 down: the chance is 0.5 - 0.3 x y, and only y differs.
    np.testing.assert_allclose(found.parts_BOP[1, 1], [0.0, -0.3 * 0.5], rtol=1e-5, atol=1e-7)


def packed(**changes: object) -> tuple[PackedModel, ModelSpec]:
    rules = {"level_head": "gate", "metrics": ("spend_cents",), **changes}
    spec = ModelSpec(name="mlp", num_features=10, num_levels=3, hidden=(16, 16), dropout=0.1, **rules)
    torch.manual_seed(3)
    return PackedModel(save(build_network(spec).state_dict()), json.dumps(spec.to_dict())), spec


def rows(number: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    plain = rng.normal(size=(number, 8))
    needs = rng.integers(1, 100_000, size=(number, 2))
    return np.concatenate([plain, needs], axis=1).astype(np.float32)


def test_chances_are_the_predictors_and_parts_make_up_the_difference_to_the_typical_member():
    model, _ = packed()
    features, level_now = rows(300), np.arange(300) % 3
    typical = np.stack([features[level_now == level].mean(axis=0) for level in range(3)])
    found = attributions(model, features, level_now, typical, num_steps=64)
    p_level = predict(model, features)[:, :3]
    above = np.arange(3) > level_now[:, None]
    np.testing.assert_allclose(found.chance_NO[:, 0], (p_level * above).sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.chance_NO[:, 2], predict(model, features)[:, 3], atol=1e-6)
    total = found.typical_NO + found.needs_NO + found.parts_NOP.sum(axis=2) + found.events_NO + found.unexplained_NO
    np.testing.assert_allclose(total, found.chance_NO, atol=1e-6)
    assert np.abs(found.unexplained_NO).max() < 5e-3
    assert (found.chance_NO[level_now == 2, 0] == 0).all() and (found.chance_NO[level_now == 0, 1] == 0).all()


def test_more_points_of_the_integral_leave_less_unexplained():
    model, _ = packed()
    features, level_now = rows(200), np.arange(200) % 3
    typical = np.zeros((3, 10), dtype=np.float32)
    errors = [
        np.abs(attributions(model, features, level_now, typical, num_steps=steps).unexplained_NO).mean()
        for steps in (4, 64)
    ]
    assert errors[1] < errors[0] / 2


def test_a_row_is_explained_the_same_whatever_rows_come_with_it():
    model, _ = packed()
    features, level_now = rows(EXPLAINED_ROWS + 7), np.zeros(EXPLAINED_ROWS + 7, dtype=np.int64)
    typical = np.zeros((3, 10), dtype=np.float32)
    together = attributions(model, features, level_now, typical, num_steps=4)
    alone = attributions(model, features[-1:], level_now[-1:], typical, num_steps=4)
    np.testing.assert_array_equal(alone.parts_NOP[0], together.parts_NOP[-1])


def shap_of_linear(weights_P: Tensor, features_NP: np.ndarray, typical_P: np.ndarray) -> np.ndarray:
    """SHAP's values of a linear function against one background row (Lundberg and Lee 2017, corollary 1)."""
    return np.asarray(weights_P.detach().numpy() * (features_NP - typical_P))


@pytest.mark.parametrize("outcome", ["up", "buy"])
def test_of_a_linear_network_the_parts_are_shaps_on_the_scale_of_the_chance(outcome: str):
    """P is the logistic function of a linear one, so that parts keep their shares along the line: w_i dx_i dP / df."""
    spec = ModelSpec(name="logistic", num_features=8, num_levels=2, hidden=(), dropout=0.0)
    torch.manual_seed(4)
    network = build_network(spec).eval()
    assert isinstance(network.levels, SoftmaxLevels)
    levels = network.levels.scores
    for layer in (levels, network.some):
        nn.init.normal_(layer.weight, std=0.5)
    weights_P = levels.weight[1] - levels.weight[0] if outcome == "up" else network.some.weight[0]
    rng = np.random.default_rng(8)
    features_NP, typical_P = rng.normal(size=(60, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    model = PackedModel.holding(network, spec)
    level_now_N, typical_KP = np.zeros(60, dtype=np.int64), np.stack([typical_P, typical_P])
    found = attributions(model, features_NP, level_now_N, typical_KP, num_steps=64)
    place = {"up": 0, "buy": 2}[outcome]
    shap_NP = shap_of_linear(weights_P, features_NP, typical_P)
    own_N, typical_N = found.chance_NO[:, place], found.typical_NO[:, place]
    np.testing.assert_allclose(shap_NP.sum(axis=1), logit(own_N) - logit(typical_N), atol=1e-4)
    scale_N = (own_N - typical_N) / shap_NP.sum(axis=1)
    np.testing.assert_allclose(found.parts_NOP[:, place], shap_NP * scale_N[:, None], atol=2e-5)
