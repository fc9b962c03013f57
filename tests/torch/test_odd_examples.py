"""Examples from which there is little to learn: training gives a finite model, or says what is wrong with counts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.models.losses import cross_entropy_B, outcome_losses_B2, weighed_B
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import BODIES, HEADS, LINEAR, ModelSpec
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel, predict
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import (
    NUM_LEVELS,
    examples_table,
    job,
    replaced,
    with_feature,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch


def forecast_of(given: TrainingJob) -> np.ndarray:
    """Train, and forecast random members and an all-zero one; every number must be one."""
    run = run_training(given)
    files = {name: (run.run_dir / name).read_bytes() for name in ("model.safetensors", "model.json")}
    rows = np.random.default_rng(5).normal(size=(40, given.model.num_features)).astype(np.float32)
    rows[0] = 0
    found = predict(PackedModel.of(files), rows)
    assert np.isfinite(found).all()
    assert found[:, : given.model.num_levels].sum(axis=1) == pytest.approx(np.ones(40))
    return found


def of_one_level(num_rows: int, level: int) -> pa.Table:
    return replaced(examples_table(0, num_rows), "target_level", pa.array([level] * num_rows, type=pa.int32()))


def test_ten_examples_are_enough_to_train(tmp_path: Path) -> None:
    train, validation = write_examples(tmp_path, [10]), write_examples(tmp_path, [4], split="validation", first_key=50)
    forecast_of(job(tmp_path, train, validation))


def test_where_everybody_holds_one_level_it_is_forecast_for_all(tmp_path: Path) -> None:
    only = (write_table(of_one_level(200, 1), tmp_path, part=0),)
    found = forecast_of(job(tmp_path, only, only, max_epochs=10))
    assert (found[:, :NUM_LEVELS].argmax(axis=1) == 1).all()


def test_a_level_that_training_lacks_and_validation_has_costs_much_but_not_infinitely_much(tmp_path: Path) -> None:
    train = (write_table(of_one_level(200, 0), tmp_path, part=0),)
    other = (write_table(of_one_level(60, 2), tmp_path, part=1, split="validation"),)
    given = job(tmp_path, train, other)
    assert run_training(given).best.validation_log_loss > 1


def test_members_who_never_order_have_no_spend(tmp_path: Path) -> None:
    table = examples_table(0, 200)
    nothing = pa.array([[0.0, 0.0]] * 200, type=table.schema.field("outcomes").type)
    files = (write_table(replaced(table, "outcomes", nothing), tmp_path, part=0),)
    found = forecast_of(job(tmp_path, files, files, max_epochs=30, task_weights={"orders": 1.0, "spend": 1.0}))
    numbers = dict(zip(NUMBERS, found[:, NUM_LEVELS:].T, strict=True))
    assert numbers["p_buy"].mean() < 0.1
    assert (numbers["spend_cents_median"] == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_no_number_is_refused_with_its_count(tmp_path: Path, value: float) -> None:
    files = (write_table(with_feature(examples_table(0, 30), row=3, value=value), tmp_path, part=0),)
    with pytest.raises(DataQualityError, match="features: found 1 values that are not finite"):
        run_training(job(tmp_path, files, files))


@pytest.mark.parametrize("num_levels", [2, 12])
@pytest.mark.parametrize(
    ("name", "head"), [(name, "softmax") for name in LINEAR] + [(name, head) for name in BODIES for head in HEADS]
)
def test_two_levels_and_twelve_are_learned_by_every_network(name: str, head: str, num_levels: int) -> None:
    torch.manual_seed(1)
    num_needs = num_levels - 1
    num_features, events = 10 + num_levels + num_needs + 9, (1, 2, 2, 2, 2, 2, 2)
    spec = ModelSpec(
        name, num_features, num_levels, (8,), 0.1, head, metrics=("spend_cents",), weekly=(2, 3), events=events
    )
    network = build_network(spec)
    needs = torch.linspace(0, 90_000, num_needs).expand(60, -1)
    rows = torch.cat([torch.randn(60, 10 + num_levels), needs, torch.ones(60, 9)], dim=1)
    rows[0, -9:] = 0  # without any event
    rows[:, 0] = 0  # a feature that is always the same
    target_B, outcomes_B2 = torch.arange(60) % num_levels, torch.tensor([[0.0, 0.0], [2.0, -700.0]]).repeat(30, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
    losses = []
    for _ in range(15):
        outlook = network(rows)
        level_B1 = cross_entropy_B(outlook.log_p_level_BK, target_B)[:, None]
        loss = weighed_B(
            torch.cat([level_B1, outcome_losses_B2(outlook, outcomes_B2)], dim=1), outlook.log_scale_T
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
