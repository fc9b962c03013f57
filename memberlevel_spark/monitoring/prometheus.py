"""Metrics in Prometheus' text format, for the textfile collector of its node exporter.

In: families of samples. Out: the text; the same samples give the same bytes. A sample without a value is left out, its
family is not.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """One gauge: its name, a sentence on it, and its samples as labels with a value."""

    name: str
    help: str
    samples: Sequence[tuple[Labels, float | None]]


def exposition(families: Sequence[Family]) -> str:
    """The families by name, each with its samples in the order of their labels."""
    return "".join(_block(family) for family in sorted(families, key=lambda family: family.name))


def write_text(path: Path, text: str) -> None:
    """Write a file that a collector may read at any time: it changes in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The collector takes every *.prom of the folder.
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(text, encoding="utf-8")
    staging.rename(path)


def _block(family: Family) -> str:
    known = [(_labels(labels), value) for labels, value in family.samples if value is not None]
    lines = [f"{family.name}{labels} {_number(value)}\n" for labels, value in sorted(known)]
    head = f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} gauge\n"
    return head + "".join(lines)


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quoted: bool = False) -> str:
    plain = text.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.replace('"', '\\"') if quoted else plain


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
