"""The latest version of a Delta table and its live files, from its log and without Spark: for the few rows that one
answer needs, and wherever asking Spark takes longer than looking.

In: the folder of a table. Out: its latest version, and the Parquet files of that version with their partition values
and their least and largest values, as far as the writer kept them.

``tables.py`` owns Delta; this only reads what it wrote, where no JVM may start. What a reader of the plain files would
get wrong is refused. Source: Delta Transaction Log Protocol, "Action Reconciliation", "Checkpoints"
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md).
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError, first_five

Action = Mapping[str, Any]
LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
# One file, or part p of n.
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
# Features that change nothing for who reads plain files as long as no file and no column makes use of them.
_HARMLESS = {"deletionVectors", "columnMapping", "timestampNtz", "vacuumProtocolCheck"}


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
    commits, checkpoints = _log_files(table)
    return max([*commits, *checkpoints], default=None)


def read_snapshot(table: Path) -> Snapshot:
    """The files that belong to the latest version.

    Errors: ArtefactError when there is no table, its log has gaps or is damaged, or its files are not all there is to
    it.
    """
    commits, checkpoints = _log_files(table)
    if not commits and not checkpoints:
        raise ArtefactError(
            f"a table is missing: {table.name} ({table}). Run the stage that makes it first;"
            " `python -m jobs.pipeline --help` lists them."
        )
    begin, version = max(checkpoints, default=-1), max([*commits, *checkpoints])
    lost = [number for number in range(begin + 1, version + 1) if number not in commits]
    if lost:
        raise ArtefactError(
            f"a Delta log has lost entries: {table.name} versions {first_five(lost)}. Restore the {LOG} folder, or"
            " remove the table and run its stage again."
        )
    live: dict[str, Action] = {}
    about: dict[str, Action] = {}
    for actions in [
        _checkpointed(checkpoints.get(begin, [])),
        *(_committed(commits[n]) for n in range(begin + 1, version + 1)),
    ]:
        for action in actions:
            about |= {kind: action[kind] for kind in ("protocol", "metaData") if action.get(kind)}
            if action.get("remove"):
                live.pop(action["remove"]["path"], None)
            if action.get("add"):
                live[action["add"]["path"]] = action["add"]
    _require_plain(table, about, live)
    return Snapshot(version, tuple(_live_file(table, live[path]) for path in sorted(live)))


def _log_files(table: Path) -> tuple[dict[int, Path], dict[int, list[Path]]]:
    """Commits by version, and the whole checkpoints."""
    commits: dict[int, Path] = {}
    parts: dict[tuple[int, int], list[Path]] = defaultdict(list)
    folder = table / LOG
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if found := _COMMIT.fullmatch(path.name):
            commits[int(found[1])] = path
        elif found := _CHECKPOINT.fullmatch(path.name):
            parts[int(found[1]), int(found[3] or 1)].append(path)
    return commits, {version: paths for (version, number), paths in parts.items() if len(paths) == number}


def _committed(path: Path) -> list[Action]:
    """The actions of a commit, removals first: a file that is added anew in the same commit stays."""
    try:
        actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError:
        raise ArtefactError(_damaged(path)) from None
    return sorted(actions, key=lambda action: "remove" not in action)


def _checkpointed(paths: list[Path]) -> Iterator[Action]:
    for path in paths:
        try:
            yield from pq.read_table(path, columns=["add", "protocol", "metaData"]).to_pylist(maps_as_pydicts="strict")
        except (OSError, pa.ArrowException):
            raise ArtefactError(_damaged(path)) from None


def _damaged(path: Path) -> str:
    return (
        f"a Delta log cannot be read: {path.parent.parent.name}, {path.name}. Restore the {LOG} folder, or remove the"
        " table and run its stage again."
    )


def _require_plain(table: Path, about: Mapping[str, Action], live: Mapping[str, Action]) -> None:
    protocol, metadata = about.get("protocol") or {}, about.get("metaData") or {}
    needed = set(protocol.get("readerFeatures") or ()) - _HARMLESS
    if (metadata.get("configuration") or {}).get("delta.columnMapping.mode", "none") != "none":
        needed.add("columnMapping")
    if any(add.get("deletionVector") for add in live.values()):
        needed.add("deletionVectors")
    if needed:
        raise ArtefactError(
            f"a table cannot be read as plain Parquet: {table.name} uses {first_five(needed)}."
            " Run REORG TABLE ... APPLY (PURGE) and turn the feature off, or rebuild the table."
        )


def _live_file(table: Path, add: Action) -> LiveFile:
    told = json.loads(add.get("stats") or "{}")
    path = str(table / unquote(add["path"]))
    return LiveFile(path, dict(add["partitionValues"]), told.get("minValues", {}), told.get("maxValues", {}))
