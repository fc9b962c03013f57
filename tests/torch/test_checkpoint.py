"""Checkpoints: whole or not there, right to the byte or not used, and a run goes on from them to the bit."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.training import checkpoint, loop
from memberlevel_spark.training.artefacts import ARTEFACTS
from memberlevel_spark.training.checkpoint import Checkpoint
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.stopping import Stop
from tests.torch.made_examples import changed, results, small_job

pytestmark = pytest.mark.torch


def a_checkpoint(number: int) -> Checkpoint:
    return Checkpoint({"weight": torch.full((3,), float(number))}, {"fingerprint": "mine", "number": number})


def saved(folder: Path, *steps: int) -> Path:
    for step in steps:
        checkpoint.save(folder, step, a_checkpoint(step))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    assert names(saved(tmp_path, 9, 10, 100)) == ["step-00000010", "step-00000100"]
    found = checkpoint.load_last(tmp_path, "mine")
    assert found is not None
    assert (found.tensors["weight"].tolist(), found.state["number"]) == ([100.0] * 3, 100)


def test_without_any_and_for_another_job_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_last(tmp_path, "mine") is None
    assert checkpoint.load_last(saved(tmp_path, 1), "another") is None
    checkpoint.remove_all(tmp_path)
    assert checkpoint.load_last(tmp_path, "mine") is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.chaos
@pytest.mark.parametrize("damage", [cut, flip_a_bit, Path.unlink], ids=["cut", "flipped", "gone"])
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_damaged_one_is_named_and_the_one_before_it_is_used(
    tmp_path: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(saved(tmp_path, 1, 2) / "checkpoints" / "step-00000002" / name)
    found = checkpoint.load_last(tmp_path, "mine")
    assert found is not None
    assert found.state["number"] == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a checkpoint is damaged: ")
    assert "step-00000002" in line
    assert "An earlier one is used" in line


@pytest.mark.chaos
def test_one_that_cannot_be_written_leaves_the_earlier_ones_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1, 2)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    told = r"a checkpoint cannot be written: .*step-00000003 \(No space left on device\)\. Free space"
    with pytest.raises(ArtefactError, match=told):
        checkpoint.save(tmp_path, 3, a_checkpoint(3))
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    found = checkpoint.load_last(tmp_path, "mine")
    assert found is not None
    assert found.state["number"] == 2


class StopAtStep(Stop):
    """Asks to stop once the loop has saved and logged as far as a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        super().__init__()
        plain = loop.Learner.learn

        def learn(learner: loop.Learner, *arguments: object, **settings: object) -> float:
            loss = plain(learner, *arguments, **settings)  # type: ignore[arg-type]
            self.asked = learner.step >= step
            return loss

        monkeypatch.setattr(loop.Learner, "learn", learn)


# An epoch is 8 steps; with the other settings 3. So a stop comes in the middle and at the end of an epoch.
@pytest.mark.parametrize("step", [1, 3, 8, 11])
@pytest.mark.parametrize(
    "settings",
    [{}, {"average": "swa", "tail": "drop", "accumulate_batches": 3, "l1": 0.001, "class_weights": "balanced"}],
)
def test_a_run_that_was_stopped_goes_on_to_the_very_bytes_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, settings: dict[str, object]
) -> None:
    whole = small_job(tmp_path, max_epochs=4, **settings)
    run_training(whole)
    broken = changed(whole, run_dir=str(tmp_path / "broken"))
    with monkeypatch.context() as patched:
        stop = StopAtStep(patched, step)
        patched.setattr(loop, "Stop", lambda: stop)
        patched.setattr(loop, "_ASK_EVERY_STEPS", 1)
        patched.setattr("memberlevel_spark.training.launch.train", lambda job, ranks, _, tell: loop.train(job, ranks))
        with pytest.raises(SystemExit) as stopped:
            run_training(broken)
    assert stopped.value.code == 143
    assert not [name for name in ARTEFACTS if (Path(broken.run_dir) / name).exists()]
    run_training(broken)
    assert results(broken) == results(whole)
    assert not (Path(broken.run_dir) / "checkpoints").exists()


def test_a_checkpoint_of_a_job_with_other_settings_is_not_gone_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = small_job(tmp_path)
    state = {"fingerprint": changed(plain, learning_rate=0.5).fingerprint}
    checkpoint.save(Path(plain.run_dir), 8, Checkpoint({}, state))
    with caplog.at_level(logging.INFO, logger="memberlevel_spark"):
        run_training(plain)
    assert not [line for line in caplog.messages if "going on" in line]


def test_the_fingerprint_is_about_the_result_and_not_about_the_way_to_it(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    same = {"how": "torchrun", "num_processes": 4, "reader": "pyarrow", "timeout_seconds": 9, "run_dir": "/elsewhere"}
    assert changed(plain, **same).fingerprint == plain.fingerprint
    others = [{"seed": 8}, {"lanes": 8}, {"batch_rows": 32}, {"schedule": "linear"}, {"train_files": ("/other",)}]
    assert plain.fingerprint not in {changed(plain, **other).fingerprint for other in others}


def test_a_run_saves_after_every_so_many_steps_and_at_the_end_of_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, saved: steps.append(step))
    run_training(small_job(tmp_path, max_epochs=2, checkpoint_every_steps=3))
    assert steps == [3, 6, 8, 9, 12, 15, 16]


def test_a_run_that_ended_before_it_wrote_its_results_writes_them_without_learning_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steep = {"learning_rate": 0.9, "warmup_share": 0.0, "max_epochs": 30, "patience_epochs": 2}
    whole = small_job(tmp_path, **steep)
    run_training(whole)
    broken = changed(whole, run_dir=str(tmp_path / "broken"))
    with monkeypatch.context() as patched:
        patched.setattr("memberlevel_spark.training.launch.write_artefacts", lambda *_: None)
        with pytest.raises(ArtefactError, match="is not a finished run"):
            run_training(broken)
    run_training(broken)
    assert results(broken) == results(whole)


GOLDEN = Path(__file__).parent / "golden_losses.json"


def test_the_losses_are_those_that_were_written_down(tmp_path: Path) -> None:
    """A change that means to move them writes the file anew: it holds what this run prints on failure."""
    run = run_training(small_job(tmp_path, max_epochs=4, batch_rows=48))
    losses = [[point.train_log_loss, point.validation_log_loss] for point in run.points]
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for found, written in zip(losses, golden, strict=True):
        assert found == pytest.approx(written, abs=1e-6), json.dumps(losses)
