"""What Spark ships to each rank: a callable that brings the way to this package along.

Spark's Python worker finds the package (driver's path, or a zip from `--py-files`), but the process that torchrun
starts for the rank inherits only its environment. Unpickling the entry in the worker writes the path into it. This
module imports no torch: the worker only passes the entry on.
"""

import os
from pathlib import Path
from typing import Any

import memberlevel_spark


class RankEntry:
    """Call it with a job's JSON to train as one rank."""

    def __call__(self, job_json: str) -> None:
        """Train; the rank's number is in torchrun's environment."""
        from memberlevel_spark.training.rank import run_rank

        run_rank(job_json)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpickled_entry, ()


def unpickled_entry() -> RankEntry:
    """Make an entry and let processes started from here find the package."""
    os.environ["PYTHONPATH"] = with_package_path(os.environ.get("PYTHONPATH", ""))
    return RankEntry()


def with_package_path(python_path: str) -> str:
    """Put the folder or zip that holds this package in front of a PYTHONPATH, once."""
    root = str(Path(memberlevel_spark.__file__).parent.parent)
    rest = [part for part in python_path.split(os.pathsep) if part and part != root]
    return os.pathsep.join([root, *rest])
