"""The model card: literal facts in, literal Markdown out."""

import json
import re
from typing import Any

import pytest

from memberlevel_spark.config import Config, config_fingerprint, load_config
from memberlevel_spark.registry.card import CardFacts, escaped, model_card
from memberlevel_spark.registry.gate import Check, Decision
from tests.small_shop import write_small_shop

PART = {"dimension": "profile_city", "members": 60, "log_loss": 0.5}
FACTS: dict[str, Any] = {
    "evaluation": {
        "test_as_of": "2024-09-28",
        "num_members": 1150,
        "test": {
            "model": {"log_loss": 0.41, "accuracy": 0.8, "ece": 0.0123, "churn_auc": None},
            "persistence": {"log_loss": 0.9, "accuracy": 0.75, "ece": 0.2},
            "majority": {"log_loss": 1.1},
        },
        "comparisons": {
            "persistence": {"log_loss": {"mean": -0.49, "low": -0.6, "high": None}},
            "majority": {"log_loss": {"mean": -0.69, "low": -0.7, "high": -0.6}},
        },
        "ece_by_chance": 0.034,
        "slices": [
            {**PART, "slice": "Ulm | *Kiel*", "accuracy": 0.7, "persistence_accuracy": 0.72},
            {**PART, "slice": "(other)", "accuracy": 0.75, "persistence_accuracy": 0.74},
            {**PART, "slice": "(small)", "accuracy": None, "persistence_accuracy": None, "log_loss": None},
        ],
    },
    "files": {
        "model.json": json.dumps({"name": "mlp", "level_head": "gate", "hidden": [16]}).encode(),
        "lineage.json": json.dumps(
            {"silver": {"read": {"bronze_orders": 3}, "written": {"events": 4}}, "train": {"read": {"examples": 7}}}
        ).encode(),
    },
    "topics": ("spend", "orders", "spend", "where they shop"),
    "decision": Decision.of([Check("persistence", True, "log_loss -0.49 <less>"), Check("slices", False, "worse")]),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = write_small_shop(tmp_path_factory.mktemp("card"))
    return load_config(path, ["sources.customers.maps=[{to: members, columns: {member_id: c, age: a, city: b}}]"], {})


def sections(card: str) -> dict[str, str]:
    title, *parts = re.split(r"^## (.+)\n\n", card, flags=re.MULTILINE)
    return {"": title.strip(), **{name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}}


def test_a_card_says_what_went_in_and_what_came_out(config: Config):
    told = sections(model_card(CardFacts(model_version="m12", config=config, **FACTS)))
    assert list(told) == [
        *("", "Intended use", "Data", "What it reads", "Training", "Quality", "Calibration", "Parts of the members"),
        *("Decision of the gate", "Limits", "Versions"),
    ]
    assert told[""] == "# Model card: m12 of small\\_shop"
    assert "28 days later" in told["Intended use"] and "not meant for decisions with legal" in told["Intended use"]
    assert told["Data"].splitlines() == [
        "- Learned from 14 as-of dates, 2024-05-04 to 2024-08-03, at last also from the 4 after them",
        "- Validation as of 2024-08-31, test as of 2024-09-28: 1,150 members",
        "- Labels: 28 days after a gap of 0",
        "- Levels: base (the lowest), silver (spend_cents at least 15,000), gold (spend_cents at least 40,000)",
        "- Member ids are pseudonyms (HMAC-SHA256)",
        "",
        "| table | version |",
        "| --- | --- |",
        "| `bronze_orders` | 3 |",
        "| `examples` | 7 |",
    ]
    assert told["What it reads"].splitlines() == [
        "4 numbers per member, by what they are about:",
        "",
        "| about | numbers |",
        "| --- | --- |",
        "| spend | 2 |",
        "| orders | 1 |",
        "| where they shop | 1 |",
        "",
        "- Attributes of the profile that the model reads: city",
        "- Attributes that the shop knows and the model does not read: age",
    ]
    assert told["Training"].startswith("- Network mlp, level head gate, hidden layers 16\n- At most 24 epochs")
    assert "The last date that it has learned from is 2024-08-31: campaigns" in told["Limits"]
    assert config_fingerprint(config) in told["Versions"] and "torch 2." in told["Versions"]


def test_a_card_shows_the_model_beside_its_rivals_and_names_its_weakest_part(config: Config):
    told = sections(model_card(CardFacts(model_version="m12", config=config, **FACTS)))
    assert told["Quality"].splitlines() == [
        "On the test date, which nothing was chosen by:",
        "",
        "| metric | model | persistence |",
        "| --- | --- | --- |",
        "| `log_loss` | 0.4100 | 0.9000 |",
        "| `accuracy` | 0.8000 | 0.7500 |",
        "| `ece` | 0.0123 | 0.2000 |",
        "| `churn_auc` | n/a | n/a |",
        "",
        "The model less the other, with the middle 95 % over resamples of members; a lower log-loss is better:",
        "",
        "| other | metric | mean | low | high |",
        "| --- | --- | --- | --- | --- |",
        "| `persistence` | `log_loss` | -0.4900 | -0.6000 | n/a |",
    ]
    assert told["Calibration"].splitlines() == [
        "- Calibrated heads: level, p\\_buy, spend",
        "- Error of the level's probabilities 0.0123; a perfect forecast shows up to 0.0340 on as many members",
    ]
    assert told["Parts of the members"].splitlines() == [
        "| by | part | members | accuracy | accuracy of persistence | log-loss |",
        "| --- | --- | --- | --- | --- | --- |",
        "| profile\\_city | Ulm \\| \\*Kiel\\* | 60 | 0.7000 | 0.7200 | 0.5000 |",
        "| profile\\_city | (other) | 60 | 0.7500 | 0.7400 | 0.5000 |",
        "",
        "Weakest beside persistence: profile\\_city Ulm \\| \\*Kiel\\*, accuracy -0.0200.",
    ]
    assert told["Decision of the gate"].splitlines() == [
        "When this version was first registered it did not pass; `challenger.json` has the latest decision.",
        "",
        "- persistence: log\\_loss -0.49 \\<less\\>: passed",
        "- slices: worse: failed",
    ]


def test_parts_that_are_all_too_small_are_said_to_be(config: Config):
    small = {**FACTS["evaluation"], "slices": FACTS["evaluation"]["slices"][2:]}
    told = sections(model_card(CardFacts(model_version="m12", config=config, **{**FACTS, "evaluation": small})))
    assert told["Parts of the members"] == "Every part is too small to be judged."


def test_text_of_a_shop_cannot_become_markup():
    assert escaped("a\n# <b>[x](y)`z`\\") == "a \\# \\<b\\>\\[x\\](y)\\`z\\`\\\\"
