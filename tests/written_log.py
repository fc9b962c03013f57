"""Delta logs written by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.delta_log import LOG

Action = Mapping[str, Any]
PROTOCOL = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
METADATA = {"metaData": {"configuration": {}, "partitionColumns": []}}


def added(path: str, size: int = 1, **more: object) -> Action:
    return {"add": {"path": path, "size": size, "partitionValues": {}, **more}}


def removed(path: str) -> Action:
    return {"remove": {"path": path}}


def commit(table: Path, version: int, *actions: Action) -> Path:
    path = table / LOG / f"{version:020d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(action) for action in [{"commitInfo": {"operation": "WRITE"}}, *actions]]
    path.write_text("\n".join(lines) + "\n")
    return path


def checkpoint(table: Path, version: int, files: Mapping[str, int], parts: int = 1) -> list[Path]:
    """The parts of a checkpoint as Delta writes one: a row per action, the other columns null."""
    text = pa.string()
    texts = pa.map_(text, text)
    kinds = {
        "add": pa.struct([("path", text), ("size", pa.int64()), ("partitionValues", texts), ("stats", text)]),
        "remove": pa.struct([("path", text)]),
        "protocol": pa.struct([("minReaderVersion", pa.int32()), ("readerFeatures", pa.list_(text))]),
        "metaData": pa.struct([("configuration", texts)]),
    }
    rows: list[dict[str, Any]] = [{"protocol": {"minReaderVersion": 1}}, {"metaData": {"configuration": {}}}]
    rows += [added(name, size, partitionValues={"split": "train"}) for name, size in files.items()]
    paths = []
    for part in range(parts):
        middle = f".{part + 1:010d}.{parts:010d}" if parts > 1 else ""
        paths.append(table / LOG / f"{version:020d}.checkpoint{middle}.parquet")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows[part::parts], pa.schema(list(kinds.items()))), paths[-1])
    return paths
