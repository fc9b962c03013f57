"""Scoring that is killed, started twice, or fails inside a worker: nothing lost, nothing twice, one clear line.

Every run here is a process of its own, with a Spark of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
DAY = "2024-08-31"

HARMED = """
import os, signal, sys
from pathlib import Path
from memberlevel_spark import tables
from memberlevel_spark.cli import run_job
from memberlevel_spark.scoring import apply

DeltaTables, honest = tables.DeltaTables, tables.DeltaTables.replace_slice

def kill_before(self, contract, frame, *slices):
    os.kill(os.getpid(), signal.SIGKILL)

def kill_after(self, contract, frame, *slices):
    honest(self, contract, frame, *slices)
    os.kill(os.getpid(), signal.SIGKILL)

{harm}
sys.exit(run_job("score", sys.argv[1:]))
"""
DYING_WORKER = """
def mapper(model):
    def score(batches):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
        yield from batches
    return score
apply._arrow_mapper = mapper
"""
SHORT_ANSWERS = """
def mapper(model):
    def score(batches):
        from memberlevel_spark.scoring.apply import feature_matrix, with_result
        from memberlevel_spark.scoring.predictor import predict
        for batch in batches:
            yield with_result(batch, predict(model, feature_matrix(batch.column("features")))[:-1], name="forecast")
    return score
apply._arrow_mapper = mapper
"""


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop after a full run, whose scores may be harmed."""
    own = tmp_path_factory.mktemp("scored") / shop.name
    shutil.copytree(shop, own)
    return own


@pytest.fixture
def arguments(own_shop: Path, small_shop: Path) -> list[str]:
    return ["--config", str(small_shop), "--set", f"output_dir={own_shop.parent}", "--as-of", DAY]


def start(arguments: list[str], harm: str = "") -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HARMED.format(harm=harm), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ledger(spark: SparkSession, shop: Path) -> "Counter[str]":
    """Every row as text, and how often it is there."""
    rows = spark.read.format("delta").load(str(shop / "tables" / "member_scores")).select(F.to_json(F.struct("*")))
    return Counter(row[0] for row in rows.collect())


def on_the_day(rows: "Counter[str]") -> "Counter[str]":
    return Counter({row: number for row, number in rows.items() if json.loads(row)["as_of_date"] == DAY})


def test_a_run_that_is_killed_before_or_after_its_commit_is_made_good_by_the_next(
    spark: SparkSession, own_shop: Path, arguments: list[str]
) -> None:
    before = ledger(spark, own_shop)
    assert not on_the_day(before)
    run = start(arguments, "DeltaTables.replace_slice = kill_before")
    run.communicate(timeout=300)
    assert run.returncode == -signal.SIGKILL and ledger(spark, own_shop) == before
    run = start(arguments, "DeltaTables.replace_slice = kill_after")
    run.communicate(timeout=300)
    killed = ledger(spark, own_shop)
    assert run.returncode == -signal.SIGKILL and killed - before == on_the_day(killed) and len(on_the_day(killed)) > 100
    assert run_job("score", arguments) == 0
    assert ledger(spark, own_shop) == killed and set(killed.values()) == {1}


def test_of_two_runs_at_once_one_wins_and_the_other_ends_well_or_with_a_clear_line(
    spark: SparkSession, own_shop: Path, arguments: list[str]
) -> None:
    assert run_job("score", arguments) == 0
    alone = ledger(spark, own_shop)
    runs = [start(arguments) for _ in range(2)]
    told = [run.communicate(timeout=300)[1] for run in runs]
    codes = sorted(run.returncode for run in runs)
    assert codes[0] == 0 and codes[1] in (0, 4), told
    if codes[1]:
        (lost,) = [text for run, text in zip(runs, told, strict=True) if run.returncode]
        assert "another job wrote to the same table at the same time" in lost and "Traceback" not in lost
    assert ledger(spark, own_shop) == alone


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (DYING_WORKER, "a Python worker of Spark ended in the middle of its work"),
        (SHORT_ANSWERS, "a model does not answer for every row: "),
    ],
)
def test_a_worker_that_dies_or_answers_too_little_fails_the_job_and_leaves_the_ledger(
    spark: SparkSession, own_shop: Path, arguments: list[str], harm: str, told: str
) -> None:
    before = ledger(spark, own_shop)
    run = start(arguments, harm)
    _, text = run.communicate(timeout=300)
    assert run.returncode == 4, text[-3000:]
    assert told in text
    assert ledger(spark, own_shop) == before


def test_a_ledger_of_a_newer_protocol_is_refused_and_stays(
    spark: SparkSession, own_shop: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = own_shop / "tables" / "member_scores" / "_delta_log"
    newest = max(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())
    newer = log / f"{newest + 1:020d}.json"
    features = ["ofTheFuture"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    newer.write_text(json.dumps({"protocol": protocol}) + "\n")
    try:
        assert run_job("score", arguments) == 4
    finally:
        newer.unlink()
    assert "a table was written by a newer Delta" in capsys.readouterr().err


@pytest.fixture
def small_disk(shop: Path, tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], int]]]:
    """A copy of the shop whose ledger lies on a disk of its own, and what gives that disk another number of bytes."""
    copy = tmp_path / "full" / shop.name
    shutil.copytree(shop, copy)
    scores, aside = copy / "tables" / "member_scores", tmp_path / "aside"
    scores.rename(aside)
    scores.mkdir()

    def mount(num_bytes: int, *more: str) -> int:
        options = ",".join([*more, f"size={num_bytes}"])
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", scores], capture_output=True).returncode

    if not shutil.which("mount") or mount(64_000_000):
        pytest.skip("needs the right to mount a disk")
    try:
        shutil.copytree(aside, scores, dirs_exist_ok=True)
        yield copy, lambda num_bytes: mount(num_bytes, "remount")
    finally:
        # Lazily: what failed to write there may still hold a file open.
        subprocess.run(["umount", "-l", scores], check=True)


def test_a_disk_that_fills_up_is_said_and_the_ledger_stays_until_there_is_space(
    spark: SparkSession,
    small_disk: tuple[Path, Callable[[int], int]],
    small_shop: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop, resize = small_disk
    given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--as-of", DAY]
    before = ledger(spark, shop)
    scores = shop / "tables" / "member_scores"
    assert not on_the_day(before) and resize(shutil.disk_usage(scores).used + 8_192) == 0
    code = run_job("score", given)
    told = capsys.readouterr().err
    assert ledger(spark, shop) == before
    assert code == 2 and "the disk is full. Free some space and run the job again" in told, told
    assert resize(64_000_000) == 0
    assert run_job("score", given) == 0
    after = ledger(spark, shop)
    assert after - before == on_the_day(after) and len(on_the_day(after)) > 100 and set(after.values()) == {1}
