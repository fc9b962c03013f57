"""The head of the next category: its loss by hand, what it leaves alone, and that it learns."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.config.training import TaskWeights
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.feed.loader import Batch
from memberlevel_spark.models.losses import category_loss_B, cross_entropy_B, outcome_losses_B2
from memberlevel_spark.models.networks import Outlook, build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel, predict
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.objectives import Outcomes
from memberlevel_spark.training.stage import training_job
from tests.torch.made_examples import NUM_FEATURES, NUM_LEVELS, changed, examples_table, job, small_job, write_table

pytestmark = pytest.mark.torch

NUM_CATEGORIES = 2
SPEC = ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.1, next_categories=NUM_CATEGORIES)
LISTS = {"next_category": ("int32", 1)}
JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"


def test_the_loss_is_of_rows_with_a_category_alone() -> None:
    log_p_BC = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75], [0.2, 0.3, 0.5]]).log()
    loss_B = category_loss_B(log_p_BC, torch.tensor([1, -1, 2], dtype=torch.int32))
    assert loss_B.tolist() == pytest.approx([math.log(4), 0.0, math.log(2)])


def batch(category_B: torch.Tensor) -> Batch:
    rows = len(category_B)
    return Batch(
        features_BF=torch.randn(rows, NUM_FEATURES, generator=torch.Generator().manual_seed(2)),
        level_now_B=torch.zeros(rows, dtype=torch.long),
        target_B=torch.arange(rows) % NUM_LEVELS,
        outcomes_B2=torch.tensor([[2.0, 900.0]]).repeat(rows, 1) * (category_B >= 0)[:, None],
        weight_B=torch.ones(rows),
        row_key_B=torch.arange(rows),
        as_of_day_B=torch.zeros(rows, dtype=torch.long),
        lists={"next_category": category_B.to(torch.int32)[:, None]},
    )


@pytest.mark.parametrize(
    "weights", [None, TaskWeights(orders=0.1, spend=0.3, category=0.5), TaskWeights(orders=0, spend=2)]
)
def test_it_is_one_more_task_with_a_weight_of_its_own(tmp_path: Path, weights: TaskWeights | None) -> None:
    plain = job(tmp_path, (), (), model=SPEC, task_weights=weights and weights.model_dump())
    objective, given = Outcomes(plain, torch.device("cpu")), batch(torch.tensor([0, 2, -1, 1]))
    network = objective.network.eval()
    scales = (0.5, -0.25, 1.0, 0.75)
    network.log_scale_T.data = torch.tensor(scales)
    answer: Outlook = network(given.features_BF)
    assert answer.log_p_category_BC is not None
    category_B = -answer.log_p_category_BC[range(4), [0, 2, 0, 1]] * torch.tensor([1.0, 1.0, 0.0, 1.0])
    level_B, others_B2 = (
        cross_entropy_B(answer.log_p_level_BK, given.target_B),
        outcome_losses_B2(answer, given.outcomes_B2),
    )
    losses = (level_B, *others_B2.unbind(dim=1), category_B)
    if weights is None:
        expected_B = sum(math.exp(-s) * loss + s for s, loss in zip(scales, losses, strict=True))
    else:
        counts = (1.0, weights.orders, weights.spend, weights.category)
        expected_B = sum(count * loss for count, loss in zip(counts, losses, strict=True))
    torch.testing.assert_close(objective.learned_B(answer, given), expected_B)


def test_the_other_heads_begin_as_they_do_without_it() -> None:
    networks = []
    for spec in (SPEC, replace(SPEC, next_categories=0)):
        torch.manual_seed(4)
        networks.append(build_network(spec).eval())
    rows = torch.randn(8, NUM_FEATURES)
    told, plain = (network(rows) for network in networks)
    assert torch.equal(told.log_p_level_BK, plain.log_p_level_BK) and torch.equal(told.spend.mean(), plain.spend.mean())
    assert plain.log_p_category_BC is None and (len(plain.log_scale_T), len(told.log_scale_T)) == (3, 4)
    torch.testing.assert_close(told.log_p_category_BC.exp().sum(dim=1), torch.ones(8))


def test_an_old_network_has_the_file_it_had_and_a_new_one_says_how_many_it_tells() -> None:
    assert "next_categories" not in replace(SPEC, next_categories=0).to_dict()
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    with pytest.raises(ConfigError, match="impossible network"):
        replace(SPEC, next_categories=-1)


def telling(table: pa.Table) -> pa.Table:
    """The sign of the third feature is the category of those who order; of every seventh nothing is known."""
    features = np.stack(table.column("features").to_pylist())
    orders = np.stack(table.column("outcomes").to_pylist())[:, 0]
    category = np.where(orders > 0, (features[:, 2] > 0).astype(np.int32), -1)
    category[::7] = -1
    return table.append_column("next_category", pa.array(category[:, None].tolist(), type=pa.list_(pa.int32())))


def telling_job(folder: Path, **changes: object) -> TrainingJob:
    train = [write_table(telling(examples_table(first, 200)), folder, part=first // 200) for first in (0, 200, 400)]
    other = [write_table(telling(examples_table(9000, 100)), folder, part=0, split="validation")]
    return job(folder, train, other, **{"model": SPEC, "lists": LISTS, "max_epochs": 12, **changes})


@pytest.mark.parametrize("task_weights", [None, {"orders": 0.1, "spend": 0.3, "category": 0.5}])
def test_it_is_learned_and_adds_up_to_the_chance_of_an_order(
    tmp_path: Path, task_weights: dict[str, float] | None
) -> None:
    run = run_training(telling_job(tmp_path, task_weights=task_weights))
    files = {name: (run.run_dir / name).read_bytes() for name in ("model.safetensors", "model.json")}
    rows = np.random.default_rng(5).normal(size=(400, NUM_FEATURES)).astype(np.float32)
    found = predict(PackedModel.of(files), rows)
    assert found.shape == (400, NUM_LEVELS + len(NUMBERS) + NUM_CATEGORIES + 1)
    p_buy, p_category = found[:, NUM_LEVELS], found[:, NUM_LEVELS + len(NUMBERS) :]
    assert ((p_category[:, 1] > p_category[:, 0]) == (rows[:, 2] > 0)).mean() > 0.9
    assert p_category[:, 2].max() < 0.2  # training never met another one
    assert (p_category * p_buy[:, None]).sum(axis=1) == pytest.approx(p_buy, abs=1e-12)


def test_ranks_read_the_column_that_is_named_and_training_goes_on_as_before_without_it(tmp_path: Path) -> None:
    given = telling_job(tmp_path, max_epochs=1)
    assert TrainingJob.from_json(given.to_json()) == given
    plain = small_job(tmp_path / "plain", max_epochs=1)
    assert plain.lists == {} and '"lists": {}' in plain.to_json()
    with_column = changed(given, model=replace(SPEC, next_categories=0), lists={}, run_dir=str(tmp_path / "ignored"))
    assert math.isfinite(run_training(with_column).best.validation_log_loss)


def configured(asked: int) -> Config:
    return load_config(JOURNEY, [f"model.next_categories={asked}"], {})


def encoder_of(*told: str) -> Encoder:
    inputs = tuple(Input("weekly_spend_cents", week) for week in range(2))
    needs = tuple(Need("spend_cents", level, always=1.0) for level in (1, 2, 3))
    return Encoder(inputs, 4, (0.0,) * 2, (1.0,) * 2, needs, next_categories=told)


@pytest.mark.parametrize(("asked", "told", "expected"), [(3, "abc", 3), (9, "abc", 3), (0, "abc", 0), (0, "", 0)])
def test_as_many_are_told_as_the_examples_know_where_any_are_asked_for(asked: int, told: str, expected: int) -> None:
    made = training_job(configured(asked), Path("run"), encoder_of(*told), train_files=(), validation_files=())
    assert made.model.next_categories == expected
    assert made.lists == (LISTS if expected else {})


@pytest.mark.parametrize("told", ["", "abcd"])
def test_examples_of_other_categories_are_refused(told: str) -> None:
    message = (
        f"made for other next categories: they know {len(told)}, model.next_categories is 3. Run the stage examples"
    )
    with pytest.raises(ConfigError, match=message):
        training_job(configured(3), Path("run"), encoder_of(*told), train_files=(), validation_files=())
