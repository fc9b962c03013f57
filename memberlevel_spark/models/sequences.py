"""Encoders of sequences, oldest step first: what each step means in its place, and two summaries of the whole.

In: steps of a fixed length with, where some may be missing, which of them are there. Out: a state per step; or the mean
of the states that are there beside the newest of them, both 0 for a sequence without any step.

Shape legend: B rows of a batch, S steps, I inputs of a step, C channels, A heads of attention.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from memberlevel_spark.models.lane_dropout import LaneDropout

_KERNEL_STEPS = 3
_DILATIONS = (1, 2, 4)  # three layers see 15 steps
_HEADS, _LAYERS = 4, 2


class Convolutions(nn.Module):
    """Dilated convolutions; a causal one sees no later step."""

    def __init__(self, num_inputs: int, num_channels: int, *, causal: bool) -> None:
        super().__init__()
        self._causal = causal
        widths = (num_inputs, *[num_channels] * len(_DILATIONS))
        self.layers = nn.ModuleList(
            nn.Conv1d(given, num_channels, _KERNEL_STEPS, dilation=dilation)
            for given, dilation in zip(widths, _DILATIONS, strict=False)
        )

    def forward(self, steps_BSI: Tensor, is_there_BS: Tensor) -> Tensor:
        """Return [B, S, C]."""
        found_BCS = steps_BSI.transpose(1, 2)
        for dilation, layer in zip(_DILATIONS, self.layers, strict=True):
            reach = dilation * (_KERNEL_STEPS - 1)
            before = reach if self._causal else reach // 2
            found_BCS = functional.silu(layer(functional.pad(found_BCS, (before, reach - before))))
        return found_BCS.transpose(1, 2)


class Recurrence(nn.Module):
    """An LSTM or GRU from the oldest step to the newest."""

    def __init__(self, num_inputs: int, num_channels: int, *, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(num_inputs, num_channels, batch_first=True)

    def forward(self, steps_BSI: Tensor, is_there_BS: Tensor) -> Tensor:
        """Return [B, S, C]."""
        states_BSC: Tensor = self.layer(steps_BSI)[0]
        return states_BSC


class Transformer(nn.Module):
    """Self-attention between the steps that are there, each with a learned place; causal: to earlier steps only."""

    def __init__(self, num_inputs: int, num_steps: int, num_channels: int, *, dropout: float, causal: bool) -> None:
        super().__init__()
        self._causal = causal
        self.embed = nn.Linear(num_inputs, num_channels)
        self.place_SC = nn.Parameter(torch.randn(num_steps, num_channels) / math.sqrt(num_channels))
        self.layers = nn.ModuleList(_Attention(num_channels, dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(num_channels)

    def forward(self, steps_BSI: Tensor, is_there_BS: Tensor) -> Tensor:
        """Return [B, S, C]."""
        num_steps = steps_BSI.shape[1]
        itself_SS = torch.eye(num_steps, dtype=torch.bool, device=steps_BSI.device)
        earlier_SS = torch.ones_like(itself_SS).tril() if self._causal else torch.ones_like(itself_SS)
        # A step that is not there sees itself: a row without any step would be divided by nothing.
        sees_BSS = (is_there_BS[:, None, :] & earlier_SS) | itself_SS
        states_BSC = self.embed(steps_BSI) + self.place_SC
        for layer in self.layers:
            states_BSC = layer(states_BSC, sees_BSS[:, None])
        found_BSC: Tensor = self.norm(states_BSC)
        return found_BSC


class _Attention(nn.Module):
    """One layer: attention, then two linear maps, each added to what came in."""

    def __init__(self, num_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.next_norm = nn.LayerNorm(num_channels), nn.LayerNorm(num_channels)
        self.queries_keys_values = nn.Linear(num_channels, 3 * num_channels)
        self.joined = nn.Linear(num_channels, num_channels)
        self.drop = LaneDropout(dropout)
        self.mixed = nn.Sequential(
            nn.Linear(num_channels, 2 * num_channels),
            nn.SiLU(),
            nn.Linear(2 * num_channels, num_channels),
            LaneDropout(dropout),
        )

    def forward(self, steps_BSC: Tensor, sees_B1SS: Tensor) -> Tensor:
        num_rows, num_steps, _ = steps_BSC.shape
        parts = self.queries_keys_values(self.norm(steps_BSC)).view(num_rows, num_steps, 3, _HEADS, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attended_BASC = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=sees_B1SS)
        steps_BSC = steps_BSC + self.drop(self.joined(attended_BASC.transpose(1, 2).reshape(steps_BSC.shape)))
        mixed_BSC: Tensor = steps_BSC + self.mixed(self.next_norm(steps_BSC))
        return mixed_BSC


class SequenceEncoder(nn.Module):
    """One of the encoders by its name, and the summary of its states."""

    def __init__(
        self,
        name: str,
        num_inputs: int,
        num_steps: int,
        *,
        num_channels: int,
        dropout: float,
        causal: bool = False,
    ) -> None:
        """Build the encoder.

        Args:
            name: ``cnn``, ``lstm``, ``gru`` or ``transformer``.
            num_inputs: numbers of a step.
            num_steps: steps of a sequence, those that are missing included.
            num_channels: numbers of a state; a multiple of 4 for the transformer's heads.
            dropout: share of values dropped in training, where the encoder has dropout.
            causal: whether a state may depend on earlier steps only; the recurrent ones always do.
        """
        super().__init__()
        self.width = 2 * num_channels
        self.encoder: nn.Module
        if name == "cnn":
            self.encoder = Convolutions(num_inputs, num_channels, causal=causal)
        elif name == "transformer":
            self.encoder = Transformer(num_inputs, num_steps, num_channels, dropout=dropout, causal=causal)
        else:
            self.encoder = Recurrence(num_inputs, num_channels, kind=nn.LSTM if name == "lstm" else nn.GRU)

    def states(self, steps_BSI: Tensor, is_there_BS: Tensor) -> Tensor:
        """Return a state per step, [B, S, C]; what is read where no step is there means nothing."""
        found_BSC: Tensor = self.encoder(steps_BSI * is_there_BS[:, :, None], is_there_BS)
        return found_BSC

    def forward(self, steps_BSI: Tensor, is_there_BS: Tensor) -> Tensor:
        """Return [B, width]: the mean of the states that are there, and the newest of them."""
        there_BS1 = is_there_BS[:, :, None].to(steps_BSI.dtype)
        states_BSC = self.states(steps_BSI, is_there_BS) * there_BS1
        mean_BC = states_BSC.sum(dim=1) / there_BS1.sum(dim=1).clamp(min=1)
        places_S = torch.arange(is_there_BS.shape[1], device=is_there_BS.device)
        newest_B = (is_there_BS * places_S).argmax(dim=1)
        newest_BC = states_BSC[torch.arange(len(newest_B), device=newest_B.device), newest_B]
        return torch.cat([mean_BC, newest_BC], dim=1)
