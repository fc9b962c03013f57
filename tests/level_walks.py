"""The walk-throughs of ``memberlevel_spark/levels/WALKTHROUGHS.md`` as data: the document is their only source."""

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import yaml

from memberlevel_spark.config.levels import LevelsConfig
from tests.level_reference import Assignment, Stretch

DOCUMENT = Path(__file__).parents[1] / "memberlevel_spark/levels/WALKTHROUGHS.md"


@dataclass
class Walk:
    """One section of the document: the programme, what happened, what is said of the days."""

    title: str
    config: LevelsConfig
    tiles: dict[date, dict[str, int]] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    days: dict[date, tuple[int, int, tuple[int, ...]]] = field(default_factory=dict)  # level, own level, metrics
    reasons: dict[date, str] = field(default_factory=dict)

    def level(self, name: str) -> int:
        return [level.name for level in self.config.programme].index(name)

    @property
    def stretches(self) -> list[Stretch]:
        ends = [*list(self.reasons)[1:], None]
        begun = [(day, end, self.days[day]) for day, end in zip(self.reasons, ends, strict=True)]
        return [Stretch(day, end, on[0], on[1], self.reasons[day], on[2]) for day, end, on in begun]


def read_walks() -> list[Walk]:
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]
    return [read_walk(section) for section in sections]


def read_walk(section: str) -> Walk:
    programme = re.search(r"```yaml\n(.+?)```", section, re.DOTALL)
    assert programme
    walk = Walk(section.splitlines()[0], LevelsConfig.model_validate(yaml.safe_load(programme[1])))
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines:
        read_row(walk, dict(zip(cells(head), cells(line), strict=True)))
    return walk


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def read_row(walk: Walk, row: dict[str, str]) -> None:
    day = date.fromisoformat(row["day"])
    for metric, value in re.findall(r"`(\w+) (-?\d+)`", row["happens"]):
        walk.tiles.setdefault(day, {})[metric] = int(value)
    for level, until in re.findall(r"`(\w+) until ([\d-]+)`", row["happens"]):
        walk.assignments.append(Assignment(day, date.fromisoformat(until), walk.level(level)))
    if row["level"]:
        level, metrics = walk.level(row["level"]), tuple(int(row[metric]) for metric in walk.config.metrics)
        walk.days[day] = (level, walk.level(row["own level"]) if "own level" in row else level, metrics)
    for reason in re.findall(r"^`(\w+)`", row["why"]):
        walk.reasons[day] = reason
