"""What a step does: averaged weights, dropout by lane, gradients added up, L1, bfloat16; torch itself is the oracle."""

import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.models.lane_dropout import LaneDropout, LaneRandom, give_random
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.artefacts import load_network
from memberlevel_spark.training.averaging import AveragedNetwork
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import NUM_FEATURES, NUM_LEVELS, PLAIN, changed, job, small_job, write_examples

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averaged_weights_are_those_of_torch(average: str) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    rule = get_ema_multi_avg_fn(0.8) if average == "ema" else get_swa_multi_avg_fn()
    oracle = AveragedModel(network, multi_avg_fn=rule)
    ours = AveragedNetwork(network, PLAIN.model_copy(update={"average": average, "ema_decay": 0.8}))
    for _ in range(5):
        for weight in network.parameters():
            weight.data.normal_()
        oracle.update_parameters(network)
        ours.update()
        for found, expected in zip(ours.network.parameters(), oracle.module.parameters(), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


def masks(lanes: range, *, batch: int, seed: int = 5) -> torch.Tensor:
    dropout = nn.Sequential(LaneDropout(0.3))
    random = LaneRandom(seed, lanes)
    give_random(dropout, random)
    random.start_batch(batch)
    result: torch.Tensor = dropout.train()(torch.ones(6 * len(lanes), 5))
    return result


def test_the_ranks_together_drop_what_one_drops() -> None:
    alone = masks(range(4), batch=7)
    assert torch.equal(torch.cat([masks(range(2), batch=7), masks(range(2, 4), batch=7)]), alone)
    assert not torch.equal(masks(range(4), batch=8), alone)
    assert not torch.equal(masks(range(4), batch=7, seed=6), alone)


def test_dropout_drops_its_share_keeps_the_mean_and_differs_from_layer_to_layer() -> None:
    network = nn.Sequential(LaneDropout(0.3), LaneDropout(0.3))
    random = LaneRandom(1, range(2))
    give_random(network, random)
    values = torch.ones(2000, 100)
    first = network[0].train()(values)
    second = network[1].train()(values)
    assert float((first == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(((first == 0) & (second == 0)).float().mean()) == pytest.approx(0.09, abs=0.005)
    assert torch.equal(network.eval()(values), values)


def test_gradients_of_two_half_batches_make_the_step_of_a_whole_one(tmp_path: Path) -> None:
    """One step an epoch, all rows in it: cut in two halves or not."""
    spec = ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.0)
    train = write_examples(tmp_path, [96])
    whole = job(tmp_path, train, train, model=spec, batch_rows=96, max_epochs=4)
    halves = changed(whole, batch_rows=48, accumulate_batches=2, run_dir=str(tmp_path / "halves"))
    one, two = run_training(whole), run_training(halves)
    assert [point.step for point in one.points] == [point.step for point in two.points] == [1, 2, 3, 4]
    for first, second in zip(one.points, two.points, strict=True):
        assert second.train_log_loss == pytest.approx(first.train_log_loss, abs=1e-5)
        assert second.validation_log_loss == pytest.approx(first.validation_log_loss, abs=1e-5)


def norm_of_weights(plain: TrainingJob) -> float:
    run_training(plain)
    return sum(float(weight.detach().abs().sum()) for weight in load_network(Path(plain.run_dir)).parameters())


def test_l1_makes_weights_small(tmp_path: Path) -> None:
    plain = small_job(tmp_path, max_epochs=6)
    assert norm_of_weights(changed(plain, l1=0.05)) < 0.7 * norm_of_weights(plain)


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"average": "none"}, {"average": "swa"}])
def test_it_is_learned_in_other_ways_too(tmp_path: Path, settings: dict[str, object]) -> None:
    run = run_training(small_job(tmp_path, max_epochs=15, **settings))
    assert run.best.validation_accuracy > 0.9


def test_without_an_average_the_first_epoch_shows_at_once(tmp_path: Path) -> None:
    first = {}
    for average in ("none", "ema"):
        plain = small_job(tmp_path / average, max_epochs=1, average=average, ema_decay=0.99)
        first[average] = run_training(plain).points[0].validation_log_loss
    assert first["none"] < first["ema"] - 0.01


def test_weights_of_the_tasks_may_be_learned_and_sure_rows_count_less(tmp_path: Path) -> None:
    plain = small_job(tmp_path, max_epochs=15)
    for number, settings in enumerate(({"task_weights": None}, {"focal_gamma": 1.0})):
        run = run_training(changed(plain, run_dir=str(tmp_path / f"run-{number}"), **settings))
        assert run.best.validation_accuracy > 0.9
        scale_T = load_network(run.run_dir).log_scale_T
        assert bool(scale_T.abs().min() > 0.01) == ("task_weights" in settings)


def test_a_dropped_tail_counts_only_the_rows_it_saw(tmp_path: Path) -> None:
    run = run_training(small_job(tmp_path, tail="drop"))
    assert {point.rows for point in run.points} == {448}


class Board:
    """Stands in for a tracker; keeps what it is told."""

    told: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, folder: str) -> None:
        Board.told = [("opened", Path(folder).name)]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        Board.told.append((name, value, step))

    def close(self) -> None:
        Board.told.append(("closed",))


def test_curves_reach_the_trackers_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Board))
    run = run_training(small_job(tmp_path, track=("tensorboard",)))
    assert Board.told[0] == ("opened", "tensorboard")
    assert Board.told[-1] == ("closed",)
    written = [(value, step) for name, value, step in Board.told[1:-1] if name == "validation_log_loss"]
    assert written == [(point.validation_log_loss, point.step) for point in run.points]


def test_mlflow_gets_settings_and_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[object]] = {"params": [], "steps": []}

    class Opened:
        def __enter__(self) -> None:
            told["steps"].append("start")

        def __exit__(self, *_: object) -> None:
            told["steps"].append("end")

    stand_in = types.SimpleNamespace(
        start_run=lambda run_name: Opened(),
        log_params=lambda params: told["params"].append(params),
        log_metrics=lambda numbers, step: told["steps"].append(step),
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    run_training(small_job(tmp_path, track=("mlflow",)))
    assert told["steps"] == ["start", 8, 16, 24, "end"]
    assert told["params"][0]["learning_rate"] == 0.02  # type: ignore[index]


def test_a_tracker_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"training\.track names what is not installed: mlflow\. Run pip install"):
        run_training(small_job(tmp_path, track=("mlflow",)))
