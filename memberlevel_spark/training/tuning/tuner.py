"""A tuning from start to end: take the study up, run what is left of its budget, write what is known.

In: the configured training job. Out: a folder with ``journal.log`` (the study), ``trials.csv``, ``best.yaml`` and
``course.png``; no weights are kept.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from memberlevel_spark.config.tuning import Sections, TuningConfig, space_misfits
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import check_input
from memberlevel_spark.training.tuning.results import write_results
from memberlevel_spark.training.tuning.space import configured_values, optuna_space
from memberlevel_spark.training.tuning.study import mend_journal, num_finished, study_name, take_up
from memberlevel_spark.training.tuning.trial import TrialPlan
from memberlevel_spark.training.tuning.workers import run_locally, run_on_spark

JOURNAL = "journal.log"


def tune(job: TrainingJob, tuning: TuningConfig, sections: Sections, *, folder: Path, spark: Any = None) -> str:
    """Try settings until the budget is spent; the same job and space go on with the trials of earlier starts.

    Args:
        job: the configured training; below its run_dir each trial trains.
        tuning: budget, place and space.
        sections: the sections ``model`` and ``training`` that the job was made from.
        folder: absolute, of the study and the results.
        spark: the session, for trials on spark.

    Returns: the best values beside the configured ones, as a line.

    Raises:
        ConfigError: the space does not fit the configuration, or the time was over before a trial came to its end.
        DataQualityError: the examples are not what training needs, or the configured loss is not a finite number.
        ArtefactError: files could not be read or written, or a process was killed.
    """
    misfits = space_misfits(tuning.space, sections)
    if misfits:
        raise ConfigError(
            f"tuning.space does not fit what is configured: {first_five(misfits)}. Mend the space, or configure another"
            " value: the first trial is the configuration as it is."
        )
    plan = _planned(job, tuning, sections, folder / JOURNAL)
    check_input(plan.job)
    mend_journal(plan.journal)
    study = plan.open()
    left = tuning.num_trials - num_finished(study)
    if left > 0:
        take_up(study, configured_values(plan.space, sections))
        shutil.rmtree(job.run_dir, ignore_errors=True)
        if tuning.where == "spark":
            run_on_spark(plan, left, spark=spark)
        else:
            run_locally(plan, left, processes=tuning.processes)
        shutil.rmtree(job.run_dir, ignore_errors=True)
    return write_results(study, plan.space, folder)


def _planned(job: TrainingJob, tuning: TuningConfig, sections: Sections, journal: Path) -> TrialPlan:
    """Each trial trains inline, and writes to no tracker: its curve is in the study."""
    alone = {"how": "inline", "num_processes": 1, "checkpoint_every_steps": 0, "track": ()}
    own = replace(job, training=job.training.model_copy(update=alone))
    space = optuna_space(tuning.space, sections)
    minutes = tuning.timeout_minutes
    deadline = None if minutes is None else time.time() + 60 * minutes
    return TrialPlan(journal, study_name(own, space), own, space, tuning.startup_trials, deadline)
