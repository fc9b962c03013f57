"""The model card: what a bundle is for, what it was made from, how good it is and where it is weak, as Markdown.

In: the configuration, the evaluation, the files of the bundle, the table versions and the gate's decision. Out:
``model_card.md``. It holds no row of any member, and no clock: the same model of the same run has the same card.

The headings follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from memberlevel_spark import __version__
from memberlevel_spark.config import Config, config_fingerprint
from memberlevel_spark.registry.gate import Decision

CARD = "model_card.md"
LIBRARIES = ("pyspark", "delta-spark", "torch", "numpy", "pyarrow")
# Beside the model, where the evaluation has them.
RIVALS = ("persistence", "boosted_tree", "champion")
METRICS = (
    *("log_loss", "accuracy", "macro_f1", "qwk", "upgrade_auc", "downgrade_auc", "ece", "churn_auc", "churn_brier"),
    *("churn_ece", "orders_mae", "spend_mae", "spend_coverage_80"),
)
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})
_IS_NO_ATTRIBUTE = ("member_id", "valid_from")


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Args:
        evaluation: ``evaluation.json``.
        files: the bundle's files, of which it reads ``model.json``, ``calibrators.json`` and ``lineage.json``.
        topics: the topic of each encoded feature.
        decision: what the gate said.
    """

    model_version: str
    config: Config
    evaluation: Mapping[str, Any]
    files: Mapping[str, bytes]
    topics: Sequence[str]
    decision: Decision


def model_card(facts: CardFacts) -> str:
    """The whole card; text of the shop is escaped, so that it cannot become markup."""
    parts = {
        "Intended use": _use(facts.config),
        "Data": _data(facts),
        "What it reads": _reads(facts),
        "Training": _training(facts),
        "Quality": _quality(facts.evaluation),
        "Calibration": _calibration(facts.evaluation, facts.config),
        "Parts of the members": _slices(facts.evaluation["slices"]),
        "Decision of the gate": _decision(facts.decision),
        "Limits": _limits(facts.config),
        "Versions": _versions(facts.config),
    }
    sections = [f"## {heading}\n\n" + "\n".join(lines) for heading, lines in parts.items()]
    title = f"# Model card: {facts.model_version} of {escaped(facts.config.name)}"
    return "\n\n".join([title, *sections]) + "\n"


def escaped(text: object) -> str:
    """Text of a shop as plain text of Markdown, on one line."""
    return " ".join(str(text).split()).translate(_SPECIAL)


def _use(config: Config) -> list[str]:
    days = config.timeline.horizon_days
    return [
        f"For every member of the shop, from what is known up to an as-of date: the level held {days} days later, moves"
        " up and down, whether an order is placed, how many orders and how much spend. It is meant for planning and"
        " for choosing whom to speak to.",
        "",
        "It is not meant for decisions with legal or similar effects on a person, such as credit, prices or exclusion;"
        " nor for another shop, or another level programme, which scoring refuses.",
    ]


def _data(facts: CardFacts) -> list[str]:
    config, lineage = facts.config, json.loads(facts.files["lineage.json"])
    split, learned = config.timeline.split, _learned(config)
    pseudonyms = "are pseudonyms (HMAC-SHA256)" if config.pseudonyms.method != "off" else "are the source's own"
    levels = [
        f"{escaped(level.name)} ({_needed(needed)})"
        for level, needed in zip(config.levels.programme, config.levels.thresholds, strict=True)
    ]
    versions = {name: number for stage in lineage.values() for name, number in [*stage["read"].items()]}
    return [
        f"- Learned from {len(split.train)} as-of dates, {split.train[0]} to {split.train[-1]}"
        + (f", at last also from the {len(learned) - len(split.train)} after them" if learned != split.train else ""),
        f"- Validation as of {config.timeline.validation}, test as of {facts.evaluation['test_as_of']}:"
        f" {facts.evaluation['num_members']:,} members",
        f"- Labels: {config.timeline.horizon_days} days after a gap of {config.timeline.gap_days}",
        f"- Levels: {', '.join(levels)}",
        f"- Member ids {pseudonyms}",
        "",
        *_table(["table", "version"], [[f"`{name}`", str(number)] for name, number in sorted(versions.items())]),
    ]


def _learned(config: Config) -> tuple[date, ...]:
    """The as-of dates that the kept network has learned from, ascending."""
    split = config.timeline.split
    more = (*split.late, *split.validation) if config.timeline.train.refit else ()
    return tuple(sorted({*split.train, *more}))


def _needed(thresholds: Mapping[str, int]) -> str:
    return ", ".join(f"{metric} at least {value:,}" for metric, value in thresholds.items()) or "the lowest"


def _reads(facts: CardFacts) -> list[str]:
    read = facts.config.profile_read
    mapped = {
        column
        for source in facts.config.sources.values()
        for mapping in source.maps
        if mapping.to == "members"
        for column in mapping.columns
    }
    others = sorted(mapped - {*read, *_IS_NO_ATTRIBUTE})
    counted = sorted(Counter(facts.topics).items(), key=lambda each: (-each[1], each[0]))
    return [
        f"{len(facts.topics)} numbers per member, by what they are about:",
        "",
        *_table(["about", "numbers"], [[escaped(topic), str(number)] for topic, number in counted]),
        "",
        f"- Attributes of the profile that the model reads: {_names(read)}",
        f"- Attributes that the shop knows and the model does not read: {_names(others)}",
    ]


def _training(facts: CardFacts) -> list[str]:
    spec, training = json.loads(facts.files["model.json"]), facts.config.training
    return [
        f"- Network {spec['name']}, level head {spec['level_head']}, hidden layers {_names(spec['hidden'])}",
        f"- At most {training.max_epochs} epochs of batches of {training.batch_rows:,} rows, learning rate"
        f" {training.learning_rate:g}, weight decay {training.weight_decay:g}, seed {facts.config.seed}",
        "- Number of epochs and calibrators are chosen on the validation date, nothing on the test date",
    ]


def _quality(evaluation: Mapping[str, Any]) -> list[str]:
    test, told = evaluation["test"], evaluation["comparisons"]
    names = ["model", *(name for name in RIVALS if name in test)]
    rows = [
        [f"`{metric}`", *(_shown(test[name].get(metric)) for name in names)]
        for metric in METRICS
        if metric in test["model"]
    ]
    compared = [
        [f"`{name}`", f"`{metric}`", *(_shown(found[end], sign="+") for end in ("mean", "low", "high"))]
        for name in names[1:]
        if name in told
        for metric, found in told[name].items()
    ]
    return [
        "On the test date, which nothing was chosen by:",
        "",
        *_table(["metric", *names], rows),
        "",
        "The model less the other, with the middle 95 % over resamples of members; a lower log-loss is better:",
        "",
        *_table(["other", "metric", "mean", "low", "high"], compared),
    ]


def _calibration(evaluation: Mapping[str, Any], config: Config) -> list[str]:
    model = evaluation["test"]["model"]
    return [
        f"- Calibrated heads: {_names(config.model.calibration)}",
        f"- Error of the level's probabilities {_shown(model['ece'])}; a perfect forecast shows up to"
        f" {_shown(evaluation['ece_by_chance'])} on as many members",
    ]


def _slices(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    judged = [row for row in slices if row["accuracy"] is not None]
    rows = [
        [
            *(escaped(row[name]) for name in ("dimension", "slice")),
            f"{row['members']:,}",
            *(_shown(row[name]) for name in ("accuracy", "persistence_accuracy", "log_loss")),
        ]
        for row in judged
    ]
    table = _table(["by", "part", "members", "accuracy", "accuracy of persistence", "log-loss"], rows)
    if not judged:
        return ["Every part is too small to be judged."]
    worst = min(judged, key=lambda row: (row["accuracy"] - row["persistence_accuracy"], row["accuracy"]))
    return [
        *table,
        "",
        f"Weakest beside persistence: {escaped(worst['dimension'])} {escaped(worst['slice'])}, accuracy"
        f" {_shown(worst['accuracy'] - worst['persistence_accuracy'], sign='+')}.",
    ]


def _decision(decision: Decision) -> list[str]:
    told = "passed" if decision.passed else "did not pass"
    lines = [f"When this version was first registered it {told}; `challenger.json` has the latest decision."]
    return [*lines, "", *(f"- {escaped(reason)}" for reason in decision.reasons)]


def _limits(config: Config) -> list[str]:
    return [
        f"- The last date that it has learned from is {max(_learned(config))}: campaigns, prices and seasons that came"
        " later are not in it.",
        "- Chances are of groups: of a hundred members with a chance of 20 % about twenty move, nobody knows which.",
        "- Reasons say what the model reads, not what causes what members do.",
        "- Members of a few days have few numbers to read; the parts by tenure above say how well that goes.",
    ]


def _versions(config: Config) -> list[str]:
    libraries = [f"{name} {_installed(name)}" for name in LIBRARIES]
    return [
        f"- memberlevel_spark {__version__}, configuration {config_fingerprint(config)}",
        f"- Python {platform.python_version()}, {', '.join(libraries)}",
    ]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(unknown)"


def _names(values: Iterable[object]) -> str:
    return ", ".join(map(escaped, values)) or "none"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _shown(value: float | None, sign: str = "") -> str:
    return "n/a" if value is None else f"{value:{sign}.4f}"
