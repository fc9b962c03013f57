"""The study of one space on one version of the examples: kept in a journal, taken up again, the same with every start.

In: the journal's path. Out: an Optuna study. Its trials are those of every start with the same space, examples and
configured training.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.tuning.space import Space

# Before its second epoch a run tells more about its warm-up than about its end.
FIRST_PRUNED_EPOCH = 2
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
IS_CONFIGURED, NOTE = "configured", "note"  # what the study remembers of a trial beside its values
log = logging.getLogger("memberlevel_spark")


class SamplerByPlace(BaseSampler):
    """TPE whose draws follow from the seed, a trial's place among those that did not fail, and the trials before it.

    One sampler per process, each with one seed, would draw the same again with every start.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._sampler = TPESampler(seed=seed, n_startup_trials=startup_trials)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin a trial's own draws."""
        earlier = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
        place = sum(other.state != TrialState.FAIL for other in earlier)
        self._sampler = TPESampler(seed=self._seed + place, n_startup_trials=self._startup_trials)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Optuna's, of TPE."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Optuna's, of TPE."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Optuna's, of TPE."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def study_name(job: TrainingJob, space: Space) -> str:
    """The name of the study of a space: another one for other examples, another configured training or another seed.

    Delta names every file anew, so the names of the files stand for the version of the examples.
    """
    named = replace(job, train_files=_names(job.train_files), validation_files=_names(job.validation_files))
    declared = {key: distribution_to_json(distribution) for key, distribution in space.items()}
    text = json.dumps([named.fingerprint, declared], sort_keys=True)
    return f"tune-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def open_study(journal: Path, name: str, *, seed: int, startup_trials: int) -> Study:
    """The study in a journal that is there already, for one trial after another.

    Errors: ArtefactError when this process does not see the journal.
    """
    if not journal.is_file():
        raise ArtefactError(
            f"the journal of the tuning is not there: {journal}. Use an output_dir that every machine sees, or"
            " tuning.where: local."
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=SamplerByPlace(seed, startup_trials),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=FIRST_PRUNED_EPOCH),
        direction="minimize",
        load_if_exists=True,
    )


def mend_journal(journal: Path) -> None:
    """Make the journal if there is none, and cut off the line that a killed process was writing."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.touch()
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)


def take_up(study: Study, configured: Mapping[str, Any]) -> None:
    """Queue what comes first: the trial with the ``configured`` values, and those that were running when an earlier
    start was ended; these are marked failed and their values tried again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        log.warning("tuning: trial %d was cut off; it is marked failed and its values are tried again", trial.number)
        study.tell(trial.number, state=TrialState.FAIL)
        values = configured if IS_CONFIGURED in trial.user_attrs else trial.params
        study.enqueue_trial(dict(values), user_attrs={**trial.user_attrs, NOTE: f"trial {trial.number} again"})
    kept = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
    if not any(IS_CONFIGURED in trial.user_attrs for trial in kept):
        study.enqueue_trial(dict(configured), user_attrs={IS_CONFIGURED: True})


def num_finished(study: Study) -> int:
    """Trials that count towards the budget: those that came to an end and those that were ended early."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _names(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(Path(path).name for path in paths))
