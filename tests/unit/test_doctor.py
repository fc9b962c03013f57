"""What the doctor says of machines and of Delta logs made by hand; no Spark."""

import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memberlevel_spark import cli
from memberlevel_spark.config import Config, load_config
from memberlevel_spark.delta_log import LOG
from memberlevel_spark.doctor import examine as examination
from memberlevel_spark.doctor import machine
from memberlevel_spark.doctor.finding import Finding, broken, guarded, ok, warning
from memberlevel_spark.doctor.machine import machine_findings
from memberlevel_spark.doctor.table_checks import stage_of, table_findings
from tests.written_log import added, commit

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"
SECRET = "a secret of more than 32 bytes, never told"


def shop_table(shop_dir: Path, name: str, features: Sequence[str] = ()) -> Path:
    """A table of one file, and the record of a stage that wrote it."""
    table = shop_dir / "tables" / name
    table.mkdir(parents=True)
    pq.write_table(pa.table({"n": list(range(5000))}), table / "part-0.parquet", compression="zstd")
    protocol = {"protocol": {"minReaderVersion": 3, "readerFeatures": list(features), "writerFeatures": ["invariants"]}}
    commit(table, 0, protocol, added("part-0.parquet", (table / "part-0.parquet").stat().st_size))
    records = shop_dir / "runs" / "stages"
    records.mkdir(parents=True, exist_ok=True)
    (records / "levels.json").write_text(json.dumps({"stage": "levels", "written": {name: 0}}))
    return table


def told(shop_dir: Path, *, deep: bool = False) -> list[str]:
    return [finding.line for finding in table_findings(shop_dir, deep=deep)]


def test_a_table_that_is_whole_is_ok_and_stages_that_have_not_run_are_named(tmp_path: Path):
    shop_table(tmp_path, "member_levels")
    (tmp_path / "tables" / "bronze__staged").mkdir()
    table, stages = told(tmp_path, deep=True)
    assert table == "ok       table member_levels: version 0, 1 live file(s)"
    assert stages.startswith("warning  stages that have not run here: bronze, silver, member_days, features, labels")
    assert told(tmp_path / "nowhere")[0].startswith("warning  stages that have not run here: bronze")


def test_a_file_that_is_missing_short_or_damaged_inside_is_named_with_the_repair(tmp_path: Path):
    file = shop_table(tmp_path, "member_levels") / "part-0.parquet"
    content = file.read_bytes()
    repair = f"Restore {file.parent} from a copy, or remove it and run the stage levels for all dates."
    file.write_bytes(content[:-1])
    short = f"part-0.parquet ({len(content) - 1:,} bytes instead of {len(content):,})"
    start = "broken   table member_levels: version 0, 1 live file(s), 1 of them damaged: "
    assert told(tmp_path)[0] == f"{start}{short}. {repair}"
    file.write_bytes(content[:-4] + b"\0\0\0\0")
    assert told(tmp_path)[0].startswith(f"{start}part-0.parquet (Parquet magic bytes not found")
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    assert told(tmp_path)[0].startswith("ok") and told(tmp_path, deep=True)[0].startswith(f"{start}part-0.parquet (")
    file.unlink()
    assert told(tmp_path)[0] == f"{start}part-0.parquet (missing). {repair}"


def test_a_table_that_was_written_and_is_gone_and_a_folder_that_is_none_are_named(tmp_path: Path):
    table = shop_table(tmp_path, "member_levels")
    table.rename(table.with_name("elsewhere"))
    (table.with_name("elsewhere") / LOG).rename(tmp_path / "log")
    first, second, _ = told(tmp_path)
    assert first.startswith("warning  table elsewhere: a folder without a Delta log. Remove it")
    assert second.startswith("broken   table member_levels: it was written and is gone. Restore")


def test_features_that_a_reader_here_does_not_know_are_named(tmp_path: Path):
    shop_table(tmp_path, "examples", ["deletionVectors"])
    shop_table(tmp_path, "member_levels", ["deletionVectors"])
    shop_table(tmp_path, "events", ["timeTravelBackwards", "variantType-preview"])
    events, examples, levels, _ = told(tmp_path)
    assert "table events: version 0, 1 live file(s), feature(s) timeTravelBackwards need a newer Delta" in events
    assert "table examples: version 0, 1 live file(s), its files cannot be read as plain Parquet" in examples
    assert "deletionVectors. Run REORG TABLE" in examples and levels.startswith("ok")


def test_a_table_of_the_old_protocol_that_maps_columns_is_not_read_as_plain_parquet(tmp_path: Path):
    commit(tmp_path / "tables" / "examples", 0, {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}})
    assert "cannot be read as plain Parquet: columnMapping" in told(tmp_path)[0]


def test_each_table_is_made_again_by_its_stage():
    names = ("bronze_orders", "events", "member_scores", "migrations", "truth_levels")
    assert [stage_of(name) for name in names] == ["bronze", "silver", "score", "outcomes", "pipeline"]


def configured(tmp_path: Path, *options: str) -> Config:
    return load_config(JOURNEY, [f"output_dir={tmp_path}", *options], {})


def finding(config: Config, name: str) -> Finding:
    (found,) = [each for each in machine_findings(config) if each.what.startswith(name)]
    return found


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "state", "words"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "ok", "java 17.0.15"),
        ('openjdk version "21" 2023-09-19', "ok", "java 21"),
        ('java version "1.8.0_402"', "broken", "java 8.0_402: 17 or newer is needed"),
        ("what?", "broken", "does not tell its version"),
    ],
)
def test_java_is_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, state: str, words: str
):
    program(tmp_path / "home" / "bin" / "java", says)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    found = finding(configured(tmp_path), "java")
    assert (found.state, words in found.what) == (state, True)


def test_without_java_it_says_where_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = finding(configured(tmp_path), "java")
    assert found.line.startswith("broken   java: none found (not on the path). Install one")


@pytest.mark.parametrize(("version", "state"), [((3, 10, 4), "broken"), ((3, 11, 9), "ok"), ((3, 13, 1), "warning")])
def test_python_is_the_one_that_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str
):
    monkeypatch.setattr(sys, "version_info", version)
    assert finding(configured(tmp_path), "python").state == state


def test_packages_are_those_that_the_project_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "requires", lambda _: ["pytest>=8", "hypothesis", "nothing-like-it>=1; extra == 'x'"])
    assert finding(configured(tmp_path), "packages").state == "ok"
    monkeypatch.setattr(machine, "requires", lambda _: ["pytest==1.0", "nothing-like-it>=1"])
    found = finding(configured(tmp_path), "packages")
    installed = metadata.version("pytest")
    assert found.what == f"packages: pytest {installed} (needed ==1.0), nothing-like-it missing (needed >=1)"

    def not_installed(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(machine, "requires", not_installed)
    assert finding(configured(tmp_path), "packages").state == "warning"


def test_the_jars_of_delta_are_one_of_each_and_of_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jars, wanted = tmp_path / "spark" / "jars", metadata.version("delta-spark")
    jars.mkdir(parents=True)
    monkeypatch.setenv("SPARK_HOME", str(jars.parent))
    config = configured(tmp_path)
    assert "delta-spark_, delta-storage-*.jar missing" in finding(config, "delta jars").what
    for name in (f"delta-spark_4.2_2.13-{wanted}.jar", f"delta-storage-{wanted}.jar"):
        (jars / name).touch()
    assert finding(config, "delta jars").what == f"delta jars: {wanted}"
    (jars / "delta-storage-3.0.0.jar").touch()
    assert "several versions" in finding(config, "delta jars").what
    (jars / f"delta-storage-{wanted}.jar").unlink()
    assert f"delta-storage-3.0.0.jar beside the Python package {wanted}" in finding(config, "delta jars").what
    left = configured(tmp_path, "spark.conf.spark.jars.packages=io.delta:delta-spark_4.2_2.13:4.4.0")
    assert finding(left, "delta jars").state == "ok"


@pytest.mark.parametrize(
    ("options", "state", "words"),
    [
        (["pseudonyms.method='off'"], "ok", "none needed"),
        ([], "broken", "there is none (MEMBERLEVEL__PSEUDONYMS__KEY)"),
        ([f"pseudonyms.key={SECRET[:20]}"], "broken", "20 bytes, at least 32 are needed"),
        ([f"pseudonyms.key={SECRET}"], "ok", "present, named k1"),
        (["pseudonyms.key_file={folder}/key"], "ok", "present, named k1 ({folder}/key)"),
        (["pseudonyms.key_file={folder}/nowhere"], "broken", "there is none ({folder}/nowhere)"),
    ],
)
def test_the_key_is_looked_for_and_never_told(tmp_path: Path, options: list[str], state: str, words: str):
    (tmp_path / "key").write_text(SECRET + "\n")
    given = ["pseudonyms.method=hmac_sha256", *(option.format(folder=tmp_path) for option in options)]
    found = finding(configured(tmp_path, *given), "pseudonym key")
    assert (found.state, words.format(folder=tmp_path) in found.what) == (state, True)
    assert SECRET[:12] not in found.line


def test_the_shop_folder_must_take_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert finding(configured(tmp_path / "not" / "yet"), "shop folder").state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    found = finding(configured(tmp_path / "file"), "shop folder")
    assert found.state == "broken" and "cannot be written to (Not a directory)" in found.what
    monkeypatch.setattr(machine, "LEAST_FREE_GB", 1e9)
    assert finding(configured(tmp_path), "shop folder").state == "warning"


def test_a_check_that_fails_itself_is_broken_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail() -> Finding:
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setattr(machine, "_java", fail)
    found = machine_findings(configured(tmp_path))
    assert found[1].what == "java: it cannot be examined (PermissionError: [Errno 13] Permission denied: '/x')"
    assert len(found) == 6 and found[0].state == "ok"


def test_without_pyspark_the_machine_is_all_that_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examination, "find_spec", lambda _: None)
    assert len(examination.examine(configured(tmp_path))) == 6


def test_a_page_is_a_line_per_check_and_their_number():
    page = examination.page_of([ok("a"), warning("b", "Do\n this."), broken("c", "Do that."), ok("d")])
    assert page.splitlines() == [
        "ok       a",
        "warning  b. Do this.",
        "broken   c. Do that.",
        "ok       d",
        "2 ok, 1 warning(s), 1 broken",
    ]
    assert guarded("e", lambda: ok("e")).line == "ok       e"


def test_a_configuration_that_is_wrong_is_the_first_thing_that_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEMBERLEVEL__PSEUDONYMS__KEY", SECRET)
    assert cli.run_job("doctor", ["--config", str(JOURNEY), "--set", "seeds=1"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("broken   configuration: the configuration has 1 problem(s): - --set: seeds: unknown key.")
    assert "1 broken" in shown and SECRET not in shown


def test_the_help_of_the_doctor_says_what_is_looked_at(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.run_job("doctor", ["--help"])
    shown = capsys.readouterr().out
    assert "registry" in shown and "--deep" in shown and "--dry-run" not in shown and "1 something is" in shown
