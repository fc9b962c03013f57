"""Tuning: the budget is kept, hopeless trials end early, and a tuning that was killed ends where it would have."""

import csv
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from memberlevel_spark.config import load_config
from memberlevel_spark.config.model import ModelConfig
from memberlevel_spark.config.tuning import TuningConfig
from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.tuning import tuner, workers
from memberlevel_spark.training.tuning.space import with_settings
from memberlevel_spark.training.tuning.study import mend_journal, open_study
from memberlevel_spark.training.tuning.trial import TrialPlan, run_trial
from memberlevel_spark.training.tuning.tuner import tune
from tests.torch.made_examples import PLAIN, changed, small_job, write_examples

pytestmark = pytest.mark.torch

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"
MODEL = ModelConfig(
    name="mlp",
    reads=(),
    level_head="softmax",
    spend_head="mixture",
    hidden=(16,),
    periodic=0,
    dropout=0.1,
    pretraining=None,
    frozen=False,
    calibration=(),
)
SECTIONS = {"model": MODEL, "training": PLAIN}
GOOD_AND_HOPELESS = {"training.learning_rate": {"choices": [0.02, 1e-9]}}
SPACE = {
    "training.learning_rate": {"low": 0.005, "high": 0.2, "log": True},
    "training.accumulate_batches": {"low": 1, "high": 3},
    "model.hidden": {"choices": [[16], [8, 8]]},
}


def settings(**changes: Any) -> TuningConfig:
    plain = {"num_trials": 3, "processes": 1, "where": "local", "startup_trials": 2, "space": SPACE}
    return TuningConfig.model_validate(plain | changes)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def plan_of(plain: TrainingJob, folder: Path, **changes: Any) -> TrialPlan:
    plan = tuner._planned(plain, settings(**changes), SECTIONS, folder / "journal.log")
    mend_journal(plan.journal)
    return plan


def die_in_a_trial(plan: TrialPlan) -> None:
    """What a process does whose machine runs out of memory while it trains."""
    plan.open().ask(dict(plan.space))
    os.kill(os.getpid(), signal.SIGKILL)


def run_here(plan: TrialPlan, num_trials: int, *, processes: int) -> None:
    for _ in range(num_trials):
        run_trial(plan)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting processes is what takes time; what they do is the same here."""
    monkeypatch.setattr(tuner, "run_locally", run_here)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("startup_trials", [2, 8], ids=["learning from earlier trials", "at random"])
def test_a_budget_that_is_raised_goes_on_and_ends_as_if_it_had_been_asked_for_at_once(
    tmp_path: Path, startup_trials: int
) -> None:
    plain, cut, whole = small_job(tmp_path), tmp_path / "cut", tmp_path / "whole"
    three, five = (settings(num_trials=number, startup_trials=startup_trials) for number in (3, 5))
    tune(plain, three, SECTIONS, folder=cut)
    first = rows(cut)
    told = tune(plain, five, SECTIONS, folder=cut)
    assert [row["trial"] for row in rows(cut)] == ["0", "1", "2", "3", "4"]
    assert rows(cut)[:3] == first
    assert tune(plain, five, SECTIONS, folder=whole) == told
    for name in ("trials.csv", "best.yaml", "course.png"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    # The budget is spent: nothing more is tried.
    assert tune(plain, five, SECTIONS, folder=cut) == told
    drawn = {(row["training.learning_rate"], row["model.hidden"]) for row in rows(cut)}
    assert len(drawn) == 5
    assert not Path(plain.run_dir).exists()


@pytest.mark.usefixtures("in_this_process")
def test_the_first_trial_is_the_configuration_as_it_is_and_is_told_beside_the_best(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    told = tune(plain, settings(num_trials=2), SECTIONS, folder=tmp_path / "tuning")
    first, second = rows(tmp_path / "tuning")
    run = run_training(changed(plain, run_dir=str(tmp_path / "by itself")))
    assert float(first["validation_log_loss"]) == run.best.validation_log_loss
    assert (first["note"], first["epochs"], first["model.hidden"]) == ("as configured", "3", "[16]")
    assert (first["training.learning_rate"], first["training.accumulate_batches"]) == ("0.02", "1")
    lowest = min(float(row["validation_log_loss"]) for row in (first, second))
    assert f"validation log-loss {lowest:.4f}, as configured {run.best.validation_log_loss:.4f}; training" in told


@pytest.mark.usefixtures("in_this_process")
def test_hopeless_trials_are_ended_early_and_count(tmp_path: Path) -> None:
    folder = tmp_path / "tuning"
    told = tune(small_job(tmp_path), settings(num_trials=8, space=GOOD_AND_HOPELESS), SECTIONS, folder=folder)
    early = [row for row in rows(folder) if row["ended"] == "ended early"]
    assert early and {(row["training.learning_rate"], row["epochs"]) for row in early} == {("1e-09", "2")}
    assert told.startswith(f"8 trials, {len(early)} of them ended early; best is trial ")
    assert all(row["ended"] == "done" for row in rows(folder) if row["training.learning_rate"] == "0.02")
    assert yaml.safe_load((folder / "best.yaml").read_text()) == {"training": {"learning_rate": 0.02}}


@pytest.mark.usefixtures("in_this_process")
def test_the_best_settings_are_a_file_of_the_configuration_that_sets_the_tuned_keys_only(tmp_path: Path) -> None:
    folder = tmp_path / "tuning"
    tune(small_job(tmp_path), settings(), SECTIONS, folder=folder)
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert {f"{section}.{name}" for section in best for name in best[section]} == set(SPACE)
    done = [row for row in rows(folder) if row["ended"] == "done"]
    row = min(done, key=lambda row: float(row["validation_log_loss"]))
    config = load_config(JOURNEY, further=[folder / "best.yaml"])
    assert config.training.learning_rate == float(row["training.learning_rate"])
    assert config.training.accumulate_batches == int(row["training.accumulate_batches"])
    assert str(list(config.model.hidden)) == row["model.hidden"]


def test_a_killed_process_costs_its_trial_once_and_changes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line of the journal is torn too. What goes on then are processes, side by side."""
    plain, folder, whole = small_job(tmp_path), tmp_path / "tuning", tmp_path / "whole"
    # All are drawn at random, so that nothing depends on which of two trials ends first.
    four = settings(num_trials=4, startup_trials=8, processes=2)
    with monkeypatch.context() as patched:
        patched.setattr(tuner, "run_locally", run_here)
        tune(plain, four, SECTIONS, folder=whole)
        tune(plain, settings(num_trials=2, startup_trials=8), SECTIONS, folder=folder)
    with monkeypatch.context() as patched:
        patched.setattr(workers, "run_trial", die_in_a_trial)
        with pytest.raises(ArtefactError, match=r"a process that ran a trial was killed: one of 1\. .* tuning goes on"):
            tune(plain, settings(num_trials=3, startup_trials=8), SECTIONS, folder=folder)
    with (folder / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":7,"trial_id":2,"st')
    with caplog.at_level(logging.INFO, logger="memberlevel_spark"):
        tune(plain, four, SECTIONS, folder=folder)
    lines = [record.getMessage() for record in caplog.records if record.name == "memberlevel_spark"]
    assert lines[0] == "tuning: trial 2 was cut off; it is marked failed and its values are tried again"
    assert sorted(line[:20] for line in lines[1:]) == ["tuning: trial 3 done", "tuning: trial 4 done"]
    assert [(row["trial"], row["ended"], row["note"]) for row in rows(folder)] == [
        ("0", "done", "as configured"),
        ("1", "done", ""),
        ("2", "failed", ""),
        ("3", "done", "trial 2 again"),
        ("4", "done", ""),
    ]
    assert capfd.readouterr() == ("", "")
    kept = [row for row in rows(folder) if row["ended"] == "done"]
    for name in ("validation_log_loss", *SPACE):
        assert [row[name] for row in kept] == [row[name] for row in rows(whole)]


def test_the_configured_trial_is_made_again_when_it_was_the_one_that_was_cut_off(
    tmp_path: Path, in_this_process: None
) -> None:
    plain, folder = small_job(tmp_path), tmp_path / "tuning"
    plan = plan_of(plain, folder)
    tuner.take_up(
        plan.open(), {"training.learning_rate": 0.02, "training.accumulate_batches": 1, "model.hidden": "[16]"}
    )
    # Killed before it had drawn anything.
    plan.open().ask()
    tune(plain, settings(num_trials=1), SECTIONS, folder=folder)
    assert [(row["ended"], row["training.learning_rate"], row["note"]) for row in rows(folder)] == [
        ("failed", "", "as configured"),
        ("done", "0.02", "trial 0 again"),
    ]


@pytest.mark.usefixtures("in_this_process")
def test_no_trial_begins_when_the_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no trial came to its end: 0 were begun\. Raise tuning\.timeout_minutes"):
        tune(small_job(tmp_path), settings(timeout_minutes=1e-9), SECTIONS, folder=tmp_path / "tuning")


def test_a_space_without_the_configured_values_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    space = {"training.learning_rate": {"low": 0.1, "high": 0.2}, "training.batch_rows": {"choices": [64, 62]}}
    told = (
        r"tuning\.space does not fit what is configured: training\.batch_rows=62 needs batch_rows a multiple of lanes"
        r" \(4\), such as 64, training\.learning_rate leaves out the configured 0\.02\. Mend the space"
    )
    with pytest.raises(ConfigError, match=told):
        tune(small_job(tmp_path), settings(space=space), SECTIONS, folder=tmp_path / "tuning")
    assert not (tmp_path / "tuning").exists()


def test_settings_that_contradict_each_other_end_their_trial_and_say_why(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    space = {"training.lanes": {"choices": [4, 8]}, "training.batch_rows": {"choices": [64, 60]}}
    with pytest.raises(
        ConfigError, match=r"contradict each other: training\.batch_rows=60, training\.lanes=8; expected"
    ):
        with_settings(plain, {"training.lanes": 8, "training.batch_rows": 60})
    study = plan_of(plain, tmp_path, space=space).open()
    study.enqueue_trial({"training.lanes": "8", "training.batch_rows": "60"})
    run_trial(plan_of(plain, tmp_path, space=space))
    (trial,) = study.trials
    assert trial.state.name == "PRUNED" and "lanes (8), such as 64. Narrow tuning.space" in trial.user_attrs["note"]


def test_a_trial_that_diverges_counts_as_ended_early_but_not_the_configured_one(
    tmp_path: Path, in_this_process: None
) -> None:
    plain = small_job(tmp_path)
    space = {"training.learning_rate": {"choices": [0.02, 1e30]}}
    study = plan_of(plain, tmp_path, space=space).open()
    study.enqueue_trial({"training.learning_rate": "1e+30"})
    run_trial(plan_of(plain, tmp_path, space=space))
    assert study.trials[0].state.name == "PRUNED"
    assert "is not a finite number" in study.trials[0].user_attrs["note"]
    steep = changed(plain, learning_rate=1e30)
    sections = {**SECTIONS, "training": steep.training}
    # It is tried again with the next start: its failure does not count.
    for _ in range(2):
        with pytest.raises(DataQualityError, match="is not a finite number"):
            tune(steep, settings(num_trials=1, space=space), sections, folder=tmp_path / "tuning")


def test_an_error_that_no_setting_can_mend_fails_its_trial(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    plan = plan_of(plain, tmp_path / "tuning")
    Path(plain.train_files[1]).unlink()
    with pytest.raises(ArtefactError):
        run_trial(plan)
    assert [trial.state.name for trial in plan.open().trials] == ["FAIL"]


def test_other_examples_another_seed_or_space_are_another_study_and_where_it_runs_is_not(tmp_path: Path) -> None:
    plain = small_job(tmp_path)

    def name(changed_job: TrainingJob, **changes: Any) -> str:
        return plan_of(changed_job, tmp_path / "tuning", **changes).study

    first = name(plain)
    assert name(changed(plain, how="torchrun", num_processes=2), where="spark", num_trials=9, processes=4) == first
    other_files = write_examples(tmp_path / "other", [200, 150, 130])
    renamed = tuple(path.replace("0f3c", "1a2b") for path in plain.train_files)
    others = [
        name(changed(plain, seed=8)),
        name(changed(plain, max_epochs=4)),
        name(changed(plain, train_files=renamed)),
        name(plain, space=GOOD_AND_HOPELESS),
    ]
    assert len({first, *others}) == 5
    # Only the folder differs: the same table, elsewhere.
    assert name(changed(plain, train_files=other_files)) == first


def test_a_machine_that_does_not_see_the_journal_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"the journal of the tuning is not there: .*journal\.log\. Use an output_dir"
    ):
        open_study(tmp_path / "journal.log", "tune-0", seed=7, startup_trials=2)


def test_a_spark_task_answers_with_its_error(tmp_path: Path) -> None:
    plan = plan_of(small_job(tmp_path), tmp_path / "tuning")
    plan.journal.unlink()
    run: Callable[..., Any] = workers._trial_mapper(plan)
    (answer,) = run(iter([pa.RecordBatch.from_pydict({"id": [0]})]))
    assert answer.to_pylist()[0]["error"] == "ArtefactError"
    assert answer.to_pylist()[0]["message"].startswith("the journal of the tuning is not there: ")
