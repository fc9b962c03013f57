"""One run of one or more stages: its configuration, tables and dates, and what each stage reports."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pyspark.sql import DataFrame

from memberlevel_spark.config import Config, config_fingerprint
from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.schemas import TableContract
from memberlevel_spark.tables import DeltaTables, Written

# Where rows go besides the output and the quarantine.
SET_ASIDE = ("duplicates", "filtered", "late", "aggregated")
log = logging.getLogger("memberlevel_spark")


@dataclass(frozen=True)
class Shop:
    """A shop as its configuration has it; all that is needed where no table is read or written through Spark."""

    config: Config

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the configuration."""
        return config_fingerprint(self.config)

    @property
    def shop_dir(self) -> Path:
        """Where this shop's runs, registry, report and metrics go."""
        return self.config.shop_dir


@dataclass(frozen=True)
class Run(Shop):
    """What a stage function gets. ``as_of_dates`` is None for a full rebuild with the config's own dates."""

    tables: DeltaTables
    as_of_dates: tuple[date, ...] | None = None
    every_seconds: int | None = None  # bronze goes on taking what arrives; None: what is there now
    model_version: str | None = None  # which bundle promote makes champion; None: the one before
    incremental: bool | None = None  # score passes only members through the network whose features have changed
    member: str | None = None  # whom explain is about, as the source or as the tables name them

    def write_dates(self, contract: TableContract, frame: DataFrame, dates: Sequence[date]) -> Written:
        """Write the rows of ``dates``: the whole table on a full rebuild, else only those dates' slice."""
        if self.as_of_dates is None:
            return self.tables.replace(contract, frame)
        return self.tables.replace_slice(contract, frame, {"as_of_date": dates})


# A run, or what a job without a session is asked.
Asker = TypeVar("Asker", bound=Shop)


@dataclass(frozen=True)
class RowCounts:
    """Row accounting: every row that went in came out, was set aside with a reason, or was folded into another."""

    rows_in: int
    rows_out: int
    quarantined: int = 0
    duplicates: int = 0
    filtered: int = 0
    late: int = 0
    aggregated: int = 0

    def require_balance(self, stage: str) -> None:
        """Errors: DataQualityError when rows were lost or made up."""
        accounted = self.rows_out + self.quarantined + sum(getattr(self, word) for word in SET_ASIDE)
        if accounted != self.rows_in:
            raise DataQualityError(
                f"rows are not accounted for in {stage}: {self.rows_in} in, {accounted} accounted ({asdict(self)})."
                " Do not use its output; run the stage again and report the numbers if it repeats."
            )


@dataclass(frozen=True)
class StageResult:
    """What a stage did: row counts, the table versions it read and those it wrote, a word for the log, and what is
    printed where the result is for the one who asked."""

    counts: RowCounts
    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    note: str = ""
    page: str = ""


def stage_records_dir(shop: Shop) -> Path:
    """Where each stage leaves the record of its last run."""
    return shop.shop_dir / "runs" / "stages"


def stage_records(run: Run) -> list[dict[str, Any]]:
    """The record of each stage's last run, in the order of the flow."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in stage_records_dir(run).glob("*.json")]
    return sorted(records, key=lambda record: record["number"])


def run_stage(
    name: str, function: Callable[[Asker], StageResult], run: Asker, number: int = 0, *, recorded: bool = True
) -> StageResult:
    """Run one stage, hold its row accounting, write a log line and its record; ``number`` is its place in the flow."""
    started = time.monotonic()
    result = function(run)
    result.counts.require_balance(name)
    seconds = time.monotonic() - started
    log.info("%s", _line(name, result, seconds))
    if not recorded:
        return result
    record = {
        "stage": name,
        "number": number,
        **asdict(result.counts),
        "read": result.read,
        "written": result.written,
        "seconds": round(seconds, 1),
        "fingerprint": run.fingerprint,
    }
    path = stage_records_dir(run) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return result


def _line(name: str, result: StageResult, seconds: float) -> str:
    counts = result.counts
    parts = [f"in={counts.rows_in:,}", f"out={counts.rows_out:,}", f"quarantined={counts.quarantined:,}"]
    parts += [f"{word}={number:,}" for word in SET_ASIDE if (number := getattr(counts, word))]
    # A stage that makes files has no rows to speak of.
    parts = parts if counts.rows_in else []
    parts += [f"{table}@v{version}" for table, version in result.written.items()]
    return " ".join([f"{name:<12}", *parts, f"{seconds:.1f}s", result.note]).rstrip()
