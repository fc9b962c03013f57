"""The job tune: settings of the declared space, tried on the train and validation splits of one pinned version.

In: ``examples``. Out: ``tuning/`` in the shop's folder. The test date is never looked at, and the configuration is left
as it is.
"""

import importlib

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.examples.stage import load_encoder
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.training.stage import training_job


def run_tune(run: Run) -> StageResult:
    """Run what is left of the budget, and write the results of all trials of this space.

    Errors: ConfigError when Optuna is missing or there is nothing to tune; those of ``tune``.
    """
    _require_optuna()
    from memberlevel_spark.training.tuning.tuner import tune

    config, folder = run.config, run.shop_dir.absolute() / "tuning"
    if not config.tuning.space:
        raise ConfigError(
            "there is nothing to tune: tuning.space is empty. Declare it, as conf/complete_journey.yaml does."
        )
    version = run.tables.version("examples")
    job = training_job(
        config,
        run.shop_dir.absolute() / "runs" / "tuning",
        load_encoder(run, version),
        train_files=run.tables.live_files("examples", version, "split=train"),
        validation_files=run.tables.live_files("examples", version, "split=validation"),
    )
    sections = {"model": config.model, "training": config.training}
    told = tune(job, config.tuning, sections, folder=folder, spark=run.tables.spark)
    return StageResult(RowCounts(0, 0), {"examples": version}, {}, f"{told}; all trials in {folder}")


def _require_optuna() -> None:
    try:
        importlib.import_module("optuna")
    except ImportError:
        raise ConfigError(
            "tuning needs what is not installed: optuna. Run pip install memberlevel_spark[tuning]."
        ) from None
