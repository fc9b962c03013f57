"""Holds what a rank reads against the plan, so that a reader that loses or repeats rows stops the training.

In: the readings of an epoch, and the rows of every row group that arrives. Out: nothing, or an ArtefactError that names
rank, files and numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.feed.order import Reading


class EpochAudit:
    """The tally of one rank: each row group in its turn and whole, and a checksum of keys against the first epoch."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._first_checksum: int | None = None
        self.start(0, [])

    def start(self, epoch: int, readings: Sequence[Reading]) -> None:
        """Begin an epoch, or the rest of one."""
        self._epoch, self._readings, self._next = epoch, readings, 0
        self._rows = self._checksum = 0

    @property
    def next_row_group(self) -> str:
        """The row group whose turn it is."""
        if self._next == len(self._readings):
            return "the end of the epoch"
        group = self._readings[self._next].piece.group
        return f"row group {group.number} of {group.path}"

    def arrived(self, path: str, number: int, num_rows: int) -> Reading:
        """Take the next row group and say what it is for.

        Raises:
            ArtefactError: another row group than the one whose turn it is, or another number of rows than planned; at
                once, because a surplus or missing batch would leave the other ranks waiting.
        """
        if self._next == len(self._readings):
            self._refuse(f"{path}, row group {number}, came after the last one")
        reading = self._readings[self._next]
        planned = reading.piece.group
        if (path, number) != (planned.path, planned.number):
            self._refuse(f"{path}, row group {number}, came instead of {planned.path}, row group {planned.number}")
        if num_rows != planned.num_rows:
            self._refuse(f"{path}, row group {number}, has {num_rows} of {planned.num_rows} rows")
        self._next += 1
        return reading

    def used(self, row_key_R: NDArray[Any]) -> None:
        """Count rows that go into batches."""
        self._rows += len(row_key_R)
        # The sum wraps at 2**64, does not depend on the order, and changes when one key is exchanged for another.
        self._checksum = (self._checksum + int(row_key_R.view(np.uint64).sum(dtype=np.uint64))) % 2**64

    def ended(self) -> None:
        """Take it that nothing more comes.

        Raises:
            ArtefactError: row groups are missing.
        """
        missing = [reading.piece.group.path for reading in self._readings[self._next :]]
        if missing:
            self._refuse(f"{len(missing)} row groups never came, of {first_five(missing)}")

    def finish(self, *, every_row: bool) -> None:
        """Close the epoch.

        Args:
            every_row: the epoch gave all rows of the rank's lanes, so their keys must be those of the first such epoch.

        Raises:
            ArtefactError: row groups or rows are missing, or other keys came than in the first epoch.
        """
        self.ended()
        planned = sum(reading.take for reading in self._readings)
        if self._rows != planned:
            self._refuse(f"{self._rows} of {planned} rows went into batches")
        if not every_row:
            return
        if self._first_checksum is None:
            self._first_checksum = self._checksum
        if self._checksum != self._first_checksum:
            raise ArtefactError(
                f"rank {self._rank} read other rows in epoch {self._epoch} than in its first one: key checksum "
                f"{self._checksum}, not {self._first_checksum}; {self._rows} rows. "
                "Check that no file was changed in place."
            )

    def _refuse(self, problem: str) -> None:
        raise ArtefactError(
            f"rank {self._rank} did not read the planned rows in epoch {self._epoch}: {problem}. "
            "Do not use this run; check that the files of the pinned version are intact, and train again."
        )
