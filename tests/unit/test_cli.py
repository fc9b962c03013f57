"""Arguments, help, printed configuration and exit codes; no Spark is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from memberlevel_spark import cli
from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.pipeline import STAGES, TOOLS
from memberlevel_spark.run import RowCounts
from memberlevel_spark.spark_errors import explain

ROOT = Path(__file__).parents[2]
JOURNEY = str(ROOT / "conf" / "complete_journey.yaml")
JOBS = [*(stage.name for stage in (*STAGES, *TOOLS)), "pipeline", "doctor"]


@pytest.mark.parametrize("name", JOBS)
def test_every_job_explains_itself(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.run_job(name, ["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python -m jobs.{name}" in shown and "--config" in shown and "Exit codes" in shown


def test_help_starts_neither_spark_nor_torch():
    code = "import sys; from memberlevel_spark.cli import build_parser; build_parser('score').format_help();"
    code += " print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False" and "SparkContext" not in done.stderr


def test_the_doctor_is_asked_without_pyspark():
    """It may be what is missing."""
    code = "import sys; sys.modules['pyspark'] = None; from memberlevel_spark.cli import build_parser;"
    code += " print(build_parser('doctor').parse_args(['--config', 'x.yaml']).deep)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_a_job_file_is_runnable():
    done = subprocess.run(
        [sys.executable, "jobs/score.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "member_scores" in done.stdout


def test_the_merged_configuration_is_printed(capsys: pytest.CaptureFixture[str]):
    assert (
        cli.run_job("pipeline", ["--config", JOURNEY, "--set", "pseudonyms.key=0123456789abcdef", "--print-config"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "horizon_days: 28" in shown and "0123456789abcdef" not in shown


def test_pipeline_dates_replace_the_score_dates(capsys: pytest.CaptureFixture[str]):
    arguments = ["--config", JOURNEY, "--from", "2017-12-17", "--to", "2017-12-24", "--print-config"]
    assert cli.run_job("pipeline", arguments) == 0
    assert "score:\n  - '2017-12-17'\n  - '2017-12-24'\n" in capsys.readouterr().out


def test_where_to_train_can_be_said_on_the_command_line(capsys: pytest.CaptureFixture[str]):
    assert cli.run_job("train", ["--config", JOURNEY, "--how", "inline", "--print-config"]) == 0
    assert "how: inline" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["0", "soon"])
def test_seconds_between_batches_are_a_positive_number(seconds: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.run_job("bronze", ["--config", JOURNEY, "--continuous", seconds])
    assert ended.value.code == 2 and "--continuous" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_is_a_number_that_can_be_listened_on(port: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.run_job("serve", ["--config", JOURNEY, "--port", port])
    assert ended.value.code == 2 and "--port" in capsys.readouterr().err


def test_a_configuration_error_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]):
    assert cli.run_job("score", ["--config", JOURNEY, "--set", "seeds=1"]) == 2
    error = capsys.readouterr().err
    assert "seeds: unknown key. Did you mean seed?" in error and "Traceback" not in error


def test_the_command_lists_the_jobs_when_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["memberlevel", "nonsense"])
    assert cli.main() == 2
    assert "member_days" in capsys.readouterr().err
    for name in ("score", "score-one"):
        member = [] if name == "score" else ["1036"]
        monkeypatch.setattr(sys, "argv", ["memberlevel", name, "--config", JOURNEY, "--print-config", *member])
        assert cli.main() == 0


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (RuntimeError("boom\nat org.apache.spark.Some.java"), 1, "RuntimeError: boom"),
        (RuntimeError("[CAST_INVALID_INPUT] The value 'x' of ..."), 3, "Use try_cast"),
        (RuntimeError("[FAILED_READ_FILE.FILE_NOT_EXIST] ..."), 4, "missing or damaged"),
        (RuntimeError("[DELTA_NOT_NULL_CONSTRAINT_VIOLATED] ..."), 3, "a required column would hold a null"),
        (RuntimeError("[DELTA_CONCURRENT_APPEND.WITH_OPERATION] ..."), 4, "another job wrote to the same table"),
        (RuntimeError("[DELTA_UNSUPPORTED_FEATURES_FOR_READ] ..."), 4, "a table was written by a newer Delta"),
        (
            RuntimeError("org.apache ... Python worker exited unexpectedly (crashed)"),
            4,
            "ended in the middle of its work",
        ),
        (RuntimeError("Traceback ...\nmemberlevel_spark.errors.DataQualityError: a row: 7.\n"), 3, "error: a row: 7."),
        (OSError(28, "No space left on device"), 2, "the disk is full. Free some space"),
        (
            RuntimeError(
                "[TASK_WRITE_FAILED] org.apache ...\nCaused by: java.io.IOException: No space left on device\n"
            ),
            2,
            "the disk is full. Free some space",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_whatever_goes_wrong_the_user_sees_one_line_and_the_story_is_in_a_file(
    problem: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.run_job("score", ["--config", JOURNEY, "--set", f"output_dir={tmp_path}"]) == code
    error = capsys.readouterr().err
    assert words in error and "org.apache" not in error and len(error.strip().splitlines()) == 1
    if code not in (130,):
        assert "Traceback" in (tmp_path / "complete_journey" / "runs" / "error.log").read_text()


def test_an_unknown_failure_is_not_explained_away():
    assert explain(ValueError("something else")) is None


def test_lost_rows_stop_the_job():
    RowCounts(5, 2, quarantined=1, duplicates=1, filtered=1).require_balance("silver")
    with pytest.raises(DataQualityError, match="rows are not accounted for in silver: 5 in, 4 accounted"):
        RowCounts(5, 2, quarantined=1, duplicates=1).require_balance("silver")
