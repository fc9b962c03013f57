"""The files of conf/deploy: whole, of one mind, and asking the jobs only for what they take."""

import ast
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from packaging.requirements import Requirement

from memberlevel_spark.cli import build_parser
from memberlevel_spark.config import load_config
from memberlevel_spark.pipeline import STAGES
from memberlevel_spark.session import DELTA_SETTINGS, JVM_FLAGS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "conf" / "deploy"
RUN = DEPLOY / "run.sh"
DAY = "2017-12-30"
INGEST = ["bronze", "silver", "member_days", "levels", "outcomes"]
SCORED = ["score", "advise", "monitor", "report"]
TRAINED = ["features", "labels", "examples", "train", "evaluate", "register"]
ORDER = {"daily": [*INGEST, "features", *SCORED], "retrain": [*INGEST, *TRAINED, *SCORED]}
DATED = {"daily": {"features", *SCORED}, "retrain": set(SCORED)}
# What the Databricks runtime brings of setup.py's packages.
OF_THE_RUNTIME = {
    *("pyspark", "delta-spark", "torch", "numpy", "pandas", "pyarrow"),
    *("scikit-learn", "pyyaml", "jinja2", "matplotlib", "tqdm"),
}


def require_taken(job: str, arguments: Sequence[str]) -> None:
    """The job exists, takes the arguments, and its configuration is a valid one on that day."""
    assert (ROOT / "jobs" / f"{job}.py").is_file()
    parsed = build_parser(job).parse_args(arguments)
    load_config(ROOT / "conf" / parsed.config[0].name, parsed.set, {})


@pytest.mark.parametrize("what", ORDER)
def test_every_stage_comes_after_those_that_make_what_it_reads(what: str):
    """Of tables that the same run makes anew; ``outcomes`` judges what the days before have scored."""
    stages = {stage.name: stage for stage in STAGES}
    order = ORDER[what]
    for place, name in enumerate(order):
        later = {table for other in order[place + 1 :] for table in stages[other].writes}
        allowed = {"member_scores", "member_features"} if name == "outcomes" else set()
        assert not set(stages[name].reads) & later - allowed, name


def fake(tmp_path: Path, *, fails_at: str = "nothing") -> tuple[Path, Path]:
    """A program that notes its arguments and the day, and fails at one job with exit code 4."""
    log, program = tmp_path / "log", tmp_path / "python"
    note = f'echo "$MEMBERLEVEL__TIMELINE__DATA_THROUGH $MEMBERLEVEL__TIMELINE__SCORE $*" >> {log}'
    program.write_text(f'#!/bin/sh\n{note}\ncase "$*" in *{fails_at}*) exit 4;; esac\n')
    program.chmod(0o755)
    return program, log


def ran(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERLEVEL_")}
    return subprocess.run([RUN, *arguments], env={**kept, **environment}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("what", ORDER)
def test_the_script_runs_the_stages_of_one_day_in_order(tmp_path: Path, what: str):
    program, log = fake(tmp_path)
    done = ran([what, "conf/complete_journey.yaml", DAY], MEMBERLEVEL_PYTHON=str(program))
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in log.read_text().splitlines()]
    assert {tuple(call[:3]) for call in calls} == {(DAY, f"[{DAY}]", "-m")}
    assert [call[3] for call in calls] == [f"jobs.{name}" for name in ORDER[what]]
    for call in calls:
        name = call[3].removeprefix("jobs.")
        assert ("--as-of" in call) == (name in DATED[what])
        require_taken(name, call[4:])


def test_the_first_stage_that_fails_ends_the_day_with_its_exit_code(tmp_path: Path):
    program, log = fake(tmp_path, fails_at="jobs.levels")
    done = ran(["daily", "conf/complete_journey.yaml", DAY], MEMBERLEVEL_PYTHON=str(program))
    assert done.returncode == 4 and log.read_text().splitlines()[-1].endswith("yaml")
    assert "jobs.levels" in log.read_text() and "jobs.outcomes" not in log.read_text()


def test_without_a_day_it_is_yesterday_in_the_zone_and_spark_submit_is_called_with_its_options(tmp_path: Path):
    program, log = fake(tmp_path)
    submit = f"{program} --master k8s://x --conf spark.jars=*.none"
    before = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    done = ran(["daily", "conf/complete_journey.yaml"], MEMBERLEVEL_SUBMIT=submit, TZ="Pacific/Kiritimati")
    assert done.returncode == 0
    first = log.read_text().splitlines()[0].split()
    assert date.fromisoformat(first[0]) in {before - timedelta(days=1), before}
    assert first[2:] == ["--master", "k8s://x", "--conf", "spark.jars=*.none", "jobs/bronze.py", "--config", CONFIG]


CONFIG = "conf/complete_journey.yaml"


def test_the_script_says_how_it_is_called():
    done = ran(["daily"])
    assert done.returncode == 2 and "run.sh retrain conf/<shop>.yaml [DAY]" in done.stderr
    assert "set -euo" not in done.stderr
    done = ran(["weekly", CONFIG, DAY])
    assert done.returncode == 2 and "neither daily nor retrain: weekly" in done.stderr


def script_call(words: Sequence[str]) -> None:
    """``conf/deploy/run.sh daily conf/<shop>.yaml``, of files that are there."""
    script, what, config = words
    assert script.removeprefix("/opt/memberlevel/") == "conf/deploy/run.sh" and os.access(RUN, os.X_OK)
    assert what in ORDER and (ROOT / config).is_file()


RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def test_the_lines_of_cron_are_times_and_commands():
    lines = (DEPLOY / "cron" / "memberlevel").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and line[0] != "#" and "=" not in line.split()[0]]
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    assert ZoneInfo(settings["CRON_TZ"]) == ZoneInfo(settings["TZ"]) and len(entries) == 1
    *times, user, command = entries[0].split(None, 6)
    for field, (low, high) in zip(times, RANGES, strict=True):
        assert field == "*" or low <= int(field) <= high
    assert user == "memberlevel" and "%" not in command  # cron makes a new line of it
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    script_call(re.findall(r"conf/deploy/run.sh (?:\S+ \S+)", command)[0].split())
    (by_hand,) = [line for line in lines if line.startswith("# conf/deploy/run.sh")]
    script_call(by_hand.removeprefix("# ").split())


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Sections of a systemd unit, each with its keys and values in order."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            own = sections.setdefault(line.strip("[]"), [])
        elif line and line[0] != "#":
            key, _, value = line.partition("=")
            own.append((key, value))
    return sections


def test_the_units_of_systemd_call_the_script_after_the_doctor():
    service, timer = unit("memberlevel-daily.service"), dict(unit("memberlevel-daily.timer")["Timer"])
    keys = dict(service["Service"])
    script_call(keys["ExecStart"].split())
    assert keys["Type"] == "oneshot" and keys["WorkingDirectory"] == "/opt/memberlevel"
    python, flag, job, *arguments = keys["ExecStartPre"].split()
    assert (python, flag) == ("/opt/memberlevel/.venv/bin/python", "-m")
    require_taken(job.removeprefix("jobs."), arguments)
    assert timer["Unit"] == "memberlevel-daily.service" and timer["Persistent"] == "true"
    assert "4" in timer["OnCalendar"] and ZoneInfo(timer["OnCalendar"].split()[-1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_itself_finds_no_fault(tmp_path: Path):
    """With programs and folders that are here in place of those of /opt."""
    for name in ("memberlevel-daily.service", "memberlevel-daily.timer"):
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        text = text.replace("/opt/memberlevel/.venv/bin/python", sys.executable).replace("/opt/memberlevel", str(ROOT))
        (tmp_path / name).write_text(text.replace("User=memberlevel", "User=root"), encoding="utf-8")
    units = sorted(tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    about = [line for line in (done.stdout + done.stderr).splitlines() if "memberlevel" in line]
    assert (done.returncode, about) == (0, [])
    calendar = dict(unit("memberlevel-daily.timer")["Timer"])["OnCalendar"]
    asked = ["systemd-analyze", "calendar", calendar]
    assert subprocess.run(asked, capture_output=True, timeout=60).returncode == 0


def documents() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "kubernetes" / "memberlevel-daily.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_objects_of_kubernetes_hang_together():
    found = documents()
    versions = {kind: each["apiVersion"] for kind, each in found.items()}
    assert versions == {
        "ServiceAccount": "v1",
        "Role": "rbac.authorization.k8s.io/v1",
        "RoleBinding": "rbac.authorization.k8s.io/v1",
        "CronJob": "batch/v1",
    }
    account, role, binding = (found[kind] for kind in ("ServiceAccount", "Role", "RoleBinding"))
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "memberlevel"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["metadata"]["name"]}]
    assert role["metadata"]["name"] == "memberlevel" and "pods" in role["rules"][0]["resources"]
    spec = found["CronJob"]["spec"]
    assert ZoneInfo(spec["timeZone"]) and len(spec["schedule"].split()) == 5 and spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    (container,) = pod["containers"]
    script_call(container["command"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_driver_in_the_pod_submits_with_options_that_are_there():
    (container,) = documents()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["MEMBERLEVEL__PSEUDONYMS__KEY"] is None  # a secret's
    submit = str(values["MEMBERLEVEL_SUBMIT"]).split()
    used = set(re.findall(r"\$\((\w+)\)", " ".join(submit)))
    before = [each["name"] for each in container["env"]]
    assert used <= set(before[: before.index("MEMBERLEVEL_SUBMIT")])  # Kubernetes fills in those before it only
    assert (ROOT / submit[submit.index("--properties-file") + 1]).is_file()
    settings = dict(word.split("=", 1) for flag, word in pairwise(submit) if flag == "--conf")
    assert settings["spark.kubernetes.container.image"] == container["image"]
    mount = settings["spark.kubernetes.executor.volumes.persistentVolumeClaim.out.mount.path"]
    assert mount == container["volumeMounts"][0]["mountPath"]


def test_the_properties_are_what_a_session_asks_for():
    text = (DEPLOY / "spark.properties").read_text(encoding="utf-8")
    found = dict(line.split(None, 1) for line in text.splitlines() if line and line[0] != "#")
    assert {name: found[name] for name in DELTA_SETTINGS} == DELTA_SETTINGS
    assert found["spark.sql.session.timeZone"] == "UTC"
    assert found["spark.driver.extraJavaOptions"] == found["spark.executor.extraJavaOptions"] == JVM_FLAGS
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    version = re.findall(r'"delta-spark==([\d.]+)"', setup)[0]
    assert found["spark.jars.packages"] == f"io.delta:delta-spark_4.2_2.13:{version}"


class Operator:
    """Stands for Airflow's SparkSubmitOperator; it knows what came before it."""

    made: list["Operator"] = []  # noqa: RUF012

    def __init__(self, **given: Any) -> None:
        self.given, self.before = given, None
        Operator.made.append(self)

    def __rshift__(self, other: "Operator") -> "Operator":
        other.before = self
        return other


class Dag:
    """Stands for Airflow's DAG; it takes the operators that are made inside of it."""

    def __init__(self, dag_id: str, **given: Any) -> None:
        self.dag_id, self.given = dag_id, given

    def __enter__(self) -> "Dag":
        Operator.made.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.tasks = list(Operator.made)


@pytest.fixture
def dags(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, Dag]]:
    """The DAGs of the file, by the installed Airflow's names."""
    modules = {
        "airflow": {"DAG": Dag},
        "airflow.providers.apache.spark.operators.spark_submit": {"SparkSubmitOperator": Operator},
        "airflow.timetables.interval": {"CronDataIntervalTimetable": lambda cron, timezone: (cron, timezone)},
    }
    for name, members in modules.items():
        parts = name.split(".")
        for number in range(1, len(parts) + 1):
            parent = ".".join(parts[:number])
            if parent not in sys.modules or number == len(parts):
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        for member, value in members.items():
            monkeypatch.setattr(sys.modules[name], member, value, raising=False)
    spec = importlib.util.spec_from_file_location("memberlevel_dags", DEPLOY / "airflow" / "memberlevel_dags.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield {"daily": module.daily, "retrain": module.retrain}


def rendered(text: str) -> str:
    """A template of Airflow with its defaults, on one day."""
    text = re.sub(r"\{\{ var\.value\.get\('\w+', '([^']*)'\) \}\}", r"\1", text)
    text = re.sub(r"\{\{ (data_interval_start\.in_timezone|dag_run\.conf)[^}]*\}\}", DAY, text)
    assert "{{" not in text, text
    return text


@pytest.mark.parametrize("what", ORDER)
def test_a_dag_submits_the_stages_one_after_the_other(dags: Mapping[str, Dag], what: str):
    dag = dags[what]
    assert dag.dag_id == f"memberlevel_{what}" and dag.given["max_active_runs"] == 1 and dag.given["catchup"] is False
    assert dag.given["schedule"] == (("15 4 * * *", "Europe/Berlin") if what == "daily" else None)
    assert [task.given["task_id"] for task in dag.tasks] == ORDER[what]
    assert [task.before for task in dag.tasks] == [None, *dag.tasks[:-1]]
    for task in dag.tasks:
        name, arguments = task.given["task_id"], [rendered(text) for text in task.given["application_args"]]
        assert rendered(task.given["application"]) == f"/opt/memberlevel/jobs/{name}.py"
        assert rendered(task.given["properties_file"]) == "/opt/memberlevel/conf/deploy/spark.properties"
        assert ("--as-of" in arguments) == (name in DATED[what])
        assert f"timeline.data_through={DAY}" in arguments
        require_taken(name, arguments)


def bundle() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "databricks.yml").read_text(encoding="utf-8")))


def with_defaults(text: str) -> str:
    """A text of the bundle with the defaults of its variables."""
    variables = bundle()["variables"]
    return re.sub(r"\$\{var\.(\w+)\}", lambda found: variables[found[1]]["default"], text)


@pytest.mark.parametrize("what", ORDER)
def test_a_job_of_the_bundle_runs_the_stages_one_after_the_other(what: str):
    job = bundle()["resources"]["jobs"][f"memberlevel_{what}"]
    day, *tasks = job["tasks"]
    assert [task["task_key"] for task in tasks] == ORDER[what] and job["max_concurrent_runs"] == 1
    assert ("schedule" in job) == (what == "daily")
    keys = [task["task_key"] for task in job["tasks"]]
    assert [task["depends_on"] for task in tasks] == [[{"task_key": key}] for key in keys[:-1]]
    clusters = {cluster["job_cluster_key"] for cluster in job["job_clusters"]}
    assert {task["job_cluster_key"] for task in job["tasks"]} == clusters
    assert (DEPLOY / day["notebook_task"]["notebook_path"]).is_file()
    for task in tasks:
        python = task["spark_python_task"]
        assert (DEPLOY / python["python_file"]).resolve() == ROOT / "jobs" / f"{task['task_key']}.py"
        arguments = [text.replace("{{tasks.day.values.day}}", DAY) for text in python["parameters"]]
        arguments = [with_defaults(text) for text in arguments]
        assert any(text.startswith("--as-of") for text in arguments) == (task["task_key"] in DATED[what])
        require_taken(task["task_key"], arguments)


def test_the_variables_of_the_bundle_are_declared_and_the_key_is_a_secret():
    text = (DEPLOY / "databricks.yml").read_text(encoding="utf-8")
    declared = bundle()["variables"]
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == set(declared)
    assert all(each["description"] for each in declared.values())
    cluster = bundle()["resources"]["jobs"]["memberlevel_daily"]["job_clusters"][0]["new_cluster"]
    key = cluster["spark_env_vars"]["MEMBERLEVEL__PSEUDONYMS__KEY"]
    assert re.fullmatch(r"\{\{secrets/[\w-]+/[\w-]+\}\}", key)
    assert [target for target, each in bundle()["targets"].items() if each.get("default")] == ["dev"]


def test_the_bundle_installs_what_setup_asks_for_and_the_runtime_does_not_bring():
    (listed,) = [
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RUNTIME"
    ]
    asked = {Requirement(text).name.lower(): text for text in ast.literal_eval(listed)}
    task = bundle()["resources"]["jobs"]["memberlevel_daily"]["tasks"][1]
    installed = {
        Requirement(each["pypi"]["package"]).name.lower(): each["pypi"]["package"] for each in task["libraries"]
    }
    assert set(asked) == set(installed) | OF_THE_RUNTIME
    assert installed == {name: asked[name] for name in installed}


class TaskValues:
    """Stands for ``dbutils.jobs.taskValues``."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.told[key] = value


class Dbutils:
    """Stands for Databricks' ``dbutils``."""

    def __init__(self, **values: str) -> None:
        self.values, self.told = values, TaskValues()
        self.jobs = type("Jobs", (), {"taskValues": self.told})()
        self.widgets = type(
            "Widgets",
            (),
            {"text": lambda _, name, default: values.setdefault(name, default), "get": lambda _, name: values[name]},
        )()


def test_the_day_of_the_bundle_is_yesterday_in_the_zone_or_the_given_one():
    notebook = str(DEPLOY / "databricks" / "day.py")
    zone = "Pacific/Kiritimati"
    before, dbutils = datetime.now(ZoneInfo(zone)).date(), Dbutils(zone=zone)
    runpy.run_path(notebook, init_globals={"dbutils": dbutils})
    assert date.fromisoformat(dbutils.told.told["day"]) in {before - timedelta(days=1), before}
    again = Dbutils(zone=zone, day=DAY)
    runpy.run_path(notebook, init_globals={"dbutils": again})
    assert again.told.told == {"day": DAY}
    with pytest.raises(ValueError, match="isoformat"):
        runpy.run_path(notebook, init_globals={"dbutils": Dbutils(zone=zone, day="yesterday")})
    assert json.dumps(again.told.told)
