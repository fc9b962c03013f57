"""A member's last events, from the numbers at the end of the array of features to what the heads read.

In: of each event, newest first, indices (0 is padding) of its type, category, channel, product bucket, hour and
weekday, and three numbers: amount, gap to the event before, age. Out: a state per event, oldest first; or a summary.

Shape legend: B rows of a batch, S events of a sequence, D numbers of an event, C channels.
"""

import torch
from torch import Tensor, nn

from memberlevel_spark.models.sequences import SequenceEncoder
from memberlevel_spark.models.spec import NUM_EVENT_INDICES, NUM_EVENT_NUMBERS, ModelSpec

EVENT_CHANNELS = 48
# A product has hundreds of numbers, an hour two dozen; all are added up, so that none may outweigh the others.
_SCALE = NUM_EVENT_INDICES**-0.5


class EventEncoder(nn.Module):
    """Embeds every event, and encodes their order."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._num_values, self._num_steps = spec.num_event_values, spec.events[0]
        self.embeddings = nn.ModuleList(nn.Embedding(size, EVENT_CHANNELS, padding_idx=0) for size in spec.events[1:])
        self.numbers = nn.Linear(NUM_EVENT_NUMBERS, EVENT_CHANNELS)
        self.norm = nn.LayerNorm(EVENT_CHANNELS)
        self.sequence = SequenceEncoder(
            spec.event_encoder,
            EVENT_CHANNELS,
            self._num_steps,
            num_channels=EVENT_CHANNELS,
            dropout=spec.dropout,
            causal=spec.causal,
        )
        self.width = self.sequence.width
        for embedding in self.embeddings:
            with torch.no_grad():
                embedding.weight *= _SCALE

    def values(self, features_BF: Tensor) -> Tensor:
        """Return the events of each row, oldest first, as they were written, [B, S, D]."""
        values_BSD = features_BF[:, -self._num_values :].unflatten(1, (-1, self._num_steps)).transpose(1, 2)
        return values_BSD.flip(1)

    def embed(self, values_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return each event's embedding [B, S, C] and whether there is an event [B, S]."""
        indices_BSD = values_BSD[:, :, :NUM_EVENT_INDICES].long()
        steps_BSC = self.numbers(values_BSD[:, :, NUM_EVENT_INDICES:])
        for place, embedding in enumerate(self.embeddings):
            steps_BSC = steps_BSC + embedding(indices_BSD[:, :, place])
        return self.norm(steps_BSC), indices_BSD[:, :, 0] > 0

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return [B, width]."""
        summary_BC: Tensor = self.sequence(*self.embed(self.values(features_BF)))
        return summary_BC
