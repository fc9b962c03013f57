"""Two synthetic worlds for all tests: the same members with and without defects."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.run import Run
from memberlevel_spark.synthetic.stage import run_world
from memberlevel_spark.tables import DeltaTables
from tests.made_world import ALL_DEFECTS, NUM_MEMBERS, world_config


def made_world(spark: SparkSession, out: Path, **knobs: object) -> Run:
    """Run the job on a world of ``NUM_MEMBERS``; returns the run, whose tables hold the truth."""
    config = world_config(num_members=NUM_MEMBERS, **knobs).model_copy(update={"output_dir": out})
    run = Run(config, DeltaTables(spark, str(config.shop_dir / "tables"), {"run_id": "test"}))
    result = run_world(run)
    assert result.counts.rows_in == result.counts.rows_out > 10_000 and f"{NUM_MEMBERS} members" in result.note
    return run


@pytest.fixture(scope="session")
def clean_world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A world without defects."""
    return made_world(spark, tmp_path_factory.mktemp("clean"), tasks=1)


@pytest.fixture(scope="session")
def spoiled_world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same world with every defect that a run survives."""
    return made_world(spark, tmp_path_factory.mktemp("spoiled"), tasks=1, defects=ALL_DEFECTS)
