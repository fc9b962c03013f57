"""Canaries: made-up members by whom a model is known again."""

import json

import numpy as np
import pytest
import torch

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.typical import TYPICAL, TypicalMembers
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.registry.canary import CANARY, canary_file, check_canaries, impossible_forecasts
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel

SPEC = ModelSpec("mlp", 6, 3, hidden=(8,))
MEANS = ((0.0, 0.5, -0.5, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 1.0, 0.5, 0.0, 0.0, 1.0))


def files(seed: int = 1) -> dict[str, bytes]:
    torch.manual_seed(seed)
    model = PackedModel.holding(build_network(SPEC), SPEC)
    return {
        "model.safetensors": model.weights,
        "model.json": model.spec_json.encode(),
        TYPICAL: TypicalMembers(MEANS).to_json().encode(),
    }


def test_canaries_are_the_typical_members_nobody_and_the_extremes() -> None:
    canary = json.loads(canary_file(files()))
    assert canary["features"] == [*map(list, MEANS), [0.0] * 6, [5.0] * 6, [-5.0] * 6]
    assert np.array(canary["forecasts"]).shape == (6, 3 + len(NUMBERS))
    assert impossible_forecasts(canary_file(files())) == []


def test_the_same_model_is_known_again_and_another_is_not() -> None:
    registered = files() | {CANARY: canary_file(files())}
    check_canaries("m1", registered)
    with pytest.raises(ArtefactError, match="does not say here what it said when it was registered: m1"):
        check_canaries("m1", registered | {"model.safetensors": files(seed=2)["model.safetensors"]})
    check_canaries("m0", files(seed=2))  # of before there were canaries


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (0, float("nan"), "1 numbers are not finite"),
        (0, 0.9, "probabilities of levels do not sum to 1 of 1 canaries"),
        (3, 1.5, "probabilities lie outside 0 to 1 of 1 canaries"),
        (3 + NUMBERS.index("expected_orders"), -0.1, "orders or spend are negative of 1 canaries"),
        (3 + NUMBERS.index("spend_cents_low"), 10.0, "quantiles of spend are not in order of 1 canaries"),
    ],
)
def test_what_is_impossible_is_told(place: int, value: float, problem: str) -> None:
    forecasts = [[0.2, 0.3, 0.5, 0.5, 1.0, 5.0, 0.0, 4.0, 9.0] for _ in range(2)]
    forecasts[1][place] = value
    assert impossible_forecasts(json.dumps({"num_levels": 3, "forecasts": forecasts}).encode()) == [problem]


def test_negative_probabilities_of_levels_are_told() -> None:
    forecasts = [[-0.2, 0.7, 0.5, 0.5, 1.0, 5.0, 0.0, 4.0, 9.0]]
    told = impossible_forecasts(json.dumps({"num_levels": 3, "forecasts": forecasts}).encode())
    assert told == ["probabilities lie outside 0 to 1 of 1 canaries"]
