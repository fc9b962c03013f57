"""``python -m tests.year.killed JOB WRITES ARGUMENTS...``: a job whose process is killed after so many writes."""

import os
import signal
import sys
from typing import Any

from memberlevel_spark import tables
from memberlevel_spark.cli import run_job

honest, left = tables.DeltaTables._save, [int(sys.argv[2])]


def save_and_die(self: tables.DeltaTables, *given: Any, **named: Any) -> None:
    """The write as it is; the last one that is left is followed by the end."""
    honest(self, *given, **named)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tables.DeltaTables._save = save_and_die  # type: ignore[method-assign]
    sys.exit(run_job(sys.argv[1], sys.argv[3:]))
