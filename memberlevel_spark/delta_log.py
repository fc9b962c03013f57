"""What the log of a Delta table says, read without Spark: where no JVM may or can start, and where asking one takes
longer than looking.

In: the folder of a table, on a disk or a mounted store. Out: the latest version, its live files and its features.

``tables.py`` owns Delta; this only reads what it wrote. Commits are ``<version>.json`` after the newest whole
checkpoint ``<version>.checkpoint[.<part>.<parts>].parquet``; of one path the last action counts. Source: Delta
Transaction Log Protocol, "Action Reconciliation", "Checkpoints"
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError, first_five

Action = Mapping[str, Any]
LOG = "_delta_log"
RESTORE = f"Restore its {LOG} from a copy, or remove the table and run its stage again"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")  # whole, or part p of n
_OTHER_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.[0-9a-f-]{36}\.(?:parquet|json)")
_KINDS = ("add", "remove", "protocol", "metaData")
# Old tables name no features: a reader of this version maps columns.
_MAPS_COLUMNS = 2
# Features that change nothing for who reads plain files as long as no file and no column makes use of them.
_HARMLESS = {"deletionVectors", "columnMapping", "timestampNtz", "vacuumProtocolCheck"}


@dataclass
class DeltaLog:
    """The state of a table: its latest version, the action that added each live file (by its path below the table),
    the last action about its protocol and about its columns."""

    version: int
    added: dict[str, Action] = field(default_factory=dict)
    protocol: Action = field(default_factory=dict)
    metadata: Action = field(default_factory=dict)

    @property
    def features(self) -> set[str]:
        """What a reader or writer has to know."""
        named = {*(self.protocol.get("readerFeatures") or ()), *(self.protocol.get("writerFeatures") or ())}
        return named | ({"columnMapping"} if self.protocol.get("minReaderVersion") == _MAPS_COLUMNS else set())


@dataclass(frozen=True)
class LiveFile:
    """One Parquet file: its path, the values of the partition columns as text, and the range of some columns."""

    path: str
    partition: Mapping[str, str | None]
    least: Mapping[str, Any]
    largest: Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The latest version of a table."""

    version: int
    files: tuple[LiveFile, ...]


def latest_version(table: Path) -> int | None:
    """The number of the last commit; None where there is no Delta table."""
    kinds = (_COMMIT, _CHECKPOINT, _OTHER_CHECKPOINT)
    found = [match for name in _names(table) for kind in kinds if (match := kind.fullmatch(name))]
    return max((int(match[1]) for match in found), default=None)


def read_log(table: Path) -> DeltaLog:
    """Replay the log of a table.

    Errors: ArtefactError when there is no table, commits are missing, or a commit or checkpoint cannot be read.
    """
    names = _names(table)
    commits = {int(found[1]): name for name in names if (found := _COMMIT.fullmatch(name))}
    checkpoint, parts = _newest_checkpoint(names)
    if not commits and not parts:
        raise ArtefactError(
            f"a table is missing: {table.name} ({table} has no commit). Run the stage that makes it first;"
            " `python -m jobs.pipeline --help` lists them."
        )
    if not parts and any(_OTHER_CHECKPOINT.fullmatch(name) for name in names) and 0 not in commits:
        raise ArtefactError(
            f"{table.name} has checkpoints of a kind that is not looked at. Ask Spark: DESCRIBE HISTORY."
        )
    log = DeltaLog(max([*commits, checkpoint]))
    since = range(checkpoint + 1, log.version + 1)
    if lacking := [version for version in since if version not in commits]:
        raise ArtefactError(f"{table.name} has gaps in its log: version(s) {first_five(lacking)} lack. {RESTORE}.")
    for name in parts:
        _apply(log, _checkpointed(table / LOG / name))
    for version in since:
        _apply(log, _committed(table / LOG / commits[version]))
    return log


def read_snapshot(table: Path) -> Snapshot:
    """The files of the latest version, for who reads them as plain Parquet.

    Errors: ArtefactError as for ``read_log``, and when the files are not all there is to the table.
    """
    log = read_log(table)
    needed = set(log.protocol.get("readerFeatures") or ()) - _HARMLESS
    if (log.metadata.get("configuration") or {}).get("delta.columnMapping.mode", "none") != "none":
        needed.add("columnMapping")
    if any(add.get("deletionVector") for add in log.added.values()):
        needed.add("deletionVectors")
    if needed:
        raise ArtefactError(
            f"a table cannot be read as plain Parquet: {table.name} uses {first_five(needed)}."
            " Run REORG TABLE ... APPLY (PURGE) and turn the feature off, or rebuild the table."
        )
    return Snapshot(log.version, tuple(_live_file(table / path, add) for path, add in sorted(log.added.items())))


def _names(table: Path) -> list[str]:
    folder = table / LOG
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _newest_checkpoint(names: list[str]) -> tuple[int, list[str]]:
    """The version and the files of the newest checkpoint that has all its parts; -1 without one."""
    found: dict[int, dict[tuple[int, int], str]] = {}
    for name in names:
        if match := _CHECKPOINT.fullmatch(name):
            part = (int(match[2] or 1), int(match[3] or 1))
            found.setdefault(int(match[1]), {})[part] = name
    for version in sorted(found, reverse=True):
        for num_parts in {parts for _, parts in found[version]}:
            wanted = [(part, num_parts) for part in range(1, num_parts + 1)]
            if all(part in found[version] for part in wanted):
                return version, [found[version][part] for part in wanted]
    return -1, []


def _checkpointed(path: Path) -> Iterator[Action]:
    try:
        # Not read_table, which passes over everything in folders whose names begin with "_".
        with pq.ParquetFile(path) as opened:
            rows = opened.read(columns=[name for name in _KINDS if name in opened.schema_arrow.names])
    except (OSError, pa.ArrowException) as problem:
        raise ArtefactError(f"a checkpoint cannot be read: {path} ({_reason(problem)}). {RESTORE}.") from None
    for batch in rows.to_batches():
        yield from batch.to_pylist(maps_as_pydicts="strict")


def _committed(path: Path) -> list[Action]:
    """The actions of a commit, removals first: a file that is added anew in the same commit stays."""
    try:
        actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as problem:
        raise ArtefactError(f"a commit cannot be read: {path} ({_reason(problem)}). {RESTORE}.") from None
    return sorted(actions, key=lambda action: "remove" not in action)


def _apply(log: DeltaLog, actions: Iterator[Action] | list[Action]) -> None:
    for action in actions:
        removed, added = action.get("remove") or {}, action.get("add") or {}
        if removed.get("path") is not None:
            log.added.pop(unquote(removed["path"]), None)
        if added.get("path") is not None:
            log.added[unquote(added["path"])] = added
        log.protocol = action.get("protocol") or log.protocol
        log.metadata = action.get("metaData") or log.metadata


def _live_file(path: Path, add: Action) -> LiveFile:
    told = json.loads(add.get("stats") or "{}")
    return LiveFile(str(path), dict(add["partitionValues"]), told.get("minValues", {}), told.get("maxValues", {}))


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120]
