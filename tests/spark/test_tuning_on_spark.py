"""Trials as Spark tasks: the same trials as those of local processes."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.training.tuning.tuner import tune
from tests.torch.made_examples import small_job
from tests.torch.test_tuning import SECTIONS, rows, settings

pytestmark = [pytest.mark.spark, pytest.mark.torch]


def test_tasks_and_processes_make_the_same_trials(spark: SparkSession, tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    # Drawn at random and never ended early, so that nothing depends on which trial ends first.
    drawn = {"num_trials": 4, "startup_trials": 8, "processes": 2}
    told = tune(plain, settings(where="spark", **drawn), SECTIONS, folder=tmp_path / "spark", spark=spark)
    assert tune(plain, settings(where="local", **drawn), SECTIONS, folder=tmp_path / "local") == told
    assert rows(tmp_path / "spark") == rows(tmp_path / "local")
    assert [row["ended"] for row in rows(tmp_path / "spark")] == ["done"] * 4
    assert len({row["training.learning_rate"] for row in rows(tmp_path / "spark")}) == 4


def test_an_error_of_the_configured_trial_keeps_its_class_and_its_words(spark: SparkSession, tmp_path: Path) -> None:
    steep = small_job(tmp_path, learning_rate=1e30)
    sections = {**SECTIONS, "training": steep.training}
    space = {"training.learning_rate": {"choices": [0.02, 1e30]}}
    with pytest.raises(DataQualityError, match=r"^(training|validation) .*loss is not a finite number: nan"):
        tune(steep, settings(num_trials=1, where="spark", space=space), sections, folder=tmp_path / "t", spark=spark)
