"""Counts the rows of each epoch against the plan, so that a reader that loses or repeats rows stops the training.

In: the row keys of every row group read. Out: nothing, or an ArtefactError that names rank, files and numbers.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.feed.plan import FileRows


class EpochAudit:
    """The tally of one rank: rows per file against the footers, and a checksum of keys against the first full epoch."""

    def __init__(self, rank: int, files: Sequence[FileRows]) -> None:
        self._rank = rank
        self._planned = {file.path: file.num_rows for file in files}
        self._first_checksum: int | None = None
        self.start(0)

    def start(self, epoch: int) -> None:
        """Begin to count an epoch."""
        self._epoch = epoch
        self._rows: Counter[str] = Counter()
        self._checksum = 0

    def add(self, path: str, row_key_R: NDArray[Any]) -> None:
        """Count one row group.

        Raises:
            ArtefactError: more rows than planned; at once, because a surplus batch would leave the other ranks waiting.
        """
        self._rows[path] += len(row_key_R)
        # The sum wraps at 2**64, does not depend on the order, and changes when one key is exchanged for another.
        self._checksum = (self._checksum + int(row_key_R.view(np.uint64).sum(dtype=np.uint64))) % 2**64
        if self._rows[path] > self._planned.get(path, 0):
            self._refuse([path])

    def finish(self) -> None:
        """Close the epoch.

        Raises:
            ArtefactError: fewer rows than planned, or other keys than in the first epoch.
        """
        short = [path for path, planned in self._planned.items() if self._rows[path] != planned]
        if short:
            self._refuse(short)
        if self._first_checksum is None:
            self._first_checksum = self._checksum
        if self._checksum != self._first_checksum:
            raise ArtefactError(
                f"rank {self._rank} read other rows in epoch {self._epoch} than in its first one: key checksum "
                f"{self._checksum}, not {self._first_checksum}; {len(self._planned)} files, "
                f"{sum(self._planned.values())} rows. Check that no file was changed in place."
            )

    def _refuse(self, paths: list[str]) -> None:
        numbers = [f"{path} ({self._rows[path]} of {self._planned.get(path, 0)})" for path in paths]
        raise ArtefactError(
            f"rank {self._rank} did not read the planned rows in epoch {self._epoch}: {first_five(numbers)}. "
            "Do not use this run; check that the files of the pinned version are intact, and train again."
        )
