"""The job that tunes, on the small shop."""

import csv
import sys
from pathlib import Path

import pytest

from memberlevel_spark.cli import run_job

pytestmark = pytest.mark.e2e

SPACE = (
    "tuning.space={training.learning_rate: {low: 0.001, high: 0.1, log: true}, model.hidden: {choices: [[16], [8]]}}"
)


def arguments(small_shop: Path, shop: Path, *settings: str) -> list[str]:
    given = [f"output_dir={shop.parent}", "training.max_epochs=2", *settings]
    return ["--config", str(small_shop), *(part for each in given for part in ("--set", each))]


def test_trials_on_the_validation_date_leave_settings_to_train_with(
    shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    tuned = arguments(small_shop, shop, SPACE, "tuning.where=spark", "tuning.num_trials=3")
    assert run_job("tune", tuned) == 0
    with (shop / "tuning" / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [row["ended"] for row in trials] == ["done"] * 3
    assert (trials[0]["training.learning_rate"], trials[0]["model.hidden"]) == ("0.01", "[16]")
    assert (shop / "tuning" / "course.png").read_bytes().startswith(b"\x89PNG")
    assert not (shop / "runs" / "tuning").exists()
    best = min(trials, key=lambda row: float(row["validation_log_loss"]))
    laid_over = ["--config", str(shop / "tuning" / "best.yaml"), "--print-config"]
    assert run_job("train", [*arguments(small_shop, shop), *laid_over]) == 0
    assert f"learning_rate: {best['training.learning_rate']}\n" in capsys.readouterr().out


def test_without_a_space_or_without_optuna_there_is_no_tuning(
    shop: Path, small_shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run_job("tune", arguments(small_shop, shop)) == 2
    assert "there is nothing to tune: tuning.space is empty" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_job("tune", arguments(small_shop, shop, SPACE)) == 2
    assert "not installed: optuna. Run pip install memberlevel_spark[tuning]" in capsys.readouterr().err
