"""What all experiments of a run share: the encoded rows of every as-of date, how they are trained on and judged.

In: ``backtest_examples`` as they were written. Out: training jobs, and results of forecasts.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pyarrow as pa

from memberlevel_spark.config import Config
from memberlevel_spark.evaluation.comparison import Result
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.schemas import EXAMPLES
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.stage import training_job

MODEL = "model"
BACKTEST_EXAMPLES = replace(EXAMPLES, name="backtest_examples")
log = logging.getLogger("memberlevel_spark")


@dataclass(frozen=True)
class Shop:
    """Rows of every as-of date, and what reads them."""

    encoder: Encoder
    version: int
    rows: Mapping[date, pa.Table]  # in the order of row_key
    files: Mapping[date, tuple[str, ...]]
    unit: float  # minor units in a whole one


def trial_job(
    config: Config, encoder: Encoder, *, train_files: tuple[str, ...], validation_files: tuple[str, ...], folder: Path
) -> TrainingJob:
    """All epochs in this process, the last weights kept: nothing depends on the validation, which has to be there.

    The back-test's rows tell no groups: here all of them count alike."""
    plain = config.training.model_copy(update={"reweighing": None})
    config = config.model_copy(update={"training": plain})
    job = training_job(config, folder.absolute(), encoder, train_files=train_files, validation_files=validation_files)
    inline = job.training.model_copy(update={"how": "inline", "num_processes": 1})
    return replace(job, training=inline, keep="last")


def judged(shop: Shop, day: date, name: str, seed: int, forecast: Forecast) -> Result:
    """Every metric of one forecast of a test date, amounts in whole units of the currency; a line in the log."""
    rows = shop.rows[day]
    target_N, now_N = (rows.column(name).to_numpy() for name in ("target_level", "level_now"))
    outcomes_N2 = feature_matrix(rows.column("outcomes").combine_chunks())
    told = rows.column("next_category").combine_chunks().flatten().to_numpy() if shop.encoder.next_categories else None
    actuals = Actuals.of(target_N, now_N, outcomes_N2, unit=shop.unit, category_N=told)
    result = Result(day, name, seed, judge(actuals, forecast.in_units(shop.unit)), forecast.p_level_NK)
    log.info("experiments: as of %s, %s, seed %d: %s", day, name, seed, _shown(result))
    return result


def _shown(result: Result) -> str:
    names = ("log_loss", "accuracy", "upgrade_auc")
    return ", ".join(f"{name} {result.metrics[name]:.4f}" for name in names if result.metrics.get(name) is not None)
