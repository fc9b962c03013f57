"""Who reads what: pure integer arithmetic over the row counts of one table version's files.

In: (path, rows) of every live file, from the Parquet footers. Out: each rank's files, and how many steps all ranks
make. Every row belongs to exactly one rank and is read once per epoch; every rank makes the same number of steps, so a
collective operation never waits for a rank that has run out of rows. A rank short of rows pads its batch with rows of
weight 0. Nothing depends on file names beyond their order, so a table written again plans the same.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError, ConfigError, first_five


@dataclass(frozen=True)
class FileRows:
    """A Parquet file (absolute local path) and the number of rows its footer declares."""

    path: str
    num_rows: int


@dataclass(frozen=True)
class FeedPlan:
    """What each rank reads in an epoch. ``batch_rows`` is the global batch; each rank takes an equal part of it."""

    rank_files: tuple[tuple[FileRows, ...], ...]
    batch_rows: int

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return len(self.rank_files)

    @property
    def local_batch_rows(self) -> int:
        """Rows of one rank's batch, padding included."""
        return self.batch_rows // self.world_size

    @cached_property
    def rank_rows(self) -> tuple[int, ...]:
        """Rows each rank reads in an epoch."""
        return tuple(sum(file.num_rows for file in files) for files in self.rank_files)

    @property
    def num_rows(self) -> int:
        """Rows all ranks read in an epoch."""
        return sum(self.rank_rows)

    @property
    def steps_per_epoch(self) -> int:
        """Steps every rank makes in an epoch: what the rank with the most rows needs."""
        return math.ceil(max(self.rank_rows) / self.local_batch_rows)

    @property
    def padded_rows(self) -> int:
        """Rows of weight 0 that all ranks add in an epoch."""
        return self.steps_per_epoch * self.batch_rows - self.num_rows

    @cached_property
    def positions(self) -> dict[str, int]:
        """Number of each file when all files are sorted by path: a name for it that outlives a rewrite of the table."""
        paths = sorted(file.path for files in self.rank_files for file in files)
        return {path: position for position, path in enumerate(paths)}

    def rows_at_step(self, rank: int, step: int) -> int:
        """Rows with weight 1 in this rank's batch at ``step`` of an epoch, counted from 0."""
        left = self.rank_rows[rank] - step * self.local_batch_rows
        return max(0, min(self.local_batch_rows, left))

    def global_rows_at_step(self, step: int) -> int:
        """Rows with weight 1 in the global batch at ``step`` of an epoch."""
        return sum(self.rows_at_step(rank, step) for rank in range(self.world_size))


def local_path(path_or_uri: str) -> str:
    """Turn ``file:`` URIs, as Spark lists them, into local paths; leave absolute paths as they are.

    Raises:
        ConfigError: another scheme, or a relative path.
    """
    path = unquote(urlsplit(path_or_uri).path) if path_or_uri.startswith("file:") else path_or_uri
    if not path.startswith("/"):
        raise ConfigError(
            f"not a local file: {path_or_uri}. Give absolute paths or file: URIs; mount the store as a folder."
        )
    return path


def read_file_rows(paths: Sequence[str]) -> tuple[FileRows, ...]:
    """Read the row count of every file from its footer; the result is sorted by path.

    Raises:
        ArtefactError: a file is missing or is not Parquet.
        ConfigError: a path is not local.
    """
    found, broken = [], []
    for path in sorted(local_path(path) for path in paths):
        try:
            found.append(FileRows(path, pq.read_metadata(path).num_rows))
        except (OSError, pa.ArrowException) as error:
            broken.append(f"{path} ({str(error).splitlines()[0]})")
    if broken:
        raise ArtefactError(
            f"examples files cannot be read: {first_five(broken)}. List the live files of a version that still exists."
        )
    return tuple(found)


def plan_feed(files: Sequence[FileRows], *, world_size: int, batch_rows: int) -> FeedPlan:
    """Give every file to one rank so that the ranks' rows are balanced: longest file first, to the rank with fewest.

    Args:
        files: the files of one split; empty files are left out.
        world_size: number of ranks.
        batch_rows: rows of the global batch, a multiple of ``world_size``.

    Raises:
        ConfigError: the batch cannot be divided, or there are fewer rows or files than ranks.
        ArtefactError: no rows at all, or a file is listed twice.
    """
    _check_batch(world_size, batch_rows)
    filled = sorted((file for file in files if file.num_rows > 0), key=lambda file: file.path)
    _check_files(files, filled, world_size)
    shares: list[list[FileRows]] = [[] for _ in range(world_size)]
    rows = [0] * world_size
    for file in sorted(filled, key=lambda file: -file.num_rows):
        rank = rows.index(min(rows))
        shares[rank].append(file)
        rows[rank] += file.num_rows
    return FeedPlan(tuple(tuple(sorted(share, key=lambda file: file.path)) for share in shares), batch_rows)


def _check_batch(world_size: int, batch_rows: int) -> None:
    if world_size < 1 or batch_rows < 1 or batch_rows % world_size:
        nearest = max(1, round(batch_rows / max(1, world_size))) * max(1, world_size)
        raise ConfigError(
            f"a batch of {batch_rows} rows cannot be divided among {world_size} processes. "
            f"Set training.batch_rows to {nearest}, or change training.num_processes."
        )


def _check_files(files: Sequence[FileRows], filled: Sequence[FileRows], world_size: int) -> None:
    twice = [path for path, times in Counter(file.path for file in filled).items() if times > 1]
    if twice:
        raise ArtefactError(f"examples files listed twice: {first_five(twice)}. List each live file once.")
    rows = sum(file.num_rows for file in filled)
    if rows == 0:
        raise ArtefactError(f"no examples to read: {len(files)} files, 0 rows. Build the examples of this split first.")
    if rows < world_size:
        raise ConfigError(f"fewer rows than processes: {rows} rows, {world_size} processes. Use {rows} or fewer.")
    if len(filled) < world_size:
        raise ConfigError(
            f"more processes than files with rows: {world_size} processes, "
            f"{len(filled)} of {len(files)} files have rows. "
            f"Set training.num_processes to {len(filled)}, or examples.files_per_split to {world_size} and rebuild."
        )


def epoch_order(rank_files: Sequence[FileRows], seed: int, epoch: int) -> tuple[FileRows, ...]:
    """Permute a rank's files for one epoch; the same seed and epoch give the same order on every machine."""
    order = np.random.default_rng([seed, epoch]).permutation(len(rank_files))
    return tuple(rank_files[index] for index in order)
