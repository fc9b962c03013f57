"""A shop for ingest tests: source folders, a YAML, the stages run as jobs, and the tables as plain rows."""

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.cli import run_job

BASE_YAML = Path(__file__).parent.parent / "conf" / "base.yaml"
INGEST = ("bronze", "silver")
TO_DAYS = (*INGEST, "member_days")
SETTINGS: dict[str, object] = {
    "money": {"currency": "EUR"},
    "timeline": {
        "business_zone": "UTC",
        "data_through": "2024-12-31",
        "max_silent_days": 36500,
        "horizon_days": 1,
        "train": {"first": "2024-03-01", "last": "2024-03-01", "every_days": 1},
        "validation": "2024-03-02",
        "test": "2024-03-03",
        "score": ["2024-03-04"],
    },
    "pseudonyms": {"method": "off"},
    "quality": {"max_quarantine_share": 1},
    "levels": {
        "metric": "spend_cents",
        "window_days": 7,
        "programme": [{"name": "base", "at_least": 0}, {"name": "gold", "at_least": 5000}],
    },
    "features": {"windows_days": [7], "sequence_weeks": 1},
}


@dataclass
class IngestShop:
    """One shop in ``folder``; ``sources`` is the YAML section, where ``{folder}`` in a path is the shop's folder."""

    spark: SparkSession
    folder: Path
    sources: Mapping[str, Mapping[str, object]]
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    num_files: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(BASE_YAML, self.folder / "base.yaml")
        sources = {name: {"path": str(self.folder / name), **source} for name, source in self.sources.items()}
        for source in sources.values():
            Path(str(source["path"])).mkdir(parents=True, exist_ok=True)
        merged = {**SETTINGS, "sources": sources}
        for section, values in self.settings.items():
            merged[section] = {**merged.get(section, {}), **values}  # type: ignore[dict-item]
        self.config.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")

    @property
    def config(self) -> Path:
        """The shop's YAML."""
        return self.folder / "shop.yaml"

    @property
    def out(self) -> Path:
        """Everything the jobs wrote."""
        return self.folder / "out" / "shop"

    def put(self, source: str, name: str, content: object) -> Path:
        """Put a file into a source's folder: text or bytes as they are, a list as JSON lines (text items as lines)."""
        if isinstance(content, list):
            content = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in content)
        data = content if isinstance(content, bytes) else str(content).encode()
        path = self.folder / source / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") and not isinstance(content, bytes) else data)
        # A stream takes files by age; two files written in one tick would have the same.
        self.num_files += 1
        stamp = 1_750_000_000 + self.num_files
        os.utime(path, (stamp, stamp))
        return path

    def job(self, *stages: str, options: Iterable[str] = ()) -> int:
        """Run stages as jobs until one fails; returns the last exit code."""
        for stage in stages:
            arguments = ["--config", str(self.config), "--set", f"output_dir={self.folder / 'out'}"]
            code = run_job(stage, [*arguments, *(word for option in options for word in ("--set", option))])
            if code:
                return code
        return 0

    def table(self, name: str) -> Path:
        """The folder of a table."""
        return self.out / "tables" / name

    def rows(self, name: str, *, without: Iterable[str] = (), where: str = "true") -> list[dict[str, object]]:
        """The rows of a table, instants and days as text in UTC, maps as sorted pairs."""
        frame = self.spark.read.format("delta").load(str(self.table(name))).where(where).drop(*without)
        shown = [_plain(column) for column in frame.schema]
        return [row.asDict() for row in frame.select(*shown).collect()]

    def counted(self, name: str, *, without: Iterable[str] = ()) -> "Counter[tuple[tuple[str, object], ...]]":
        """The rows of a table and how often each is there."""
        return counted(self.rows(name, without=without))

    def rules(self) -> "Counter[tuple[str, str]]":
        """How many rows were quarantined, by target and rule."""
        return Counter((str(row["target"]), str(row["rule"])) for row in self.rows("quarantine"))

    def versions(self) -> dict[str, int]:
        """The latest version of every table."""
        logs = (self.out / "tables").glob("*/_delta_log")
        return {log.parent.name: max(int(path.stem) for path in log.glob("*.json")) for log in logs}

    def files_by_day(self, name: str) -> dict[str, set[str]]:
        """The data files that hold rows of each day."""
        frame = self.spark.read.format("delta").load(str(self.table(name)))
        found = frame.select(F.col("day").cast("string"), F.col("_metadata.file_name")).distinct().collect()
        return {day: {row[1] for row in found if row[0] == day} for day in sorted({row[0] for row in found})}


def counted(rows: Iterable[Mapping[str, object]]) -> "Counter[tuple[tuple[str, object], ...]]":
    """Rows as a multiset."""
    return Counter(tuple(sorted(row.items())) for row in rows)


def json_source(zone: str = "UTC", **more: object) -> dict[str, object]:
    """A source of JSON lines that maps canonical columns to themselves; ``to`` says which table a line is for."""
    return {"format": "json", "time_zone": zone, **more}


def identity_map(table: str, columns: Iterable[str], where: str | None = None) -> dict[str, object]:
    """A map whose source columns are named like the canonical ones."""
    return {"to": table, "columns": {name: name for name in columns}, **({"where": where} if where else {})}


def _plain(column: T.StructField):  # type: ignore[no-untyped-def]
    value = F.col(f"`{column.name}`")
    if isinstance(column.dataType, T.TimestampType | T.DateType):
        return value.cast("string").alias(column.name)
    if isinstance(column.dataType, T.MapType):
        return F.to_json(F.sort_array(F.map_entries(value))).alias(column.name)
    return value
