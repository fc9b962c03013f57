"""The house rules that a test can hold: who imports what, sizes, the flow table, every error raised somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from memberlevel_spark.pipeline import STAGES, TOOLS

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "memberlevel_spark"
SOURCES = sorted(LIBRARY.rglob("*.py"))
SPARK_FREE = ("timeline.py", "errors.py", "config/", "features/declare.py", "features/kernel")
SPARK_FREE += tuple(f"levels/{name}.py" for name in ("rules", "calendar", "engine", "standing", "history"))
SPARK_FREE += tuple(f"features/{name}.py" for name in ("feature", "meanings", "aggregates", "catalogue"))
SPARK_FREE += (
    "evaluation/metrics.py",
    "evaluation/baselines.py",
    "evaluation/leakage_probes.py",
    "registry/bundle.py",
    "registry/gate.py",
    "feed/plan.py",
    "feed/order.py",
    "feed/store.py",
    "feed/counts.py",
    "models/calibrators.py",
    "training/calibration.py",
    "training/weights.py",
    "delta_log.py",
    *(f"serving/{name}.py" for name in ("follow", "guard", "metrics")),
)
TORCH_ROOMS = ("models/", "training/", "feed/", "scoring/predictor.py")
SESSION_USERS = ("session.py", "training/launch.py", "training/entry.py")
# The functions and files that read the clock or collect are stages and what they call; builders are all the rest.
BUILDERS = sorted(
    path
    for path in SOURCES
    if re.search(r"^def build_", path.read_text(encoding="utf-8"), re.MULTILINE)
    and path.name not in ("stage.py", "cli.py")
)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 70, 6


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


def imports(path: Path) -> set[str]:
    """Top-level packages a file imports, anywhere in it, leaving out what only type checkers see."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_each_room_imports_only_what_it_may(path: Path):
    found = imports(path)
    if room(path).startswith(SPARK_FREE):
        assert not found & {"pyspark", "delta", "torch"}
    if not room(path).startswith(TORCH_ROOMS):
        assert "torch" not in found
    if not room(path).startswith("feed/"):
        assert "petastorm" not in found


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_only_session_makes_sessions_and_only_tables_touches_delta(path: Path):
    text = path.read_text(encoding="utf-8")
    if room(path) != "session.py":
        assert not re.search(r"SparkSession\.(builder|getActiveSession)", text)
    if room(path) != "tables.py":
        assert "delta.tables" not in text and 'format("delta")' not in text
    if room(path) not in SESSION_USERS:
        assert not re.search(r"sparkContext|\._jvm|\._jsc|\.rdd\b", text)


@pytest.mark.parametrize("path", BUILDERS, ids=room)
def test_builders_are_pure(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.(collect|toPandas|count|first|head|show|write|cache|persist)\(\)", text)
    assert not re.search(r"\b(datetime\.now|date\.today|time\.time|current_date|current_timestamp|F\.rand)\b", text)


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_files_functions_and_parameter_lists_stay_small(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        assert (function.end_lineno or 0) - function.lineno < MAX_FUNCTION_LINES, function.name
        arguments = [a for a in [*function.args.args, *function.args.kwonlyargs] if a.arg not in ("self", "cls")]
        assert len(arguments) <= MAX_PARAMETERS, function.name


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_modules_and_public_functions_say_what_they_do(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "module"
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_the_library_never_prints_and_has_no_drawers(path: Path):
    if room(path) != "cli.py":
        assert not re.search(r"(?<![\w.])print\(", path.read_text(encoding="utf-8"))
    assert not {"utils", "helpers", "common", "misc"} & set(room(path).removesuffix(".py").split("/"))


def test_readmes_flow_table_is_the_pipeline():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+?) \| (.+?) \|$", readme, re.MULTILINE)
    assert rows == [(str(n), stage.name, stage.makes, stage.grain) for n, stage in enumerate(STAGES, start=1)]


def test_every_stage_has_a_function_and_a_job_and_reads_only_what_an_earlier_one_wrote():
    written: set[str] = set()
    for stage in STAGES:
        assert callable(stage.load())
        assert (ROOT / "jobs" / f"{stage.name}.py").is_file()
        assert set(stage.reads) <= written, stage.name
        written |= set(stage.writes)


def test_every_tool_has_a_function_and_a_job():
    for tool in TOOLS:
        assert callable(tool.load()) and (ROOT / "jobs" / f"{tool.name}.py").is_file()


def raise_sites() -> set[tuple[str, int]]:
    """File and line of every error the library makes."""
    names = {"ConfigError", "DataQualityError", "ArtefactError", "UnknownMemberError", "LeakageError", "AlertError"}
    return {
        (room(path), node.lineno)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    }


@pytest.mark.runs_last
def test_every_error_of_the_library_was_raised_in_this_test_run(raised_errors: set[tuple[str, int]] | None):
    if raised_errors is None:
        pytest.skip("needs the whole test run: a part of it cannot raise every error")
    assert sorted(raise_sites() - raised_errors) == []
