"""An encoder of events that was trained before, taken over into a network that learns outcomes."""

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.models.bodies import Body

WEIGHTS = "model.safetensors"
_EVENTS = "events."


def take_over_events(network: nn.Module, run_dir: Path, *, frozen: bool) -> None:
    """Give a network the encoder of events that a pretraining left in its run folder; frozen, it learns no more.

    Raises:
        ArtefactError: no finished pretraining there, or one of another encoder.
    """
    body = network.body
    assert isinstance(body, Body) and body.events is not None
    weights = {name.removeprefix(_EVENTS): w for name, w in _read(run_dir).items() if name.startswith(_EVENTS)}
    try:
        body.events.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtefactError(f"{run_dir} holds another encoder of events: {reason}. Pretrain again.") from error
    body.events.requires_grad_(not frozen)


def _read(run_dir: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(run_dir / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{run_dir} holds no finished pretraining: {error}. Pretrain again.") from error
