"""One trial, in whichever process runs it: settings from the study, a training run, its validation log-loss back."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import Trial, TrialState

from memberlevel_spark.errors import ConfigError, DataQualityError
from memberlevel_spark.training.course import EpochPoint
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import fit_inline, with_weights
from memberlevel_spark.training.tuning.space import Space, settings_of, with_settings
from memberlevel_spark.training.tuning.study import IS_CONFIGURED, NOTE, open_study


@dataclass(frozen=True)
class TrialPlan:
    """What every trial of a tuning has in common.

    Args:
        journal: file of the study; on a cluster a path that every machine sees.
        study: its name there.
        job: the configured training; below its run_dir every trial has a folder while it runs.
        space: what is drawn.
        startup_trials: before the sampler and the pruner learn from earlier ones.
        deadline: seconds since 1970 after which no trial begins; None: no limit.
    """

    journal: Path
    study: str
    job: TrainingJob
    space: Space
    startup_trials: int
    deadline: float | None = None

    def open(self) -> Study:
        """The study, for this process. Errors: those of ``open_study``."""
        return open_study(self.journal, self.study, seed=self.job.seed, startup_trials=self.startup_trials)


def run_trial(plan: TrialPlan) -> int | None:
    """Run the trial that comes next, and return its number; None when the deadline has passed.

    A trial whose settings contradict each other, or whose loss is not a finite number, counts as ended early.

    Errors: those of the trial with the configured values, and every ArtefactError.
    """
    if plan.deadline is not None and time.time() >= plan.deadline:
        return None
    study = plan.open()
    trial = study.ask(dict(plan.space))
    try:
        study.tell(trial, _validation_log_loss(plan, trial))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (ConfigError, DataQualityError) as problem:
        trial.set_user_attr(NOTE, str(problem))
        is_configured = IS_CONFIGURED in trial.user_attrs
        study.tell(trial, state=TrialState.FAIL if is_configured else TrialState.PRUNED)
        if is_configured:
            raise
    except Exception:
        study.tell(trial, state=TrialState.FAIL)
        raise
    return trial.number


def _validation_log_loss(plan: TrialPlan, trial: Trial) -> float:
    """Train, and return the best epoch's; TrialPruned when the study holds it for hopeless."""

    def tell(point: EpochPoint) -> None:
        trial.report(point.validation_log_loss, point.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    run_dir = Path(plan.job.run_dir) / f"trial-{trial.number}"
    job = replace(with_settings(plan.job, settings_of(trial.params, plan.space)), run_dir=str(run_dir))
    try:
        return fit_inline(with_weights(job), tell).kept.validation_log_loss
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def described(trial: optuna.trial.FrozenTrial, space: Space) -> str:
    """A trial in a line: its settings and how it ended."""
    settings: dict[str, Any] = settings_of(trial.params, space)
    ended = "ended early" if trial.state == TrialState.PRUNED else "done"
    value = "" if trial.value is None else f" validation log-loss {trial.value:.4f},"
    return f"trial {trial.number} {ended}:{value} {', '.join(f'{key}={value}' for key, value in settings.items())}"
