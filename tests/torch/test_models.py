"""The networks and losses, each against an independent derivation."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.models.losses import correct_sum, cross_entropy_B, cross_entropy_sum
from memberlevel_spark.models.networks import LinearLevel, ModelSpec, build_network
from memberlevel_spark.models.normal import log_normal_cdf

pytestmark = pytest.mark.torch

NAMES = ("mlp", "logistic", "linear")


def random_rows(num_rows: int = 64, num_features: int = 5) -> torch.Tensor:
    return torch.randn(num_rows, num_features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_gives_one_score_per_level_and_a_gradient_for_every_weight(name: str) -> None:
    network = build_network(ModelSpec(name, 5, 4))
    scores_BK = network(random_rows())
    assert scores_BK.shape == (64, 4)
    cross_entropy_sum(scores_BK, torch.arange(64) % 4, torch.ones(64)).backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_scored_the_same_alone_and_in_a_batch(name: str) -> None:
    network = build_network(ModelSpec(name, 5, 4)).eval()
    rows = random_rows()
    torch.testing.assert_close(network(rows)[7:8], network(rows[7:8]))


def test_the_mlp_without_hidden_layers_is_a_linear_map_of_two_paths() -> None:
    network = build_network(ModelSpec("mlp", 5, 4, hidden=()))
    weights = dict(network.named_parameters())
    rows = random_rows()
    expected = rows @ (weights["head.weight"] + weights["skip.weight"]).T + weights["head.bias"]
    torch.testing.assert_close(network(rows), expected)


def test_dropout_acts_in_training_only() -> None:
    network = build_network(ModelSpec("mlp", 5, 4, dropout=0.5))
    rows = random_rows()
    assert not torch.equal(network(rows), network(rows))
    network.eval()
    assert torch.equal(network(rows), network(rows))


@pytest.mark.parametrize("num_levels", [2, 3, 7])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_the_linear_model_gives_the_probabilities_of_a_discretised_normal(num_levels: int, sigma: float) -> None:
    network = build_network(ModelSpec("linear", 5, num_levels)).double()
    assert isinstance(network, LinearLevel)
    network.log_sigma.data.fill_(math.log(sigma))
    rows = random_rows().double() * 3
    mu = network.mu(rows).detach().numpy()
    edges = np.concatenate([[-np.inf], np.arange(num_levels - 1) + 0.5, [np.inf]])
    expected = np.diff(norm.cdf(edges, loc=mu, scale=sigma), axis=1)
    found = network(rows).detach().exp().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    # The softmax of log-probabilities is the probabilities: callers need not know which network it is.
    np.testing.assert_allclose(torch.softmax(network(rows), dim=1).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("log_sigma", [-10.0, -3.0, 0.0, 10.0])
def test_the_linear_model_stays_finite_with_gradients_far_from_every_level(log_sigma: float) -> None:
    network = build_network(ModelSpec("linear", 5, 4))
    assert isinstance(network, LinearLevel)
    network.log_sigma.data.fill_(log_sigma)
    rows = random_rows() * torch.logspace(-2, 4, 64)[:, None]
    scores_BK = network(rows)
    assert torch.isfinite(scores_BK).all()
    torch.testing.assert_close(scores_BK.exp().sum(dim=1), torch.ones(64), atol=1e-6, rtol=0)
    cross_entropy_sum(scores_BK, torch.arange(64) % 4, torch.ones(64)).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.grad is not None)


def test_the_logarithm_of_the_normal_and_its_slope_hold_in_both_tails() -> None:
    z = torch.tensor([-1e5, -1000.0, -40.0, -5.0, 0.0, 3.0, 10.0], requires_grad=True)
    value = log_normal_cdf(z)
    value.sum().backward()
    exact_z = z.detach().double().numpy()
    np.testing.assert_allclose(value.detach().numpy(), norm.logcdf(exact_z), rtol=1e-6)
    slope = np.exp(norm.logpdf(exact_z[1:]) - norm.logcdf(exact_z[1:]))
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy()[1:], slope, rtol=1e-5, atol=1e-20)
    # Far left the slope is −z; there the difference of the two logarithms has no digits left even in float64.
    assert z.grad[0].item() == pytest.approx(1e5, rel=1e-5)


def test_losses_agree_with_scikit_learn_and_weigh_rows() -> None:
    scores_BK, target_B = random_rows(50, 4) * 2, torch.arange(50) % 4
    weight_B = torch.linspace(0, 2, 50)
    p = torch.softmax(scores_BK.double(), dim=1).numpy()
    expected = log_loss(target_B.numpy(), p, sample_weight=weight_B.numpy(), normalize=False, labels=range(4))
    assert cross_entropy_sum(scores_BK, target_B, weight_B).item() == pytest.approx(expected, rel=1e-6)
    hits = accuracy_score(target_B.numpy(), p.argmax(axis=1), sample_weight=weight_B.numpy(), normalize=False)
    assert correct_sum(scores_BK, target_B, weight_B).item() == pytest.approx(hits, rel=1e-6)
    np.testing.assert_allclose(cross_entropy_B(scores_BK, target_B).numpy(), -np.log(p[range(50), target_B]), rtol=1e-5)


def test_a_row_of_weight_0_adds_nothing_to_loss_and_gradient() -> None:
    scores = random_rows(3, 4).requires_grad_()
    loss = cross_entropy_sum(scores, torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.0, 1.0]))
    alone = cross_entropy_sum(scores[[0, 2]], torch.tensor([0, 2]), torch.ones(2))
    assert loss.item() == pytest.approx(alone.item())
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[1].tolist() == [0, 0, 0, 0]


def test_the_logistic_network_fitted_to_the_end_is_scikit_learns_regression() -> None:
    rows = random_rows(300, 3).double()
    target = torch.bucketize(rows[:, 0] + torch.sin(5 * rows[:, 1]), torch.tensor([-0.5, 0.5], dtype=torch.float64))
    network = build_network(ModelSpec("logistic", 3, 3)).double()
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy_sum(network(rows), target, torch.ones(300))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    reference = LogisticRegression(C=1e9, max_iter=5000, tol=1e-10).fit(rows.numpy(), target.numpy())
    p = torch.softmax(network(rows), dim=1).detach().numpy()
    np.testing.assert_allclose(p, reference.predict_proba(rows.numpy()), atol=1e-4)


def test_a_spec_survives_json() -> None:
    spec = ModelSpec("mlp", 10, 3, hidden=(8, 4), dropout=0.1)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown model: 'logstic'\. Use one of mlp, .*; nearest: logistic\."):
        ModelSpec("logstic", 5, 4)


@pytest.mark.parametrize(
    "values",
    [{"num_features": 0}, {"num_levels": 1}, {"hidden": (8, 0)}, {"dropout": 1.0}, {"dropout": -0.1}],
)
def test_impossible_sizes_are_refused(values: dict[str, object]) -> None:
    spec = ModelSpec("mlp", 5, 4).to_dict() | values
    with pytest.raises(ConfigError, match=r"impossible network: ModelSpec\(name='mlp'"):
        ModelSpec.from_dict(spec)


def test_a_spec_with_other_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="model spec has other keys than expected: dropout, width"):
        ModelSpec.from_dict({"name": "mlp", "num_features": 5, "num_levels": 4, "hidden": [], "width": 3})
