"""The predictor: forecasts from encoded features, the same function on the driver and in Spark workers.

Shapes: N rows, F features, K levels, C next categories (none where they are not told), B rows of a block.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import memberlevel_spark.models.reproducible  # noqa: F401  (a row's score must not depend on the rows beside it)
from memberlevel_spark.models.calibrators import CALIBRATORS, Calibrators
from memberlevel_spark.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from memberlevel_spark.models.networks import Outlook

# What a forecast holds after the probability of each level; quantiles of the spend count members without orders too.
NUMBERS = (
    "p_buy",
    "expected_orders",
    "expected_spend_cents",
    "spend_cents_low",
    "spend_cents_median",
    "spend_cents_high",
)
# What follows them where a model tells the next category.
P_CATEGORY = "p_category"
QUANTILES = (0.1, 0.5, 0.9)
# Rows per forward pass: larger blocks fall out of the processor's cache.
BLOCK_ROWS = 1024
# Rows that are explained at once: each passes the network as many times as the integral has points.
EXPLAINED_ROWS = 128


@dataclass(frozen=True)
class PackedModel:
    """A network and its calibrators, small enough to travel with the task, so that executors need no shared disk."""

    weights: bytes
    spec_json: str
    calibrators_json: str = Calibrators().to_json()

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "PackedModel":
        """From the files of a bundle or of a training run; without a file of calibrators nothing is calibrated."""
        model = cls(files["model.safetensors"], files["model.json"].decode("utf-8"))
        return replace(model, calibrators_json=files[CALIBRATORS].decode("utf-8")) if CALIBRATORS in files else model

    @classmethod
    def holding(cls, network: "nn.Module", spec: ModelSpec) -> "PackedModel":
        """From a network and what it is built from."""
        from safetensors.torch import save

        return cls(save(network.state_dict()), json.dumps(spec.to_dict(), indent=2) + "\n")

    @property
    def spec(self) -> ModelSpec:
        """What the network is built from."""
        return ModelSpec.from_dict(json.loads(self.spec_json))


@lru_cache(maxsize=4)
def load_network(model: PackedModel) -> "nn.Module":
    """The network in evaluation mode, loaded once per process and model."""
    import torch
    from safetensors.torch import load

    from memberlevel_spark.models.networks import build_network

    torch.set_num_threads(1)
    network = build_network(model.spec)
    network.load_state_dict(load(model.weights))
    return network.eval().requires_grad_(False)


@lru_cache(maxsize=4)
def load_event_encoder(model: PackedModel) -> "nn.Module":
    """The encoder of events of a pretraining in evaluation mode, loaded once per process and model."""
    import torch
    from safetensors.torch import load

    from memberlevel_spark.models.events import EventEncoder

    torch.set_num_threads(1)
    encoder, own = EventEncoder(model.spec), "events."
    weights = {name.removeprefix(own): w for name, w in load(model.weights).items() if name.startswith(own)}
    encoder.load_state_dict(weights)
    return encoder.eval()


def predict(model: PackedModel, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """Forecasts [N, K + len(NUMBERS) + C] in double precision: P(level = k), which sum to 1, then ``NUMBERS``, then
    P(the first order's category | an order), which sum to 1.

    They agree with each other: ``p_buy`` is 1 − P(no order), and number and spend are 0 without an order. What
    calibrates ``p_buy`` goes into orders and spend too; what calibrates the expected spend leaves its quantiles.
    A row's result is the same to the bit whichever rows come with it: every block has the same shape, on which the
    order depends in which a product is summed up.

    Errors: ArtefactError when the calibrators are damaged.
    """
    network, calibrators = load_network(model), Calibrators.from_json(model.calibrators_json)
    return _in_blocks(lambda block_BF: _forecast(network(block_BF), calibrators), features_NF)


def predict_levels(model: PackedModel, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """P(level = k) alone [N, K], as ``predict`` gives them, at a fraction of its cost."""
    network, calibrators = load_network(model), Calibrators.from_json(model.calibrators_json)
    return _in_blocks(lambda block_BF: _p_level(network(block_BF), calibrators), features_NF)


class Attributed(NamedTuple):
    """``models/attributions.py``'s result for N rows, in double precision."""

    chance_NO: NDArray[np.float64]
    typical_NO: NDArray[np.float64]
    needs_NO: NDArray[np.float64]
    parts_NOP: NDArray[np.float64]
    events_NO: NDArray[np.float64]
    unexplained_NO: NDArray[np.float64]


def attributions(
    model: PackedModel,
    features_NF: NDArray[np.float32],
    level_now_N: NDArray[np.int64],
    typical_KX: NDArray[np.float32],
    *,
    num_steps: int,
) -> Attributed:
    """Why the network gives each row its chances; the same whichever rows come with it. N is at least 1."""
    import torch

    from memberlevel_spark.models.attributions import attribute

    network, typical, blocks = load_network(model), torch.from_numpy(typical_KX), []
    num_encoded = model.spec.num_encoded
    for start in range(0, len(features_NF), EXPLAINED_ROWS):
        block_BF = torch.from_numpy(_full_block(features_NF[start : start + EXPLAINED_ROWS], EXPLAINED_ROWS))
        levels_B = torch.zeros(EXPLAINED_ROWS, dtype=torch.long)
        given = torch.from_numpy(level_now_N[start : start + EXPLAINED_ROWS])
        levels_B[: len(given)] = given
        found = attribute(network, block_BF, levels_B, typical, num_encoded=num_encoded, num_steps=num_steps)
        blocks.append([part[: len(given)].double().numpy() for part in found])
    return Attributed(*[np.concatenate(parts) for parts in zip(*blocks, strict=True)])


def embed(model: PackedModel, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a pretrained encoder of events makes of each row, [N, width]; the same whichever rows come with it."""
    encoder = load_event_encoder(model)
    return _in_blocks(encoder, features_NF).astype(np.float32)


def _in_blocks(network: "Callable[[Tensor], Tensor]", features_NF: NDArray[np.float32]) -> NDArray[Any]:
    import torch

    blocks = []
    with torch.inference_mode():
        for start in range(0, len(features_NF), BLOCK_ROWS):
            given = features_NF[start : start + BLOCK_ROWS]
            blocks.append(network(torch.from_numpy(_full_block(given, BLOCK_ROWS)))[: len(given)].numpy())
    return np.concatenate(blocks) if blocks else np.empty((0, 0))


def _full_block(given_NF: NDArray[np.float32], num_rows: int) -> NDArray[np.float32]:
    """The rows, and rows of 0 up to the number."""
    full = np.zeros((num_rows, given_NF.shape[1]), dtype=np.float32)
    full[: len(given_NF)] = given_NF
    return full


def _forecast(outlook: "Outlook", calibrators: Calibrators) -> "Tensor":
    """The numbers of a block, [BLOCK_ROWS, K + len(NUMBERS) + C]."""
    import torch

    outlook = _with_p_buy(outlook, calibrators)
    expected_spend_B = calibrators.calibrated_spend(outlook.spend.mean().double().numpy())
    numbers = [
        -torch.expm1(outlook.log_p_none_B.double()),
        outlook.orders.mean(),
        torch.from_numpy(expected_spend_B),
        *outlook.spend.quantiles(QUANTILES).unbind(dim=1),
    ]
    numbers_BX = torch.stack([number.double() for number in numbers], dim=1)
    parts = [_p_level(outlook, calibrators), numbers_BX]
    if outlook.log_p_category_BC is not None:
        parts.append(torch.softmax(outlook.log_p_category_BC.double(), dim=1))
    return torch.cat(parts, dim=1)


def _p_level(outlook: "Outlook", calibrators: Calibrators) -> "Tensor":
    """P(level = k) [B, K]."""
    import torch

    return torch.softmax(outlook.log_p_level_BK.double() / calibrators.temperature, dim=1)


def _with_p_buy(outlook: "Outlook", calibrators: Calibrators) -> "Outlook":
    """The outlook with the calibrated P(order), in orders and spend alike."""
    import torch

    if calibrators.p_buy is None:
        return outlook
    p_buy_B = -torch.expm1(outlook.log_p_none_B.double())
    p_buy_B = torch.from_numpy(calibrators.calibrated_p_buy(p_buy_B.numpy()))
    return outlook._replace(
        log_p_none_B=torch.log1p(-p_buy_B),
        orders=outlook.orders._replace(log_p_some_B=p_buy_B.log()),
        spend=outlook.spend._replace(log_p_some_B=p_buy_B.log()),
    )
