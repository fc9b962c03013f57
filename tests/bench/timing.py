"""Seconds of the best of several runs."""

import time
from collections.abc import Callable


def best_seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of ``repeats`` runs: the one the machine disturbed least."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
