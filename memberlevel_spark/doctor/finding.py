"""What one check found, and how it is told.

In: a check. Out: one line: its state, what was looked at, and the repair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from memberlevel_spark.errors import MemberLevelError

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """``ok``; ``warning``: it works, and somebody should look; ``broken``: a job will fail until it is repaired."""

    state: State
    what: str
    repair: str = ""

    @property
    def line(self) -> str:
        """The finding in one line."""
        words = f"{self.what}. {self.repair}" if self.repair else self.what
        return f"{self.state:<8} {' '.join(words.split())}"


def ok(what: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", what)


def warning(what: str, repair: str) -> Finding:
    """It works, and somebody should look."""
    return Finding("warning", what, repair)


def broken(what: str, repair: str) -> Finding:
    """A job will fail until it is repaired."""
    return Finding("broken", what, repair)


def guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """The finding of a check; a check that fails itself has found something broken."""
    try:
        return check()
    except MemberLevelError as problem:
        what, _, repair = str(problem).partition(". ")
        return broken(f"{name}: {what}", repair)
    except Exception as problem:
        # Whatever is wrong here must not hide what the checks after it find.
        first = (str(problem).strip().splitlines() or ["no message"])[0]
        return broken(f"{name}: it cannot be examined ({type(problem).__name__}: {first})", "Mend that and look again.")
