"""One member now, on the small shop: the same forecasts as the ledger's, by the command, in memory and over HTTP."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.config import load_config
from memberlevel_spark.ingest.identifiers import pseudonym_of
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, write_alias
from memberlevel_spark.registry.champion import CHAMPION, load_champion, registry_dir
from memberlevel_spark.run import Shop
from memberlevel_spark.serving import stage
from memberlevel_spark.serving.member_rows import READ
from memberlevel_spark.serving.member_tables import HeldTables, latest_scored, scan
from memberlevel_spark.serving.scorer import Scorer
from memberlevel_spark.serving.server import application
from memberlevel_spark.serving.service import Service
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RAW_MEMBER = "cx011"
DATES = (date(2024, 9, 28), date(2024, 10, 26))
Row = dict[str, Any]


@pytest.fixture(scope="module")
def served(shop: Path, small_shop: Path) -> Shop:
    """The small shop after a full run, as the service sees it."""
    settings = [f"output_dir={shop.parent}", "serving.refresh_seconds=0.000001"]
    return Shop(load_config(small_shop, settings, {}))


@pytest.fixture(scope="module")
def client(served: Shop) -> Iterator[TestClient]:
    with TestClient(application(Service(served), max_body_bytes=served.config.serving.max_body_bytes)) as client:
        yield client


def arguments(shop: Path, small_shop: Path) -> list[str]:
    return ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]


def table(spark: SparkSession, shop: Path, name: str) -> list[Row]:
    return [
        row.asDict(recursive=True) for row in spark.read.format("delta").load(str(shop / "tables" / name)).collect()
    ]


def by_key(rows: list[Row]) -> dict[tuple[str, date], Row]:
    return {(row.pop("member_id"), row["as_of_date"]): row for row in rows}


def test_every_member_has_the_ledgers_forecast_on_every_scored_date_to_the_bit(
    spark: SparkSession, shop: Path, served: Shop
):
    ledger = by_key(table(spark, shop, "member_scores"))
    assert all(row.pop("features_hash") is not None for row in ledger.values())
    scorer, held = Scorer.of(served, load_champion(served)), HeldTables(served)
    found = {}
    for member, day in ledger:
        rows = held.find(member)
        assert rows is not None
        found[member, day] = scorer.forecast(scorer.encode(rows, day))
    assert len(found) == len(DATES) * NUM_MEMBERS and {day for _, day in found} == set(DATES)
    assert found == ledger


def test_reasons_and_advice_are_those_of_the_tables_to_the_bit(spark: SparkSession, shop: Path, served: Shop):
    reasons = by_key(table(spark, shop, "member_reasons"))
    advice: dict[tuple[str, date], list[Row]] = {}
    for row in table(spark, shop, "member_advice"):
        advice.setdefault((row.pop("member_id"), row.pop("as_of_date")), []).append(row)
    scorer = Scorer.of(served, load_champion(served))
    for member, day in sorted(reasons)[:: len(reasons) // 10]:
        rows = scan(served, member)
        assert rows is not None
        encoded = scorer.encode(rows, day)
        expected = {
            name: value for name, value in reasons[member, day].items() if name not in ("as_of_date", "model_version")
        }
        assert scorer.reasons(encoded) == expected
        told = [{**row, "model_version": scorer.bundle.version} for row in scorer.advice(encoded)]
        assert sorted(told, key=str) == sorted(
            ({name: row[name] for name in told[0]} for row in advice[member, day]), key=str
        )


def test_the_command_prints_the_forecast_and_starts_no_jvm(
    shop: Path, small_shop: Path, served: Shop, capsys: pytest.CaptureFixture[str]
):
    given = arguments(shop, small_shop)
    assert run_job("explain", [*given, RAW_MEMBER]) == 0
    explained = capsys.readouterr().out
    code = (
        "import sys; from memberlevel_spark.cli import main; code = main(); from pyspark import SparkContext;"
        " assert SparkContext._gateway is None; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "score-one", *given, RAW_MEMBER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert explained.startswith(done.stdout.strip()) and "expected; 8 of 10 such members" in done.stdout
    assert RAW_MEMBER not in done.stdout + done.stderr
    pseudonym = pseudonym_of(served.config.pseudonyms, RAW_MEMBER)
    assert run_job("score_one", [*given, pseudonym, "--as-of", "2024-09-28"]) == 0
    assert "as of 28 Sep 2024" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["nobody"], 4, "the tables know no such member: the given id"),
        ([RAW_MEMBER, "--as-of", "2024-10-27"], 3, "the as-of date is after the end of the data: 2024-10-27"),
        ([RAW_MEMBER, "--as-of", "2023-12-31"], 3, "the member was not known, or held no level, on the as-of date"),
        ([RAW_MEMBER, "--set", "levels.window_days=90"], 4, "the champion was trained for another level programme"),
        ([RAW_MEMBER, "--set", "pseudonyms.key=short"], 2, "the pseudonym key is too short: 5 bytes"),
    ],
)
def test_a_question_that_cannot_be_answered_ends_with_one_line_and_its_exit_code(
    shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
):
    assert run_job("score_one", [*arguments(shop, small_shop), *options]) == code
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and RAW_MEMBER not in error


def test_a_dry_run_shows_the_versions_of_the_tables(shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_job("score_one", [*arguments(shop, small_shop), "--dry-run", "--as-of", "2024-09-28", RAW_MEMBER]) == 0
    shown = capsys.readouterr().out
    assert "members@v" in shown and "member_days@v" in shown and "writes  " in shown


def test_a_member_is_answered_over_http_by_id_and_by_rows(
    spark: SparkSession, shop: Path, served: Shop, client: TestClient
):
    member = pseudonym_of(served.config.pseudonyms, RAW_MEMBER)
    expected = by_key(table(spark, shop, "member_scores"))[member, DATES[-1]]
    del expected["features_hash"]
    answer = client.post("/score", json={"member_id": RAW_MEMBER}).json()
    assert answer.pop("level_names") == ["base", "silver", "gold"]
    assert answer == {**expected, "as_of_date": "2024-10-26"}
    rows = scan(served, member)
    assert rows is not None
    given = {field: [_told(row) for row in getattr(rows, field).to_pylist(maps_as_pydicts="strict")] for field in READ}
    profiles = [{name: value for name, value in row.items() if name != "declared"} for row in given.pop("profiles")]
    body = {"member": {"known_from": "2024-01-01", "profiles": profiles, **given}, "as_of": "2024-10-26"}
    again = client.post("/score", json=body)
    assert again.status_code == 200, again.text
    assert {name: value for name, value in again.json().items() if name != "level_names"} == answer
    told = client.post("/explain", json={"member_id": member}).json()
    assert {name: told[name] for name in answer} == answer and told["reasons"]["reasons_buy"] and told["advice"]


def _told(row: Row) -> Row:
    return json.loads(json.dumps(row, default=str))


def test_an_unknown_member_no_champion_and_health_over_http(served: Shop, client: TestClient):
    assert client.post("/score", json={"member_id": "nobody"}).status_code == 404
    health = client.get("/health")
    version = read_alias(registry_dir(served), CHAMPION)
    assert health.status_code == 200 and health.json()["model_version"] == version
    assert set(health.json()["tables"]) == {"members", "member_days", "member_levels", "member_day_breakdowns"}
    pointer = registry_dir(served) / f"{CHAMPION}.json"
    before = pointer.read_text()
    try:
        pointer.unlink()
        fresh = application(Service(served), max_body_bytes=10_000)
        with TestClient(fresh) as nobody:
            answer = nobody.post("/score", json={"member_id": RAW_MEMBER})
            assert answer.status_code == 503 and "there is no champion to score with" in answer.json()["error"]
            assert nobody.get("/health").status_code == 503
    finally:
        pointer.write_text(before)


def test_another_champion_answers_from_the_next_look_on(served: Shop, client: TestClient):
    registry = registry_dir(served)
    before = (registry / f"{CHAMPION}.json").read_text()
    version = json.loads(before)["model_version"]
    files = load_bundle(registry, version).files
    other = publish(registry, {**files, "model.json": files["model.json"] + b" "})
    try:
        write_alias(registry, CHAMPION, other, {})
        assert client.post("/score", json={"member_id": RAW_MEMBER}).json()["model_version"] == other
        assert f'memberlevel_model{{model_version="{other}"}} 1.0' in client.get("/metrics").text
    finally:
        (registry / f"{CHAMPION}.json").write_text(before)
    assert client.post("/score", json={"member_id": RAW_MEMBER}).json()["model_version"] == version


def test_the_date_scored_last_is_that_of_the_ledger(served: Shop):
    assert latest_scored(served) == DATES[-1]


def test_the_service_listens_answers_and_ends_when_it_is_told_to(shop: Path, small_shop: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jobs.serve", *arguments(shop, small_shop), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        health = _get(f"http://127.0.0.1:{port}/health", server)
        assert health["status"] == "ok" and health["model_version"].startswith("m")
        body = json.dumps({"member_id": RAW_MEMBER}).encode()
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/score", data=body, headers=headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert json.load(answer)["model_version"] == health["model_version"]
    finally:
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=60)
    assert server.returncode == 0 and "POST /score 200" in log and "interrupted" in log
    assert RAW_MEMBER not in log and "Traceback" not in log


def _get(url: str, server: subprocess.Popen[str]) -> Row:
    """The answer as soon as the service listens."""
    for _ in range(600):
        assert server.poll() is None, server.communicate()[1]
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return dict(json.load(answer))
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the service never listened")


def test_an_address_that_is_taken_is_said(shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_job("serve", [*arguments(shop, small_shop), "--port", str(port)]) == 2
    assert f"the address cannot be listened on: 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_missing_extra_is_said_with_the_command_that_installs_it(
    shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "EXTRA", ("fastapi", "no_such_package"))
    assert run_job("serve", arguments(shop, small_shop)) == 2
    error = capsys.readouterr().err
    assert "serving needs what is not installed: no_such_package. Run pip install memberlevel_spark[serving]." in error


def test_the_core_imports_no_web_package():
    code = "import sys, memberlevel_spark.serving.stage, memberlevel_spark.serving.service;"
    code += " print(sorted({'fastapi', 'uvicorn', 'starlette', 'prometheus_client', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_log_names_nobody(client: TestClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="memberlevel_spark")
    client.post("/score", json={"member_id": RAW_MEMBER})
    client.post("/score", json={"member_id": "nobody"})
    own = [record.getMessage() for record in caplog.records if record.name == "memberlevel_spark"]
    assert [line.split(" ms")[0].rsplit(" ", 1)[0] for line in own][-2:] == ["POST /score 200", "POST /score 404"]
    assert not any(RAW_MEMBER in line or "nobody" in line for line in own)
