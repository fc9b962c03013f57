"""What the log of a Delta table says, read file by file without Spark, so that it can be read where Spark cannot start.

In: the folder of a table, on a disk or a mounted store. Out: the latest version with its live files and features.
The rules are those of the Delta protocol (PROTOCOL.md of delta-io/delta): commits ``<version>.json`` after the newest
whole checkpoint ``<version>.checkpoint[.<part>.<parts>].parquet``; of one path the last action counts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError, first_five

LOG = "_delta_log"
COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
OTHER_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.[0-9a-f-]{36}\.(parquet|json)")
COLUMNS = ["add.path", "add.size", "remove.path", "protocol"]
# Old tables name no features: a reader of this version maps columns.
MAPS_COLUMNS = 2
RESTORE = "Restore its _delta_log from a copy, or remove the table"


@dataclass
class DeltaLog:
    """The state of a table: its latest version, live files (path below the table -> bytes), and the features that a
    reader or writer must know."""

    version: int
    files: dict[str, int] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)


def read_log(table: Path) -> DeltaLog:
    """Replay the log of a table.

    Errors: ArtefactError when commits are missing, or a commit or checkpoint cannot be read.
    """
    names = sorted(path.name for path in (table / LOG).iterdir())
    commits = {int(found[1]): name for name in names if (found := COMMIT.fullmatch(name))}
    checkpoint, parts = _newest_checkpoint(names)
    if not commits and not parts:
        raise ArtefactError(f"{table.name} has no commit: {table / LOG} is empty. {RESTORE}.")
    if not parts and any(OTHER_CHECKPOINT.fullmatch(name) for name in names) and 0 not in commits:
        raise ArtefactError(
            f"{table.name} has checkpoints of a kind that is not looked at. Ask Spark: DESCRIBE HISTORY."
        )
    log = DeltaLog(max([*commits, checkpoint]))
    lacking = [version for version in range(checkpoint + 1, log.version + 1) if version not in commits]
    if lacking:
        raise ArtefactError(f"{table.name} has gaps in its log: version(s) {first_five(lacking)} lack. {RESTORE}.")
    for name in parts:
        for action in _checkpoint_actions(table / LOG / name):
            _apply(log, action)
    for version in range(checkpoint + 1, log.version + 1):
        for action in _commit_actions(table / LOG / commits[version]):
            _apply(log, action)
    return log


def _newest_checkpoint(names: list[str]) -> tuple[int, list[str]]:
    """The version and the files of the newest checkpoint that has all its parts; -1 without one."""
    found: dict[int, dict[tuple[int, int], str]] = {}
    for name in names:
        if match := CHECKPOINT.fullmatch(name):
            part = (int(match[2] or 1), int(match[3] or 1))
            found.setdefault(int(match[1]), {})[part] = name
    for version in sorted(found, reverse=True):
        for num_parts in {parts for _, parts in found[version]}:
            wanted = [(part, num_parts) for part in range(1, num_parts + 1)]
            if all(part in found[version] for part in wanted):
                return version, [found[version][part] for part in wanted]
    return -1, []


def _checkpoint_actions(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        # Not read_table, which passes over everything in folders whose names begin with "_".
        with pq.ParquetFile(path) as opened:
            rows = opened.read(columns=COLUMNS)
    except (OSError, ValueError) as problem:
        raise ArtefactError(f"a checkpoint cannot be read: {path} ({_reason(problem)}). {RESTORE}.") from None
    for batch in rows.to_batches():
        yield from batch.to_pylist()


def _commit_actions(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as problem:
        raise ArtefactError(f"a commit cannot be read: {path} ({_reason(problem)}). {RESTORE}.") from None


def _apply(log: DeltaLog, action: Mapping[str, Any]) -> None:
    removed, added = action.get("remove") or {}, action.get("add") or {}
    if removed.get("path") is not None:
        log.files.pop(unquote(removed["path"]), None)
    if added.get("path") is not None:
        log.files[unquote(added["path"])] = int(added["size"])
    if protocol := action.get("protocol"):
        log.features = {*(protocol.get("readerFeatures") or ()), *(protocol.get("writerFeatures") or ())}
        if protocol.get("minReaderVersion") == MAPS_COLUMNS:
            log.features.add("columnMapping")


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120]
