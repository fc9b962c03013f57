"""Forecasts with calibrators: they agree with each other, and without any they are what the network says to the bit."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.special import softmax

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.models.calibrators import CALIBRATORS, Calibrators, Curve
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import SPEND_HEADS, ModelSpec
from memberlevel_spark.scoring.predictor import BLOCK_ROWS, NUMBERS, QUANTILES, PackedModel, predict

pytestmark = pytest.mark.torch

SPEC = ModelSpec("mlp", 9, 3, hidden=(8,), level_head="gate", metrics=("spend_cents",))
ROWS = np.random.default_rng(1).normal(size=(500, 9)).astype(np.float32) * 3
P_BUY = Curve((0.05, 0.3, 0.7, 0.95), (0.02, 0.02, 0.8, 0.9))
SPEND = Curve((0.0, 2000.0, 9000.0), (0.0, 3000.0, 4000.0))


def packed(
    calibrators: Calibrators | None = None, *, some_bias: float = 0.0, spend_head: str = "mixture"
) -> PackedModel:
    torch.manual_seed(2)
    spec = replace(SPEC, spend_head=spend_head)
    network = build_network(spec)
    with torch.no_grad():
        network.some.bias += some_bias
    files = {"model.safetensors": save(network.state_dict()), "model.json": json.dumps(spec.to_dict()).encode()}
    return PackedModel.of(files if calibrators is None else {**files, CALIBRATORS: calibrators.to_json().encode()})


def numbers_of(model: PackedModel) -> dict[str, np.ndarray]:
    return dict(zip(NUMBERS, predict(model, ROWS)[:, 3:].T, strict=True))


def test_without_calibrators_and_with_ones_that_change_nothing_it_is_the_network_to_the_bit() -> None:
    torch.manual_seed(2)
    network = build_network(SPEC).eval()
    full = np.zeros((BLOCK_ROWS, 9), dtype=np.float32)
    full[: len(ROWS)] = ROWS
    with torch.inference_mode():
        outlook = network(torch.from_numpy(full))
        spend = [outlook.spend.mean(), *outlook.spend.quantiles(QUANTILES).unbind(dim=1)]
        numbers = [-torch.expm1(outlook.log_p_none_B.double()), outlook.orders.mean(), *spend]
        expected = torch.column_stack([outlook.log_p_level_BK.double().softmax(dim=1), *numbers])[: len(ROWS)].numpy()
    assert predict(packed(), ROWS).tobytes() == expected.tobytes()
    assert predict(packed(Calibrators()), ROWS).tobytes() == expected.tobytes()


def test_the_temperature_divides_the_levels_and_leaves_the_rest() -> None:
    plain, cooled = predict(packed(), ROWS), predict(packed(Calibrators(temperature=0.5)), ROWS)
    np.testing.assert_allclose(cooled[:, :3], softmax(np.log(plain[:, :3]) * 2, axis=1), rtol=1e-9)
    assert (cooled[:, 3:] == plain[:, 3:]).all()


@pytest.mark.parametrize("head", SPEND_HEADS)
def test_a_calibrated_p_buy_goes_into_orders_spend_and_its_quantiles(head: str) -> None:
    plain, found = (numbers_of(packed(given, spend_head=head)) for given in (None, Calibrators(p_buy=P_BUY)))
    np.testing.assert_allclose(found["p_buy"], np.interp(plain["p_buy"], P_BUY.x, P_BUY.y), rtol=1e-12)
    for name in ("expected_orders", "expected_spend_cents"):
        np.testing.assert_allclose(found[name] / found["p_buy"], plain[name] / plain["p_buy"], rtol=1e-5)
    low, median, high = (found[f"spend_cents_{name}"] for name in ("low", "median", "high"))
    assert (low <= median).all()
    assert (median <= high).all()
    for bound, share in zip((low, median, high), QUANTILES, strict=True):
        none_is_likelier = 1 - found["p_buy"] > share + 1e-9
        assert none_is_likelier.any() == (bound[none_is_likelier].size > 0)
        assert (bound[none_is_likelier] == 0).all()
        assert (bound[1 - found["p_buy"] < share - 1e-6] > 0).all()
    assert (median == 0).any()
    assert (median > 0).any()


def test_a_calibrated_spend_keeps_the_order_of_members_and_touches_nothing_else() -> None:
    plain, found = numbers_of(packed()), numbers_of(packed(Calibrators(spend_cents=SPEND)))
    before, after = (numbers.pop("expected_spend_cents") for numbers in (plain, found))
    assert (np.argsort(before) == np.argsort(after)).all()
    np.testing.assert_allclose(after[before < 2000], 1.5 * before[before < 2000], rtol=1e-12)
    for name, values in plain.items():
        assert (found[name] == values).all(), name


@pytest.mark.parametrize("head", SPEND_HEADS)
def test_where_nobody_buys_nothing_is_spent(head: str) -> None:
    found = numbers_of(packed(Calibrators(spend_cents=SPEND), some_bias=-1e4, spend_head=head))
    for name in NUMBERS:
        assert (found[name] == 0).all(), name


def test_damaged_calibrators_stop_the_predictor() -> None:
    model = packed()
    with pytest.raises(ArtefactError, match=r"calibrators.json is damaged"):
        predict(PackedModel(model.weights, model.spec_json, "{}"), ROWS)


ALONE_AND_TOGETHER = """
from memberlevel_spark.models.calibrators import Calibrators
from memberlevel_spark.scoring.predictor import predict
from tests.torch.test_calibrated_forecasts import P_BUY, ROWS, SPEND, packed

model = packed(Calibrators(1.3, P_BUY, SPEND))
together = predict(model, ROWS)
for number in (1, 7, 150):
    assert (predict(model, ROWS[:number]) == together[:number]).all(), number
    assert (predict(model, ROWS[-number:]) == together[-number:]).all(), number
"""


def test_a_row_is_calibrated_the_same_to_the_bit_whatever_rows_come_with_it() -> None:
    """In a process of its own, as a worker is."""
    subprocess.run([sys.executable, "-c", ALONE_AND_TOGETHER], check=True)
