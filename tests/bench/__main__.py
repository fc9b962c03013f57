"""`make bench`: run the benchmarks, or those named (ARGS="cleaning feed"), print a table, write out/bench.json."""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import yaml
from pyspark.sql import SparkSession

from memberlevel_spark.session import DELTA_SETTINGS, JVM_FLAGS
from tests.bench import advising, cleaning, engine, features, feed, scoring, sequences, serving, training

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
OUT = Path("out") / "bench.json"
BASE = Path("conf") / "base.yaml"


@dataclass(frozen=True)
class Figure:
    """One measured ratio and what it is measured against."""

    value: float
    unit: str
    against: str


@cache
def _session() -> SparkSession:
    builder = SparkSession.builder.master("local[2]")
    # The settings that a shop's jobs have, where its configuration says nothing else.
    given = yaml.safe_load(BASE.read_text(encoding="utf-8"))["spark"]["conf"]
    for key, value in {**given, **DELTA_SETTINGS}.items():
        builder = builder.config(key, value)
    return (
        builder.config("spark.driver.extraJavaOptions", JVM_FLAGS)
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )


# In this order: the parts without our session come first, so that its memory is not in their way.
PARTS: dict[str, Callable[[Path], dict[str, tuple[float, str, str]]]] = {
    "cleaning": cleaning.measure,
    "feed": feed.measure,
    "serving": serving.measure,
    "training": lambda scratch: training.measure(_session(), scratch),
    "scoring": lambda _: scoring.measure(_session()),
    "advising": lambda _: advising.measure(_session()),
    "features": lambda _: features.measure(_session()),
    "engine": lambda scratch: engine.measure(_session(), scratch),
    "sequences": lambda scratch: sequences.measure(_session(), scratch),
}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure speed.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"which of {', '.join(PARTS)}; all when none is named")
    named = parser.parse_args().parts
    if unknown := set(named) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}. Use {', '.join(PARTS)}.")
    logging.getLogger("petastorm").setLevel(logging.WARNING)
    figures: dict[str, Figure] = {}
    for name, measure in PARTS.items():
        if not named or name in named:
            with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
                measured = {figure: Figure(*values) for figure, values in measure(Path(scratch)).items()}
            for figure, told in measured.items():
                print(f"{figure:<28} {told.value:10.2f} {told.unit:<12} against {told.against}", flush=True)
            figures |= measured
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({name: asdict(figure) for name, figure in figures.items()}, indent=1), encoding="utf-8")
    print(f"written to {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
