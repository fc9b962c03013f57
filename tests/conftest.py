"""One Spark session for the whole test run, and a small seeded shop."""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import memberlevel_spark
from memberlevel_spark.cli import run_job
from memberlevel_spark.errors import MemberLevelError
from tests.small_shop import write_small_shop

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, a folder whose tests share a session and a shop stays on one; unit tests go anywhere."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(item.path.stem if folder == "unit" else folder))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A worker hands over which errors it raised; a whole run that raised not all of the library's has failed."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["raised"] = sorted(RAISED)
    elif exitstatus == pytest.ExitCode.OK and _whole_run(session.config) and errors_never_raised():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the errors that no test raised."""
    never = errors_never_raised() if _whole_run(config) else []
    if never:
        terminalreporter.section("errors of the library that no test raised", red=True)
        for path, line in never:
            terminalreporter.write_line(f"memberlevel_spark/{path}:{line}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker handed over."""
    RAISED.update((path, line) for path, line in getattr(node, "workeroutput", {}).get("raised", []))


def _whole_run(config: pytest.Config) -> bool:
    part = config.option.keyword or config.option.markexpr or config.option.collectonly
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not part


def errors_never_raised() -> list[tuple[str, int]]:
    """File and line of every error the library makes that no test of this run raised."""
    return sorted(raise_sites() - RAISED)


def raise_sites() -> set[tuple[str, int]]:
    """File and line of every error the library makes."""
    names = {"ConfigError", "DataQualityError", "ArtefactError", "LeakageError"}
    return {
        (path.relative_to(LIBRARY).as_posix(), node.lineno)
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    }


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
        .config("spark.driver.memory", "3g")
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
