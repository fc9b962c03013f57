"""The networks and losses, each against an independent derivation."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.nn import functional

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.models.level_heads import NormalLevels
from memberlevel_spark.models.losses import cross_entropy_B, level_loss_B, outcome_losses_B2, weighed_B
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.normal import log_normal_cdf
from memberlevel_spark.models.numeric_embeddings import NUM_UNITS, PeriodicEmbeddings
from memberlevel_spark.models.spec import BODIES, HEADS, LINEAR, ModelSpec

pytestmark = pytest.mark.torch

# 2 measures x 3 weeks are the last features before the 4 levels; then two metrics' needs of 3 levels each; then two
# events of 9 numbers each.
WEEKLY, METRICS, NUM_ENCODED = (2, 3), ("spend_cents", "points"), 12
EVENTS = (2, 3, 4, 3, 9, 25, 8)
KINDS = [(name, "softmax") for name in LINEAR] + [(name, head) for name in BODIES for head in HEADS]


def spec_of(name: str, head: str = "gate", **changes: object) -> ModelSpec:
    values = {"level_head": head, "metrics": METRICS, "weekly": WEEKLY, "events": EVENTS, "hidden": (16, 8), **changes}
    return ModelSpec(name, NUM_ENCODED + 6 + 18, 4, **values)  # type: ignore[arg-type]


def member_rows(num_rows: int = 64) -> torch.Tensor:
    """Encoded features, and needs that rise from level to level: of spend in one row, of points in the next."""
    needs = torch.tensor([[0.0, 3_000.0, 60_000.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 500.0, 9_000.0]])
    events = torch.tensor([[1.0, 2, 3, 1, 2, 0, 8, 5, 24, 1, 7, 2, 0.7, 0.4, 0.1, 0.3, 0.2, 0.5], [0.0] * 18])
    parts = [rows.repeat(num_rows, 1)[:num_rows] for rows in (needs, events)]
    return torch.cat([random_rows(num_rows, NUM_ENCODED), *parts], dim=1)


def random_rows(num_rows: int = 64, num_features: int = 5) -> torch.Tensor:
    return torch.randn(num_rows, num_features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "head"), KINDS)
def test_every_network_forecasts_levels_orders_and_spend_with_a_gradient_for_every_weight(name: str, head: str) -> None:
    network = build_network(spec_of(name, head))
    outlook = network(member_rows())
    assert outlook.log_p_level_BK.shape == (64, 4)
    torch.testing.assert_close(outlook.log_p_level_BK.exp().sum(dim=1), torch.ones(64), atol=1e-5, rtol=0)
    target_B, outcomes_B2 = torch.arange(64) % 4, torch.tensor([[0.0, 0.0], [3.0, 4_500.0]]).repeat(32, 1)
    losses = [cross_entropy_B(outlook.log_p_level_BK, target_B)[:, None], outcome_losses_B2(outlook, outcomes_B2)]
    weighed_B(torch.cat(losses, dim=1), outlook.log_scale_T).sum().backward()
    for name_of, parameter in network.named_parameters():
        assert parameter.grad is not None, name_of
        assert torch.isfinite(parameter.grad).all(), name_of
        assert parameter.grad.abs().sum() > 0, name_of


@pytest.mark.parametrize("head", HEADS)
def test_a_lognormal_spend_gives_every_weight_a_gradient_too(head: str) -> None:
    network = build_network(spec_of("mlp", head, spend_head="lognormal"))
    outlook = network(member_rows())
    target_B, outcomes_B2 = torch.arange(64) % 4, torch.tensor([[0.0, 0.0], [3.0, 4_500.0]]).repeat(32, 1)
    losses = [cross_entropy_B(outlook.log_p_level_BK, target_B)[:, None], outcome_losses_B2(outlook, outcomes_B2)]
    weighed_B(torch.cat(losses, dim=1), outlook.log_scale_T).sum().backward()
    for name_of, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name_of
        assert parameter.grad.abs().sum() > 0, name_of


def test_levels_by_rules_follow_from_a_lognormal_spend() -> None:
    spec = ModelSpec("mlp", 8, 3, hidden=(4,), level_head="rules", metrics=("spend_cents",), spend_head="lognormal")
    rows = torch.cat([random_rows(4, 6), torch.tensor([[0.0, 900.0], [500.0, 4_000.0]]).repeat(2, 1)], dim=1)
    outlook = build_network(spec).eval()(rows)
    mu, sigma = (outlook.spend[place].detach().double().numpy()[:, None] for place in (1, 2))
    p_some = outlook.spend.log_p_some_B.detach().double().exp().numpy()[:, None]
    needs = rows[:, 6:].double().numpy()
    reached = np.where(needs > 0, p_some * norm.sf(np.log(needs + 0.5), mu, sigma), 1.0)
    expected = np.diff(np.pad(reached, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0))), axis=1) * -1
    np.testing.assert_allclose(outlook.log_p_level_BK.exp().detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "head"), KINDS)
def test_a_row_is_forecast_the_same_alone_and_in_a_batch(name: str, head: str) -> None:
    network, rows = build_network(spec_of(name, head)).eval(), member_rows()
    whole, alone = network(rows), network(rows[7:8])
    torch.testing.assert_close(whole.log_p_level_BK[7:8], alone.log_p_level_BK)
    torch.testing.assert_close(whole.spend.mean()[7:8], alone.spend.mean())


@pytest.mark.parametrize("name", BODIES)
def test_a_sequence_is_read_beside_the_features_in_the_order_of_its_weeks(name: str) -> None:
    network, rows = build_network(spec_of(name)).eval(), member_rows(1)
    weekly = slice(NUM_ENCODED - 4 - 6, NUM_ENCODED - 4)
    other = rows.clone()
    other[:, weekly] = rows[:, weekly].view(2, 3).flip(1).reshape(-1)
    changed = (network.body(rows) - network.body(other)).abs()
    assert changed[:, NUM_ENCODED:].sum() > 0
    if network.body.weeks is not None:
        oldest_first, every = network.body._weeks(rows), torch.ones(1, 3, dtype=torch.bool)
        assert oldest_first[0, -1].tolist() == rows[0, weekly][[0, 3]].tolist()  # the newest week of both measures
        difference = network.body.weeks(oldest_first, every) - network.body.weeks(oldest_first.flip(1), every)
        assert difference.abs().sum() > 0


@pytest.mark.parametrize("name", BODIES)
def test_needs_count_by_the_rules_only(name: str) -> None:
    """The body never sees them: two members who differ in what they need differ in their levels alone."""
    network, rows = build_network(spec_of(name, "rules")).eval(), member_rows(1)
    easier = rows.clone()
    easier[:, NUM_ENCODED + 1] = 1.0
    before, after = network(rows), network(easier)
    torch.testing.assert_close(before.spend.mean(), after.spend.mean(), rtol=0, atol=0)
    assert not torch.equal(before.log_p_level_BK, after.log_p_level_BK)


def test_the_mlp_without_hidden_layers_is_linear() -> None:
    network = build_network(spec_of("mlp", "softmax", hidden=()))
    rows = member_rows()
    expected = functional.log_softmax(network.levels.scores(rows[:, :NUM_ENCODED]), dim=1)
    torch.testing.assert_close(network(rows).log_p_level_BK, expected)


def test_dropout_acts_in_training_only() -> None:
    network = build_network(ModelSpec("mlp", 5, 4, dropout=0.5))
    rows = random_rows()
    assert not torch.equal(network(rows).log_p_level_BK, network(rows).log_p_level_BK)
    network.eval()
    assert torch.equal(network(rows).log_p_level_BK, network(rows).log_p_level_BK)


@pytest.mark.parametrize("num_levels", [2, 3, 7])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_the_linear_model_gives_the_probabilities_of_a_discretised_normal(num_levels: int, sigma: float) -> None:
    network = NormalLevels(5, num_levels).double()
    network.log_sigma.data.fill_(math.log(sigma))
    rows = random_rows().double() * 3
    mu = network.mu(rows).detach().numpy()
    edges = np.concatenate([[-np.inf], np.arange(num_levels - 1) + 0.5, [np.inf]])
    expected = np.diff(norm.cdf(edges, loc=mu, scale=sigma), axis=1)
    found = network(rows).detach().exp().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("log_sigma", [-10.0, -3.0, 0.0, 10.0])
def test_the_linear_model_stays_finite_with_gradients_far_from_every_level(log_sigma: float) -> None:
    network = NormalLevels(5, 4)
    network.log_sigma.data.fill_(log_sigma)
    rows = random_rows() * torch.logspace(-2, 4, 64)[:, None]
    scores_BK = network(rows)
    assert torch.isfinite(scores_BK).all()
    torch.testing.assert_close(scores_BK.exp().sum(dim=1), torch.ones(64), atol=1e-6, rtol=0)
    cross_entropy_B(scores_BK, torch.arange(64) % 4).sum().backward()
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


def test_the_level_losses_agree_with_scikit_learn() -> None:
    scores_BK, target_B = random_rows(50, 4) * 2, torch.arange(50) % 4
    log_p_BK = functional.log_softmax(scores_BK, dim=1)
    p = log_p_BK.exp().double().numpy()
    expected = log_loss(target_B.numpy(), p / p.sum(axis=1, keepdims=True), normalize=False, labels=range(4))
    plain_B = level_loss_B(log_p_BK, target_B, kind="likelihood", focal_gamma=0.0)
    assert plain_B.sum().item() == pytest.approx(expected, rel=1e-6)
    focal_B = level_loss_B(log_p_BK, target_B, kind="likelihood", focal_gamma=2.0)
    np.testing.assert_allclose(focal_B.numpy(), plain_B.numpy() * (1 - p[range(50), target_B]) ** 2, rtol=1e-5)


def test_the_hinge_loss_is_the_mean_margin_that_other_levels_violate() -> None:
    scores_BK, target_B = random_rows(50, 4) * 2, torch.arange(50) % 4
    own_B1 = scores_BK.gather(1, target_B[:, None])
    violated_BK = (1 - own_B1 + scores_BK).clamp(min=0)
    expected_B = (violated_BK.sum(dim=1) - 1) / 4  # its own level violates by 1
    found_B = level_loss_B(functional.log_softmax(scores_BK, dim=1), target_B, kind="hinge", focal_gamma=0.0)
    torch.testing.assert_close(found_B, expected_B)


def test_learned_weights_balance_the_tasks_at_the_log_of_their_losses() -> None:
    losses_BT = torch.tensor([[0.5, 2.0, 8.0]])
    scale_T = losses_BT[0].log().requires_grad_()
    weighed_B(losses_BT, scale_T).sum().backward()
    assert scale_T.grad is not None
    torch.testing.assert_close(scale_T.grad, torch.zeros(3))
    assert weighed_B(losses_BT, scale_T).item() == pytest.approx(3 + math.log(8.0))


def test_the_logistic_network_fitted_to_the_end_is_scikit_learns_regression() -> None:
    rows = random_rows(300, 3).double()
    target = torch.bucketize(rows[:, 0] + torch.sin(5 * rows[:, 1]), torch.tensor([-0.5, 0.5], dtype=torch.float64))
    network = build_network(ModelSpec("logistic", 3, 3)).double()
    optimizer = torch.optim.LBFGS(
        network.levels.parameters(), max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy_B(network(rows).log_p_level_BK, target).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    reference = LogisticRegression(C=1e9, max_iter=5000, tol=1e-10).fit(rows.numpy(), target.numpy())
    p = network(rows).log_p_level_BK.exp().detach().numpy()
    np.testing.assert_allclose(p, reference.predict_proba(rows.numpy()), atol=1e-4)


def test_a_spec_survives_json() -> None:
    spec = spec_of("gru", "rules", every_metric=False)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert ModelSpec.from_dict((spec8 := replace(spec, int8=True)).to_dict()) == spec8
    lognormal = replace(spec, spend_head="lognormal")
    assert ModelSpec.from_dict(json.loads(json.dumps(lognormal.to_dict()))) == lognormal
    assert "spend_head" not in spec.to_dict()


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown model: 'logstic'\. Use one of linear, .*; nearest: logistic\."):
        ModelSpec("logstic", 5, 4)


@pytest.mark.parametrize(
    "values",
    [
        {"num_features": 0},
        {"num_levels": 1},
        {"hidden": (8, 0)},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"week_channels": 0},
        {"week_channels": 6},
    ],
)
def test_impossible_sizes_are_refused(values: dict[str, object]) -> None:
    spec = ModelSpec("mlp", 5, 4).to_dict() | values
    with pytest.raises(ConfigError, match=r"impossible network: ModelSpec\(name='mlp'"):
        ModelSpec.from_dict(spec)


def test_a_spec_with_other_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="has other keys than expected: causal, dropout, events, every_metric,"):
        ModelSpec.from_dict({"name": "mlp", "num_features": 5, "num_levels": 4, "hidden": [], "width": 3})


def test_heads_by_rules_need_metrics_and_sequences_need_weeks() -> None:
    with pytest.raises(ConfigError, match=r"the level head gate needs metrics: .*Give the metrics"):
        ModelSpec("mlp", 5, 4, level_head="gate")
    with pytest.raises(ConfigError, match=r"lstm reads weekly tiles, and there are none: .*Use mlp"):
        ModelSpec("lstm", 5, 4)
    with pytest.raises(ConfigError, match=r"unknown level head: 'gates'\. .*nearest: gate\."):
        ModelSpec("mlp", 5, 4, level_head="gates")
    with pytest.raises(ConfigError, match=r"unknown spend head: 'normal'\. .*nearest: lognormal\."):
        ModelSpec("mlp", 5, 4, spend_head="normal")


@pytest.mark.parametrize("name", ["cnn", "lstm", "gru", "transformer"])
def test_the_state_of_a_week_is_as_wide_as_the_spec_says_and_files_from_before_it_said_so_have_48(name: str):
    spec = ModelSpec(name, 30, 4, hidden=(8,), weekly=(2, 6), week_channels=4)
    network = build_network(spec)
    assert network.body.weeks.width == 8 and network.body.hidden[0].in_features == 30 + 8
    assert network(torch.randn(3, 30)).log_p_level_BK.shape == (3, 4)
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    before = {key: value for key, value in spec.to_dict().items() if key != "week_channels"}
    assert build_network(ModelSpec.from_dict(before)).body.weeks.width == 96


def test_periodic_embeddings_are_waves_of_each_feature_alone_and_begin_slow():
    torch.manual_seed(1)
    embeddings = PeriodicEmbeddings(3, 2)
    features = torch.tensor([[0.5, -1.0, 2.0], [0.5, 3.0, 2.0]])
    units = embeddings(features)
    assert units.shape == (2, 3 * NUM_UNITS) and (units >= 0).all()
    assert torch.equal(units[0, :4], units[1, :4]) and torch.equal(units[0, 8:], units[1, 8:])
    assert not torch.equal(units[0, 4:8], units[1, 4:8])
    p, d = 2, 1
    angles = 2 * math.pi * 2.0 * embeddings.frequency_PC[p]
    waves = torch.cat([angles.sin(), angles.cos()])
    expected = torch.relu(waves @ embeddings.weight_PCD[p, :, d] + embeddings.bias_PD[p, d])
    assert units[0, p * NUM_UNITS + d].item() == pytest.approx(expected.item(), abs=1e-6)
    assert PeriodicEmbeddings(1000, 1).frequency_PC.std().item() == pytest.approx(0.05, rel=0.1)


def test_a_network_reads_every_number_by_its_waves_too_and_a_linear_one_does_not():
    plain = ModelSpec(name="mlp", num_features=6, num_levels=3, hidden=(8,))
    waves = replace(plain, periodic=4)
    assert build_network(waves).body.hidden[0].in_features == 6 + 6 * NUM_UNITS
    assert build_network(plain).body.hidden[0].in_features == 6
    linear = replace(waves, name="logistic")
    assert not any("numbers" in name for name in build_network(linear).state_dict())
    assert "periodic" not in plain.to_dict() and ModelSpec.from_dict(waves.to_dict()) == waves
