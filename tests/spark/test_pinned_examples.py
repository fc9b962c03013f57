"""A table that is written again and vacuumed while a model trains on it: its pinned version is gone, and it says so."""

import logging
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.tables import DeltaTables
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import job, write_examples

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.chaos]


class AtFirstEpoch(logging.Handler):
    """Does something once, when the first epoch has ended."""

    def __init__(self, what: object) -> None:
        super().__init__(logging.INFO)
        self.what, self.done = what, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.done and record.getMessage().startswith("epoch 1 of"):
            self.done = True
            self.what()  # type: ignore[operator]


@pytest.mark.parametrize("vacuumed", [True, False], ids=["vacuumed", "only written again"])
def test_training_reads_its_pinned_version_until_it_is_vacuumed(
    spark: SparkSession, tmp_path: Path, vacuumed: bool
) -> None:
    path = str(tmp_path / "tables" / "examples")
    (tmp_path / "seed").mkdir()
    (seeded,) = write_examples(tmp_path / "seed", [300])
    rows = spark.read.parquet(seeded)
    rows.repartition(4).write.format("delta").save(path)
    tables = DeltaTables(spark, tmp_path / "tables", {})
    train = tuple(f"{path}/{Path(file).name}" for file in tables.read("examples", 0).inputFiles())
    validation = write_examples(tmp_path, [60], split="validation", first_key=10_000)

    def write_again() -> None:
        rows.limit(10).write.format("delta").mode("overwrite").save(path)
        if vacuumed:
            spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
            DeltaTable.forPath(spark, path).vacuum(0)
            spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")

    # Long enough that what was read ahead is used up.
    plain = job(tmp_path, train, validation, max_epochs=30, patience_epochs=30, row_groups_ahead=1)
    logger, handler = logging.getLogger("memberlevel_spark.training.loop"), AtFirstEpoch(write_again)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        if vacuumed:
            with pytest.raises(ArtefactError, match=r"rank 0 cannot read its examples: .*pinned version still exists"):
                run_training(plain)
        else:
            assert {point.rows for point in run_training(plain).points} == {300}
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert handler.done
