"""Training: it learns, it is the same for any number of processes, and it stops when it should."""

import csv
import dataclasses
import json
import logging
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing

from memberlevel_spark.config import load_config
from memberlevel_spark.config.model import ModelConfig
from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.feed.fields import Fields
from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_row_groups
from memberlevel_spark.models.losses import outcome_losses_B2
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.artefacts import ARTEFACTS, load_network, read_run
from memberlevel_spark.training.failures import RankLostError, explain, last_error_line, write_failure
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.rank import run_rank
from memberlevel_spark.training.ranks import join_ranks
from memberlevel_spark.training.schedule import learning_rate_at
from memberlevel_spark.training.stage import training_job
from tests.torch.made_examples import (
    NUM_FEATURES,
    NUM_LEVELS,
    PLAIN,
    changed,
    examples_table,
    job,
    small_job,
    with_feature,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"


def as_rank(rank: int, ports: list[int], jobs: list[str]) -> None:
    for port, job_json in zip(ports, jobs, strict=True):
        os.environ |= {"RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        run_rank(job_json)


def run_in_two_processes(*jobs: TrainingJob) -> None:
    """Run the jobs one after the other; starting the processes is what costs time."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in jobs]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in sockets]
    torch.multiprocessing.spawn(as_rank, (ports, [several.to_json() for several in jobs]), nprocs=2)


def test_a_separable_toy_is_learned(tmp_path: Path) -> None:
    run = run_training(small_job(tmp_path, max_epochs=15))
    assert run.best.validation_accuracy > 0.9
    assert run.best.validation_log_loss < 0.4 < run.points[0].validation_log_loss
    assert [point.epoch for point in run.points] == list(range(1, 16))
    assert [point.step for point in run.points] == [8 * epoch for epoch in range(1, 16)]
    assert {point.rows for point in run.points} == {480}


@pytest.mark.parametrize("name", ["logistic", "linear"])
def test_the_other_networks_learn_it_too(tmp_path: Path, name: str) -> None:
    spec = ModelSpec(name, NUM_FEATURES, NUM_LEVELS)
    run = run_training(small_job(tmp_path, model=spec, max_epochs=15, learning_rate=0.1))
    assert run.best.validation_accuracy > 0.9


def test_a_lognormal_spend_is_learned(tmp_path: Path) -> None:
    spec = ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.1, spend_head="lognormal")
    plain = small_job(tmp_path, model=spec, max_epochs=15)
    run_training(plain)
    rows = examples_table(50_000, 2000)
    features, outcomes = (torch.tensor(rows.column(name).to_pylist()) for name in ("features", "outcomes"))
    with torch.inference_mode():
        learned, fresh = (network(features) for network in (load_network(Path(plain.run_dir)), build_network(spec)))
    losses = [outcome_losses_B2(each, outcomes)[:, 1].mean().item() for each in (learned, fresh)]
    assert losses[0] < losses[1] - 0.3
    assert learned.spend.mean().mean().item() == pytest.approx(outcomes[:, 1].mean().item(), rel=0.2)


def test_what_the_configuration_says_of_the_model_reaches_the_network(tmp_path: Path) -> None:
    told = {"hidden": [7], "dropout": 0.4, "periodic": 3, "level_head": "rules", "spend_head": "lognormal"}
    told |= {"reads": ["features", "weeks"], "week_channels": 8, "next_categories": 2, "components": 1}
    config = load_config(JOURNEY, [f"model.{name}={json.dumps(value)}" for name, value in told.items()])
    inputs = (Input("x"), Input("weekly_spend_cents", 0))
    needs = tuple(Need("spend_cents", level) for level in (1, 2, 3))
    encoder = Encoder(inputs, 4, (0.0, 0.0), (1.0, 1.0), needs, next_categories=("tea", "milk"))
    encoder = dataclasses.replace(encoder, components=((0.1,) * 7,))
    spec = training_job(config, tmp_path, encoder, train_files=(), validation_files=()).model
    names = {item.name for item in dataclasses.fields(ModelSpec)} & set(ModelConfig.model_fields)
    assert names == {"name", *told}
    assert {name: getattr(spec, name) for name in names} == {name: getattr(config.model, name) for name in names}
    assert config.experiments.variants["lognormal"].spend_head == "lognormal"


def test_the_kept_weights_are_those_of_the_best_epoch_and_the_curves_tell_the_truth(tmp_path: Path) -> None:
    # A rate far too high makes later epochs worse than an earlier one.
    plain = small_job(tmp_path, max_epochs=8, learning_rate=0.9, warmup_share=0.0)
    run = run_training(plain)
    assert run.best.epoch < 8
    network = load_network(Path(plain.run_dir))
    plan = plan_feed(read_row_groups(plain.validation_files), world_size=1, batch_rows=100, num_lanes=1)
    (batch,) = FeedLoader(plan, 0, fields=Fields(NUM_FEATURES), seed=None).epoch(0)
    p_BK = network(batch.features_BF).log_p_level_BK.exp().detach().numpy()
    target_B = batch.target_B.numpy()
    assert run.best.validation_log_loss == pytest.approx(-np.log(p_BK[range(100), target_B]).mean(), rel=1e-5)
    assert run.best.validation_accuracy == pytest.approx((p_BK.argmax(axis=1) == target_B).mean())


def test_two_processes_give_the_losses_of_one_and_stop_early_together(tmp_path: Path) -> None:
    """With dropout on, ragged files, several batches an epoch, and gradients of two batches added up."""
    settings = {"max_epochs": 6, "grad_clip": 0.5, "accumulate_batches": 2, "batch_rows": 48, "l1": 1e-4}
    alone = small_job(tmp_path, run_dir=str(tmp_path / "one"), **settings)
    pair = changed(alone, how="torchrun", num_processes=2, run_dir=str(tmp_path / "two"))
    steep = {"learning_rate": 0.9, "warmup_share": 0.0, "max_epochs": 30, "patience_epochs": 2}
    stopping = small_job(tmp_path, how="torchrun", num_processes=2, run_dir=str(tmp_path / "stopping"), **steep)
    run_in_two_processes(pair, stopping)
    one, two = run_training(alone), read_run(Path(pair.run_dir))
    for first, second in zip(one.points, two.points, strict=True):
        assert second.train_log_loss == pytest.approx(first.train_log_loss, abs=1e-5)
        assert second.validation_log_loss == pytest.approx(first.validation_log_loss, abs=1e-5)
        assert second.validation_accuracy == pytest.approx(first.validation_accuracy)
        assert (second.rows, second.step) == (first.rows, first.step) == (480, 5 * first.epoch)
    stopped = read_run(Path(stopping.run_dir))
    assert len(stopped.points) < 30
    assert stopped.points[-1].epoch - stopped.best.epoch == 2


def test_the_same_job_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    contents = []
    for number, seed in enumerate((7, 7, 8)):
        state = torch.get_rng_state()
        run_training(changed(plain, run_dir=str(tmp_path / str(number)), seed=seed))
        assert torch.equal(state, torch.get_rng_state())
        contents.append({name: (tmp_path / str(number) / name).read_bytes() for name in ARTEFACTS})
    assert contents[0] == contents[1]
    assert contents[0]["model.safetensors"] != contents[2]["model.safetensors"]


def test_the_run_folder_holds_the_same_curves_in_every_form(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    run = run_training(plain)
    folder = Path(plain.run_dir)
    assert sorted(path.name for path in folder.iterdir()) == sorted(ARTEFACTS)
    rows = json.loads((folder / "curves.json").read_text())
    assert list(rows[0]) == [
        "epoch",
        "step",
        "train_log_loss",
        "validation_log_loss",
        "validation_accuracy",
        "learning_rate",
        "rows",
    ]
    with (folder / "curves.csv").open() as file:
        assert [{key: str(value) for key, value in row.items()} for row in rows] == list(csv.DictReader(file))
    assert ModelSpec.from_dict(json.loads((folder / "model.json").read_text())) == plain.model == run.model
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_training_stops_early_when_validation_gets_no_better(tmp_path: Path) -> None:
    # A rate far too high soon makes things worse.
    plain = small_job(tmp_path, max_epochs=30, learning_rate=0.9, warmup_share=0.0, patience_epochs=3)
    run = run_training(plain)
    assert len(run.points) < 30
    assert run.points[-1].epoch - run.best.epoch == 3


def test_a_loss_that_is_not_finite_stops_with_step_rank_and_row_keys(tmp_path: Path) -> None:
    table = with_feature(examples_table(0, 200), row=150, value=float("nan"))
    train = (write_table(table, tmp_path, part=0, row_group_rows=100),)
    validation = write_examples(tmp_path, [30], split="validation")
    told = r"training loss is not a finite number: nan at step \d on rank 0, row keys 150\. Check these rows"
    with pytest.raises(DataQualityError, match=told):
        run_training(job(tmp_path, train, validation))
    assert not list((tmp_path / "run").glob("*"))


def test_a_validation_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    table = with_feature(examples_table(0, 200), row=150, value=float("inf"))
    validation = (write_table(table, tmp_path, part=0, split="validation", row_group_rows=100),)
    with pytest.raises(
        DataQualityError, match=r"validation log-loss is not a finite number: nan\. Check the validation"
    ):
        run_training(job(tmp_path, write_examples(tmp_path, [100]), validation))


def test_the_learning_rate_rises_in_a_line_and_falls_as_the_schedule_says() -> None:
    def rates(**settings: object) -> list[float]:
        training = PLAIN.model_copy(update={"learning_rate": 2.0, "warmup_share": 0.4, **settings})
        return [learning_rate_at(step, 10, training) for step in range(10)]

    assert rates()[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates()[7] == pytest.approx(1.0)
    assert rates(schedule="linear")[4:] == pytest.approx([2.0 * left / 6 for left in (6, 5, 4, 3, 2, 1)])
    assert rates(schedule="exponential")[4:] == pytest.approx([2.0 * 0.01 ** (done / 6) for done in range(6)])
    assert rates(warmup_share=0.0)[0] == 2.0
    assert rates(warmup_share=1.0)[9] == 2.0


def test_one_line_is_logged_per_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="memberlevel_spark"):
        run_training(small_job(tmp_path))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    assert "480 rows" in lines[0]


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_training(small_job(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_job_survives_json(tmp_path: Path) -> None:
    plain = job(tmp_path, ("/a", "/b"), ("/c",))
    assert TrainingJob.from_json(plain.to_json()) == plain


def test_a_job_with_other_keys_is_refused(tmp_path: Path) -> None:
    values = json.loads(job(tmp_path, (), ()).to_json())
    values["seeds"] = values.pop("seed")
    with pytest.raises(ConfigError, match="training job has other keys than expected: seed, seeds"):
        TrainingJob.from_json(json.dumps(values))


def test_spark_needs_a_session(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training on spark needs a session: spark is None"):
        run_training(job(tmp_path, (), (), how="spark", num_processes=2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_nccl_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="backend is nccl, but this process sees no GPU"),
        join_ranks(job(tmp_path, (), (), backend="nccl"), 0),
    ):
        pass


def test_examples_that_break_the_contract_are_refused_before_anything_old_is_removed(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    run_training(plain)
    wider = changed(plain, model=dataclasses.replace(plain.model, num_features=7))
    with pytest.raises(DataQualityError, match="features: found 6 values per row, expected 7"):
        run_training(wider)
    assert read_run(Path(plain.run_dir)).model == plain.model


def test_a_folder_without_all_artefacts_is_no_finished_run(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    run_training(plain)
    (Path(plain.run_dir) / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"run is not a finished run: no model\.safetensors\. Train again"):
        read_run(Path(plain.run_dir))


def test_damaged_artefacts_are_named(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    run_training(plain)
    folder = Path(plain.run_dir)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(ArtefactError, match=r"model\.safetensors does not fit model\.json: .*Train again"):
        load_network(folder)
    (folder / "model.safetensors").write_bytes(weights)
    spec = plain.model.to_dict() | {"num_levels": NUM_LEVELS + 1}
    (folder / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ArtefactError, match=r"does not fit model\.json: .*size mismatch"):
        load_network(folder)
    (folder / "curves.json").write_text("[{]")
    with pytest.raises(ArtefactError, match="run is damaged: "):
        read_run(folder)


def test_a_run_that_leaves_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_job(tmp_path)
    other = dataclasses.replace(plain.model, dropout=0.3)
    from memberlevel_spark.training import launch

    write = launch.write_artefacts
    monkeypatch.setattr(launch, "write_artefacts", lambda folder, spec, fit: write(folder, other, fit))
    with pytest.raises(ArtefactError, match=r"run holds another network: .*dropout=0\.3, .*, not .*dropout=0\.1, "):
        run_training(plain)


def test_the_error_a_rank_raised_on_purpose_wins_over_those_that_lost_their_partner(tmp_path: Path) -> None:
    pair = job(tmp_path, (), (), how="torchrun", num_processes=2)
    write_failure(Path(pair.run_dir), 0, RuntimeError("Connection closed by peer\nmore"))
    write_failure(Path(pair.run_dir), 1, DataQualityError("row keys 7 are bad. Mend them."))
    error = explain(pair, "pages of stack")
    assert type(error) is DataQualityError
    assert str(error) == "row keys 7 are bad. Mend them."


def test_a_rank_that_left_nothing_is_named_when_the_other_noticed(tmp_path: Path) -> None:
    pair = job(tmp_path, (), (), how="torchrun", num_processes=2)
    write_failure(Path(pair.run_dir), 0, RuntimeError("Connection closed by peer\nmore"))
    error = explain(pair, "pages of stack")
    assert type(error) is RankLostError
    assert str(error) == (
        "training failed: rank 1 of 2 died or hung without an error; rank 0 noticed: RuntimeError: Connection closed "
        "by peer. Look for a kill for memory on its machine and start again."
    )


def test_an_error_of_all_ranks_is_told_once(tmp_path: Path) -> None:
    pair = job(tmp_path, (), (), how="torchrun", num_processes=2)
    for rank in (0, 1):
        write_failure(Path(pair.run_dir), rank, OSError("No space left on device"))
    told = r"training failed: OSError: No space left on device\. Mend the cause and start again; the ranks' output"
    with pytest.raises(ArtefactError, match=told):
        raise explain(pair, "pages of stack")


def test_without_any_word_from_a_rank_the_last_error_line_of_its_output_is_told(tmp_path: Path) -> None:
    printed = (
        "Traceback (most recent call last):\n  File train.py, line 3\nKeyError: 'first'\n"
        "ModuleNotFoundError: No module named 'x'\nE1123 failed (exitcode: 1)\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\n  rank      : 1 (local_rank: 0)\n"
        "RuntimeError: TorchDistributor failed during training.\n\tat org.apache.spark.Thing(Thing.java)\n"
    )
    assert last_error_line("[rank0]: ValueError: y.") == "ValueError: y"
    assert last_error_line("only words\nmore") == "only words"
    assert last_error_line("") == "no message"
    with pytest.raises(
        ArtefactError, match=r"training failed: ModuleNotFoundError: No module named 'x'\. Mend the cause"
    ):
        raise explain(job(tmp_path, (), ()), printed)


def test_a_killed_rank_is_found_in_the_summary_that_torchrun_prints() -> None:
    printed = (
        "E1123 api.py:1002] failed (exitcode: -9) local_rank: 0 (pid: 16554) of binary: python\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\n====\nRoot Cause:\n"
        "[0]:\n  time      : now\n  rank      : 1 (local_rank: 0)\n  exitcode  : -9 (pid: 16554)\n"
        "  error_file: <N/A>\n  traceback : Signal 9 (SIGKILL) received by PID 16554\n"
        "RuntimeError: TorchDistributor failed during training.\n"
    )
    assert last_error_line(printed) == "rank 1 was killed: Signal 9 (SIGKILL)"
