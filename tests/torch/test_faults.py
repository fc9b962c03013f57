"""Processes that are killed, stopped or told to end, and disks that are full: the run goes on or says why, to the bit.

Every run here is a process of its own; signals go only to its descendants.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.training import checkpoint
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import changed, results, small_job

pytestmark = [pytest.mark.torch, pytest.mark.chaos]

DRIVER = """
import logging, sys
from pathlib import Path
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
run_training(TrainingJob.from_json(Path(sys.argv[1]).read_text()))
"""


class HurtRanks(logging.Handler):
    """Sends a signal to a rank, among this test's own descendants, when a line of the log says that an epoch ended."""

    def __init__(self, **signals: tuple[int, signal.Signals]) -> None:
        super().__init__(logging.INFO)
        self.left = {f"epoch {name.removeprefix('epoch_')} of": what for name, what in signals.items()}
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno == logging.WARNING:
            self.warnings.append(line)
        for part in [part for part in self.left if part in line]:
            rank, number = self.left.pop(part)
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                    if is_rank(process, rank):
                        process.send_signal(number)


def is_rank(process: psutil.Process, rank: int) -> bool:
    """Whether a process is a rank of torchrun, which itself has the same module among its arguments."""
    command = process.cmdline()
    runs_rank = "memberlevel_spark.training.rank" in command and "torch.distributed.run" not in command
    return runs_rank and process.environ().get("RANK") == str(rank)


@contextlib.contextmanager
def listening(handler: logging.Handler):
    logger = logging.getLogger("memberlevel_spark.training.launch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_killed_and_then_a_hanging_rank_cost_a_restart_each_and_change_no_byte(tmp_path: Path) -> None:
    settings = {"how": "torchrun", "num_processes": 2, "timeout_seconds": 5, "max_restarts": 2, "max_epochs": 6}
    undisturbed = small_job(tmp_path, run_dir=str(tmp_path / "undisturbed"), **settings)
    run_training(undisturbed)
    hurt = changed(undisturbed, run_dir=str(tmp_path / "hurt"))
    handler = HurtRanks(epoch_2=(1, signal.SIGKILL), epoch_4=(0, signal.SIGSTOP))
    with listening(handler):
        run_training(hurt)
    assert handler.left == {}
    for number, line in enumerate(handler.warnings, 1):
        assert line.startswith("training failed: ")
        assert line.endswith(f". Starting again ({number} of 2).")
    assert len(handler.warnings) == 2
    assert results(hurt) == results(undisturbed)


def test_a_rank_that_is_lost_too_often_ends_the_run_with_one_clear_line_and_keeps_the_checkpoints(
    tmp_path: Path,
) -> None:
    plain = small_job(tmp_path, how="torchrun", num_processes=2, timeout_seconds=5, max_epochs=100_000)
    with listening(HurtRanks(epoch_2=(1, signal.SIGKILL))), pytest.raises(ArtefactError) as caught:
        run_training(changed(plain, patience_epochs=100_000))
    message = str(caught.value)
    assert message.startswith("training failed: ")
    assert "Started 1 time(s), as often as training.max_restarts allows" in message
    assert "\n" not in message
    assert checkpoint.num_checkpoints(Path(plain.run_dir)) > 0


def started(folder: Path, plain: TrainingJob) -> "subprocess.Popen[str]":
    """A process that trains; it has saved a checkpoint."""
    job_file = folder / "job.json"
    job_file.write_text(plain.to_json(), encoding="utf-8")
    command = [sys.executable, "-c", DRIVER, str(job_file)]
    # In a group of its own, so that a test that fails can end all of it.
    process = subprocess.Popen(command, cwd=Path.cwd(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(600):
        if checkpoint.num_checkpoints(Path(plain.run_dir)):
            return process
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("no checkpoint in half a minute")


@pytest.mark.parametrize(
    ("how", "sent", "exit_code"),
    [
        ("inline", signal.SIGTERM, 143),
        ("inline", signal.SIGKILL, -9),
        ("torchrun", signal.SIGTERM, 143),
        ("torchrun", signal.SIGKILL, -9),
    ],
)
def test_a_driver_that_is_ended_is_gone_on_from_to_the_very_bytes(
    tmp_path: Path, how: str, sent: signal.Signals, exit_code: int
) -> None:
    processes = 1 if how == "inline" else 2
    # Long enough not to be over before the signal arrives.
    settings = {"how": how, "num_processes": processes, "max_epochs": 200, "patience_epochs": 200}
    plain = small_job(tmp_path, **settings)
    process = started(tmp_path, plain)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sent)
    assert process.wait(timeout=60) == exit_code
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    assert not (Path(plain.run_dir) / "model.safetensors").exists()
    whole = changed(plain, run_dir=str(tmp_path / "whole"))
    run_training(plain)
    run_training(whole)
    assert results(plain) == results(whole)


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A disk of its own with room for little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_with_a_clear_word_and_leaves_the_last_checkpoint(
    tmp_path: Path, tiny_disk: Path
) -> None:
    plain = small_job(tmp_path, run_dir=str(tiny_disk / "run"), max_epochs=20)
    saved: list[int] = []

    class FillDisk(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            saved.append(checkpoint.num_checkpoints(Path(plain.run_dir)))
            if len(saved) == 4:
                with contextlib.suppress(OSError), (tiny_disk / "others").open("wb") as file:
                    for _ in range(1000):
                        file.write(b"0" * 1024)
                        file.flush()

    logger, handler = logging.getLogger("memberlevel_spark.training.loop"), FillDisk()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(ArtefactError, match=r"a checkpoint cannot be written: .*No space left on device.*Free"):
            run_training(plain)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (tiny_disk / "others").unlink()
    found = checkpoint.load_last(Path(plain.run_dir), plain.fingerprint)
    assert found is not None
    assert len(found.state["points"]) == len(saved) - 1
    run_training(plain)
    whole = changed(plain, run_dir=str(tmp_path / "whole"))
    run_training(whole)
    assert results(plain) == results(whole)


def test_four_ranks_give_the_losses_of_one(tmp_path: Path) -> None:
    alone = small_job(tmp_path, max_epochs=4, run_dir=str(tmp_path / "one"))
    four = changed(alone, how="torchrun", num_processes=4, run_dir=str(tmp_path / "four"))
    run_training(alone)
    run_training(four)
    curves = [json.loads((Path(each.run_dir) / "curves.json").read_text(encoding="utf-8")) for each in (alone, four)]
    for first, second in zip(*curves, strict=True):
        assert second == pytest.approx(first, abs=1e-5)
