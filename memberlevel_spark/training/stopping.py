"""SIGTERM, as a scheduler or a cluster sends it before it takes a machine away: save, then end with exit code 143."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1  # of prctl(2)
EXIT_CODE = 128 + signal.SIGTERM  # as a shell reports it


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, signal_number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """Note it; the training loop looks after each step."""
        self.asked = True


@contextmanager
def noted_sigterm() -> Iterator[Stop]:
    """Note SIGTERM instead of dying of it, where this is the main thread; afterwards the old handler is back."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent() -> None:
    """Have this process told to end when the one that started it dies; on Linux, elsewhere it goes on.

    Otherwise the ranks of a driver that was killed would train on beside those of the next one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit with code 143, so that what was opened is closed and processes are ended."""

    def leave(signal_number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_CODE)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
