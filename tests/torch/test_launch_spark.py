"""Training as a Spark barrier job: two real processes, and clear words when one of them dies."""

import contextlib
import logging
import os
import time
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.training.artefacts import ARTEFACTS, read_run
from memberlevel_spark.training.entry import RankEntry, unpickled_entry, with_package_path
from memberlevel_spark.training.failures import write_failure
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import changed, examples_table, job, with_feature, write_examples, write_table

pytestmark = [pytest.mark.torch, pytest.mark.spark]


def two_process_job(folder: Path, **changes: object) -> TrainingJob:
    train = write_examples(folder, [200, 150, 130])
    validation = write_examples(folder, [60, 40], split="validation", first_key=10_000)
    return job(folder, train, validation, how="spark", num_processes=2, **changes)


class KillRankAtFirstEpoch(logging.Handler):
    """Sends SIGKILL to one rank's process, found among this test's own descendants, at the first line of a rank."""

    def __init__(self, rank: int) -> None:
        super().__init__(logging.INFO)
        self.rank, self.killed = rank, 0

    def emit(self, record: logging.LogRecord) -> None:
        for process in psutil.Process().children(recursive=True) if not self.killed else ():
            with contextlib.suppress(psutil.Error):  # it may end while it is looked at; an error here would end the run
                self._kill_rank(process)

    def _kill_rank(self, process: psutil.Process) -> None:
        # torchrun's own processes have the script among their arguments too; the rank runs it.
        command = process.cmdline()[1:]
        is_rank = command[:1] == ["-u"] and command[1].endswith("/train.py")
        if is_rank and process.environ().get("RANK") == str(self.rank):
            process.kill()
            self.killed += 1


def test_two_processes_train_twice_to_the_same_bytes_and_say_so_once(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = []
    for name in ("first", "second"):
        plain = two_process_job(tmp_path, run_dir=str(tmp_path / name))
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="memberlevel_spark"):
            run = run_training(plain, spark=spark)
        assert [point.rows for point in run.points] == [480, 480, 480]
        assert run.points[-1].validation_log_loss < run.points[0].validation_log_loss
        lines = [record.getMessage().split(":")[0] for record in caplog.records]
        assert lines == ["[rank 0] epoch 1 of 3", "[rank 0] epoch 2 of 3", "[rank 0] epoch 3 of 3"]
        contents.append({name: (Path(plain.run_dir) / name).read_bytes() for name in ARTEFACTS})
    assert contents[0] == contents[1]
    assert capsys.readouterr() == ("", "")
    assert "PYTHONPATH" not in spark.sparkContext.environment


def test_too_few_slots_are_refused_at_once(spark: SparkSession, tmp_path: Path) -> None:
    train = write_examples(tmp_path, [20, 20, 20])
    started = time.monotonic()
    with pytest.raises(ConfigError, match="too few Spark slots: 2 tasks can run at once, 3 processes must"):
        run_training(job(tmp_path, train, train, how="spark", num_processes=3, lanes=3, batch_rows=30), spark=spark)
    assert time.monotonic() - started < 5


def test_an_error_of_one_rank_keeps_its_class_and_its_words(spark: SparkSession, tmp_path: Path) -> None:
    plain = two_process_job(tmp_path)
    table = with_feature(examples_table(0, 150), row=140, value=float("nan"))
    write_table(table, tmp_path, part=1, row_group_rows=100)
    with pytest.raises(DataQualityError, match=r"training loss .* on rank 1, row keys 140\.") as caught:
        run_training(plain, spark=spark)
    assert len(str(caught.value).splitlines()) == 1
    assert not [name for name in ARTEFACTS if (Path(plain.run_dir) / name).exists()]


def test_a_killed_rank_ends_the_run_with_one_clear_line(spark: SparkSession, tmp_path: Path) -> None:
    plain = two_process_job(tmp_path, max_epochs=100_000, patience_epochs=100_000)
    killer, logger = KillRankAtFirstEpoch(1), logging.getLogger("memberlevel_spark.training.launch")
    logger.addHandler(killer)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(ArtefactError) as caught:
            run_training(plain, spark=spark)
    finally:
        logger.removeHandler(killer)
        logger.setLevel(level)
    message = str(caught.value)
    assert killer.killed == 1, message
    assert message.startswith("training failed: ")
    # Which of the two depends on whether Spark ends the other rank before that notices.
    assert "rank 1 of 2 died or hung" in message or "rank 1 was killed: Signal 9 (SIGKILL)" in message
    assert len(message) < 700
    assert "\n" not in message


def test_a_killed_rank_costs_a_restart_and_changes_no_byte(spark: SparkSession, tmp_path: Path) -> None:
    """Nor does it matter that the other run is torchrun's."""
    plain = two_process_job(tmp_path, max_restarts=1)
    killer, logger = KillRankAtFirstEpoch(1), logging.getLogger("memberlevel_spark.training.launch")
    logger.addHandler(killer)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        run_training(plain, spark=spark)
    finally:
        logger.removeHandler(killer)
        logger.setLevel(level)
    assert killer.killed == 1
    other = changed(plain, how="torchrun", run_dir=str(tmp_path / "other"))
    run_training(other)
    for name in ARTEFACTS:
        assert (Path(plain.run_dir) / name).read_bytes() == (Path(other.run_dir) / name).read_bytes()


def test_ranks_that_leave_nothing_are_an_error(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.ml.torch.distributor import TorchDistributor

    monkeypatch.setattr(TorchDistributor, "run", lambda *_: None)
    plain = two_process_job(tmp_path)
    run_training(changed(plain, how="inline"))
    with pytest.raises(
        ArtefactError, match=r"not a finished run: no curves\.csv, curves\.json, curves\.png, model\.json"
    ):
        run_training(plain, spark=spark)
    with pytest.raises(ArtefactError, match="is not a finished run"):
        read_run(Path(plain.run_dir))


def test_a_failure_left_by_an_earlier_run_is_not_taken_for_this_ones(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.ml.torch.distributor import TorchDistributor

    def fail(*_: object) -> None:
        raise RuntimeError("no executor answered")

    monkeypatch.setattr(TorchDistributor, "run", fail)
    plain = two_process_job(tmp_path)
    write_failure(Path(plain.run_dir), 0, ConfigError("left over from an earlier run"))
    with pytest.raises(ArtefactError, match=r"training failed: no executor answered\. Mend the cause"):
        run_training(plain, spark=spark)


def test_the_path_to_the_package_comes_first_and_once() -> None:
    root = with_package_path("")
    assert with_package_path(os.pathsep.join(["/a", root, "/b"])) == os.pathsep.join([root, "/a", "/b"])


def test_unpickling_the_entry_lets_child_processes_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a")
    function, arguments = RankEntry().__reduce__()
    assert function is unpickled_entry
    assert isinstance(function(*arguments), RankEntry)
    assert os.environ["PYTHONPATH"] == os.pathsep.join([with_package_path(""), "/a"])
