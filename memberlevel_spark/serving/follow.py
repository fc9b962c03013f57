"""Something made from files, made again when they change: one of those who ask for it looks, every few seconds."""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from memberlevel_spark.errors import MemberLevelError

Made = TypeVar("Made")
log = logging.getLogger("memberlevel_spark")


class Followed(Generic[Made]):
    """The newest of what ``make`` makes, for any number of threads.

    Args:
        what: its name in the log.
        look: a cheap look at the files; another answer means that they changed.
        make: makes it from the files as they are now.
        every_seconds: how long one look counts.
        clock: seconds, for tests.

    While it is made again the others get what there was; when that fails they go on getting it, and ``problem`` says
    why.
    """

    def __init__(
        self,
        what: str,
        look: Callable[[], Hashable],
        make: Callable[[], Made],
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem: MemberLevelError | None = None
        self._what, self._look, self._make, self._every, self._clock = what, look, make, every_seconds, clock
        self._lock = threading.Lock()
        self._next_look = -float("inf")
        self._seen: Hashable = None
        self._made: Made | None = None

    def current(self) -> Made:
        """The newest. Errors: what ``look`` or ``make`` raises, as long as nothing was ever made."""
        if self._clock() >= self._next_look and self._lock.acquire(blocking=self._made is None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        if self._made is None:
            assert self.problem is not None, "something was made, or there was a problem"
            raise self.problem
        return self._made

    def _refresh(self) -> None:
        if self._clock() < self._next_look:
            return  # somebody else has just looked
        try:
            seen = self._look()
            if self._made is None or seen != self._seen:
                self._made, self._seen = self._make(), seen
                log.info("%s loaded", self._what)
            self.problem = None
        except MemberLevelError as problem:
            self.problem = problem
            log.warning("%s cannot be loaded: %s", self._what, problem)
        finally:
            self._next_look = self._clock() + self._every
