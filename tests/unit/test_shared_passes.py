"""Members who are asked for at the same time share a pass of the network, and each gets their own forecast."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.serving import shared_passes
from memberlevel_spark.serving.shared_passes import SharedPasses

ONE, OTHER = PackedModel(b"1", "{}"), PackedModel(b"2", "{}")


class Network:
    """In the place of ``predict``: tells each row its own number and the model's; the first pass waits to be let go."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, model: PackedModel, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        self.passes.append(len(features_NF))
        self.begun.set()
        assert self.may_end.wait(10)
        if (features_NF < 0).any():
            raise ValueError("a broken row")
        return np.stack([features_NF[:, 0], np.full(len(features_NF), float(model.weights))], axis=1).astype(np.float64)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(shared_passes, "predict", network)
    return network


def row(number: float) -> NDArray[np.float32]:
    return np.array([[number, 0.0]], dtype=np.float32)


def asked_while_the_first_is_answered(network: Network, others: list[tuple[PackedModel, float]]) -> list[list[float]]:
    """One row begins a pass alone; the others come while it runs. The answers to the others, in their order."""
    passes = SharedPasses()
    with ThreadPoolExecutor(len(others) + 1) as pool:
        first = pool.submit(passes.predict, ONE, row(100.0))
        assert network.begun.wait(10)
        later = [pool.submit(passes.predict, model, row(number)) for model, number in others]
        while len(passes._waiting) < len(others):
            threading.Event().wait(0.001)
        network.may_end.set()
        assert first.result(10).tolist() == [[100.0, 1.0]]
        return [future.result(10)[0].tolist() for future in later]


def test_those_who_wait_share_the_next_pass(network: Network):
    answers = asked_while_the_first_is_answered(network, [(ONE, float(number)) for number in range(7)])
    assert answers == [[float(number), 1.0] for number in range(7)]
    assert network.passes == [1, 7]


def test_each_model_has_a_pass_of_its_own(network: Network):
    answers = asked_while_the_first_is_answered(network, [(ONE, 1.0), (OTHER, 2.0), (ONE, 3.0)])
    assert answers == [[1.0, 1.0], [2.0, 2.0], [3.0, 1.0]]
    assert sorted(network.passes[1:]) == [1, 2]


def test_a_pass_that_fails_is_told_to_all_who_shared_it_and_the_next_one_goes_on(network: Network):
    network.may_end.set()
    passes = SharedPasses()
    with pytest.raises(ValueError, match="a broken row"):
        passes.predict(ONE, row(-1.0))
    assert passes.predict(ONE, row(5.0)).tolist() == [[5.0, 1.0]]


def test_more_rows_than_a_block_holds_wait_for_the_pass_after_it(network: Network, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_passes, "BLOCK_ROWS", 3)
    answers = asked_while_the_first_is_answered(network, [(ONE, float(number)) for number in range(7)])
    assert answers == [[float(number), 1.0] for number in range(7)]
    assert network.passes == [1, 3, 3, 1]
