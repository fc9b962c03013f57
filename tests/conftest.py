"""One Spark session for the whole test run, and a small seeded shop."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pyspark.sql import SparkSession

import memberlevel_spark
from memberlevel_spark.cli import run_job
from memberlevel_spark.errors import MemberLevelError
from tests.small_shop import write_small_shop

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


# How long an example takes depends on what else the machine does: no test is about that.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LIBRARY = Path(memberlevel_spark.__file__).parent
RAISED: set[tuple[str, int]] = set()


def pytest_configure() -> None:
    """Remember where in the library every error of this process was made."""
    original = MemberLevelError.__init__

    def remember(self: MemberLevelError, *arguments: object) -> None:
        frame = sys._getframe(1)
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(LIBRARY):
            RAISED.add((path.relative_to(LIBRARY).as_posix(), frame.f_lineno))
        original(self, *arguments)

    MemberLevelError.__init__ = remember  # type: ignore[method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that look back at the whole run come last."""
    items.sort(key=lambda item: item.get_closest_marker("runs_last") is not None)


@pytest.fixture
def raised_errors(request: pytest.FixtureRequest) -> set[tuple[str, int]] | None:
    """File and line of every library error made so far, None when only a part of the tests runs."""
    config = request.config
    partial = (
        config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.keyword or config.option.markexpr
    )
    return None if partial else RAISED


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two slots, UTC, Delta, small shuffles; no UI and no progress bar."""
    scratch = tmp_path_factory.mktemp("spark")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.databricks.delta.snapshotPartitions", "1")
        # Many times the queries of a real run pass through this one JVM: room for them, and no memory of their plans.
        .config("spark.driver.memory", "4g")
        # Planning and compiling is what tiny data costs: each plan is made once and interpreted. Tests in processes of
        # their own (local-cluster, faults) and the year run the classes that Spark generates.
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.python.sql.dataFrameDebugging.enabled", "false")
        .config("spark.sql.ui.retainedExecutions", "5")
        .config("spark.ui.retainedJobs", "20")
        .config("spark.ui.retainedStages", "20")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.log.level", "OFF")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a seeded shop with 150 members, 300 days of CSV orders and JSON activities; some rows are broken."""
    return write_small_shop(tmp_path_factory.mktemp("small_shop"))


@pytest.fixture(scope="session")
def shop(spark: SparkSession, small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one full run on the small shop; tests that damage something mend it again."""
    out = tmp_path_factory.mktemp("out")
    assert run_job("pipeline", ["--config", str(small_shop), "--set", f"output_dir={out}"]) == 0
    return out / "small_shop"
