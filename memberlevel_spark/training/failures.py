"""What a rank leaves behind when it fails, and the one error made of it for the person who started the run.

Spark reports a failed rank as pages of Python and Java stack, and often the wrong rank: those that merely lost their
partner fail too. So each failing rank writes its error into the run folder, and the launcher finds the cause there.
"""

import json
import os
import re
from pathlib import Path

from memberlevel_spark import errors
from memberlevel_spark.errors import ArtefactError, MemberLevelError
from memberlevel_spark.training.job import TrainingJob

_FAILURE_FILE = "failure-rank-{rank}.json"
_MAX_LINE = 300
_ERROR_LINE = re.compile(r"^\s*(?:\[rank\d+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception): \S.*)$", re.MULTILINE)
# torchrun ends with a summary; for a process that was killed it is the only trace.
_SUMMARY = "ChildFailedError"
_KILLED = re.compile(r"rank\s*: (\d+) \(local_rank.*?(Signal \d+ \(\w+\))", re.DOTALL)


class RankLostError(ArtefactError):
    """A rank was killed or hung: nothing is wrong with the data, and a new start may succeed."""


def write_failure(run_dir: Path, rank: int, error: BaseException) -> None:
    """Leave a rank's error in the run folder."""
    own = isinstance(error, MemberLevelError)
    message = str(error) if own else f"{type(error).__name__}: {_first_line(str(error))}"
    failure = {"rank": rank, "error": type(error).__name__ if own else None, "message": message}
    run_dir.mkdir(parents=True, exist_ok=True)
    unfinished = run_dir / f".failure-rank-{rank}.{os.getpid()}"
    unfinished.write_text(json.dumps(failure), encoding="utf-8")
    unfinished.replace(run_dir / _FAILURE_FILE.format(rank=rank))


def clear_failures(run_dir: Path) -> None:
    """Remove what ranks of an earlier run left behind."""
    for path in run_dir.glob(_FAILURE_FILE.format(rank="*")):
        path.unlink()


def explain(job: TrainingJob, printed: str) -> MemberLevelError:
    """Make one short error of the ranks' failures and of what they printed.

    An error that a rank raised on purpose keeps its class and message. Otherwise the ranks that left nothing are named:
    they were killed or hung, and the others only noticed.
    """
    files = sorted(Path(job.run_dir).glob(_FAILURE_FILE.format(rank="*")))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    raised = [failure for failure in found if failure["error"]]
    if raised:
        return getattr(errors, raised[0]["error"])(raised[0]["message"])
    silent = sorted(set(range(job.world_size)) - {failure["rank"] for failure in found})
    if found and silent:
        return RankLostError(
            f"training failed: rank {', '.join(map(str, silent))} of {job.world_size} died or hung without an error; "
            f"rank {found[0]['rank']} noticed: {found[0]['message']}. "
            "Look for a kill for memory on its machine and start again."
        )
    message = found[0]["message"] if found else last_error_line(printed)
    kind = ArtefactError if found or not killed_rank(printed) else RankLostError
    return kind(f"training failed: {message}. Mend the cause and start again; the ranks' output is in the log.")


def last_error_line(printed: str) -> str:
    """Find the line that names the error in what the ranks printed, without the stacks around it."""
    before, _, summary = printed.partition(_SUMMARY)
    lines = _ERROR_LINE.findall(before)
    if lines:
        return lines[-1].rstrip(".")[:_MAX_LINE]
    return killed_rank(summary) or _first_line(printed)


def killed_rank(printed: str) -> str | None:
    """Find in torchrun's summary which rank a signal ended, if one did."""
    killed = _KILLED.search(printed)
    return f"rank {killed[1]} was killed: {killed[2]}" if killed else None


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:_MAX_LINE] if lines else "no message"
