"""From encoded features to what the heads read: the part of a network that differs between its kinds.

``linear`` bodies give the features as they are. The others end in an MLP, and give the features beside what they make
of them: what is linear already (today's level, what is carried over) need not be learned, only corrected. Bodies of
sequences read the weekly tiles oldest first and give the MLP what they found in them.

Shape legend: B rows of a batch, F features, H hidden units, M measures of the weekly tiles, W weeks, C channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from memberlevel_spark.models.lane_dropout import LaneDropout
from memberlevel_spark.models.spec import LINEAR, ModelSpec

NUM_CHANNELS = 48
_KERNEL_WEEKS = 3
_DILATIONS = (1, 2, 4)  # three layers see 15 weeks
_HEADS, _LAYERS = 4, 2


class Convolutions(nn.Module):
    """Dilated convolutions over the weeks; their mean over all weeks, and what they say of the newest."""

    width = 2 * NUM_CHANNELS

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = spec.weekly[0]
        for dilation in _DILATIONS:
            convolution = nn.Conv1d(channels, NUM_CHANNELS, _KERNEL_WEEKS, padding="same", dilation=dilation)
            layers += [convolution, nn.SiLU()]
            channels = NUM_CHANNELS
        self.layers = nn.Sequential(*layers)

    def forward(self, weekly_BWM: Tensor) -> Tensor:
        """Return [B, width]."""
        found_BCW = self.layers(weekly_BWM.transpose(1, 2))
        return torch.cat([found_BCW.mean(dim=2), found_BCW[:, :, -1]], dim=1)


class Recurrence(nn.Module):
    """An LSTM or GRU from the oldest week to the newest; its last state."""

    width = NUM_CHANNELS

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        kind = nn.LSTM if spec.name == "lstm" else nn.GRU
        self.layer = kind(spec.weekly[0], NUM_CHANNELS, batch_first=True)

    def forward(self, weekly_BWM: Tensor) -> Tensor:
        """Return [B, width]."""
        states_BWC, _ = self.layer(weekly_BWM)
        last_BC: Tensor = states_BWC[:, -1]
        return last_BC


class Transformer(nn.Module):
    """Self-attention between weeks, each with a learned place; the mean over the weeks."""

    width = NUM_CHANNELS

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        num_measures, num_weeks = spec.weekly
        self.embed = nn.Linear(num_measures, NUM_CHANNELS)
        self.place_WC = nn.Parameter(torch.randn(num_weeks, NUM_CHANNELS) / math.sqrt(NUM_CHANNELS))
        self.layers = nn.Sequential(*[_Attention(spec.dropout) for _ in range(_LAYERS)])
        self.norm = nn.LayerNorm(NUM_CHANNELS)

    def forward(self, weekly_BWM: Tensor) -> Tensor:
        """Return [B, width]."""
        found_BC: Tensor = self.norm(self.layers(self.embed(weekly_BWM) + self.place_WC)).mean(dim=1)
        return found_BC


class _Attention(nn.Module):
    """One layer: attention, then two linear maps, each added to what came in."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm, self.next_norm = nn.LayerNorm(NUM_CHANNELS), nn.LayerNorm(NUM_CHANNELS)
        self.queries_keys_values = nn.Linear(NUM_CHANNELS, 3 * NUM_CHANNELS)
        self.joined = nn.Linear(NUM_CHANNELS, NUM_CHANNELS)
        self.drop = LaneDropout(dropout)
        self.mixed = nn.Sequential(
            nn.Linear(NUM_CHANNELS, 2 * NUM_CHANNELS),
            nn.SiLU(),
            nn.Linear(2 * NUM_CHANNELS, NUM_CHANNELS),
            LaneDropout(dropout),
        )

    def forward(self, weeks_BWC: Tensor) -> Tensor:
        num_rows, num_weeks, _ = weeks_BWC.shape
        parts = self.queries_keys_values(self.norm(weeks_BWC)).view(num_rows, num_weeks, 3, _HEADS, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        weeks_BWC = weeks_BWC + self.drop(self.joined(attended.transpose(1, 2).reshape(weeks_BWC.shape)))
        mixed_BWC: Tensor = weeks_BWC + self.mixed(self.next_norm(weeks_BWC))
        return mixed_BWC


_SEQUENCES: dict[str, type[Convolutions] | type[Recurrence] | type[Transformer]] = {
    "cnn": Convolutions,
    "lstm": Recurrence,
    "gru": Recurrence,
    "transformer": Transformer,
}


class Body(nn.Module):
    """Encoded features in, what the heads read out; ``width`` numbers of it."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._num_weekly, self._weekly, self._num_levels = spec.num_weekly, spec.weekly, spec.num_levels
        self.sequence = _SEQUENCES[spec.name](spec) if spec.name in _SEQUENCES else None
        layers: list[nn.Module] = []
        width = spec.num_encoded + (self.sequence.width if self.sequence else 0)
        for hidden in () if spec.name in LINEAR else spec.hidden:
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.SiLU(), LaneDropout(spec.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.width = spec.num_encoded + (width if layers else 0)

    def forward(self, encoded_BF: Tensor) -> Tensor:
        """Return [B, width]: the features, and after them what was made of them."""
        if not len(self.hidden):
            return encoded_BF
        read_BF = encoded_BF
        if self.sequence is not None:
            read_BF = torch.cat([encoded_BF, self.sequence(self._oldest_first(encoded_BF))], dim=1)
        return torch.cat([encoded_BF, self.hidden(read_BF)], dim=1)

    def _oldest_first(self, encoded_BF: Tensor) -> Tensor:
        """The weekly tiles [B, W, M]."""
        last = encoded_BF.shape[1] - self._num_levels
        tiles_BMW = encoded_BF[:, last - self._num_weekly : last].unflatten(1, self._weekly)
        return tiles_BMW.flip(2).transpose(1, 2)
