"""`make bench`: run every benchmark, print a table, write out/bench.json."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from tests.bench import features, feed, scoring

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
OUT = Path("out") / "bench.json"


@dataclass(frozen=True)
class Figure:
    """One measured ratio and what it is measured against."""

    value: float
    unit: str
    against: str


def main() -> int:
    """Measure, print, write."""
    logging.getLogger("petastorm").setLevel(logging.WARNING)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", "3g")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as scratch:
        parts: list[Callable[[], dict[str, tuple[float, str, str]]]] = [
            lambda: scoring.measure(session),
            lambda: features.measure(session),
            lambda: feed.measure(Path(scratch)),
        ]
        for part in parts:
            figures |= {name: Figure(*values) for name, values in part().items()}
    session.stop()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({name: asdict(figure) for name, figure in figures.items()}, indent=1), encoding="utf-8")
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(f"{name:<{width}}  {figure.value:8.2f} {figure.unit:<12} against {figure.against}")
    print(f"written to {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
