"""Peak memory of a process and all it starts: proportional set size, so that shared pages count once."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EVERY_SECONDS = 1.0


@dataclass
class Peak:
    """The largest total seen so far, in bytes."""

    bytes: int = 0

    @property
    def gb(self) -> float:
        """In 10^9 bytes."""
        return self.bytes / 1e9


@contextmanager
def peak_memory(root_pid: int) -> Iterator[Peak]:
    """Sample the tree below ``root_pid``, itself included, once a second while the block runs."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_SECONDS):
            peak.bytes = max(peak.bytes, sum(map(_pss, _tree(root_pid))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _tree(root_pid: int) -> list[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The parent is the second field after the command's name, which may hold spaces and brackets.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        children[parent].append(int(folder.name))
    tree = [root_pid]
    for pid in tree:
        tree += children[pid]
    return tree


def _pss(pid: int) -> int:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
