"""From the array of features to what the heads read: the part of a network that differs between its kinds.

``linear`` bodies give the encoded features as they are. The others end in an MLP, and give what they read plainly
beside what they make of it: what is linear already (today's level, what is carried over) need not be learned, only
corrected. They read what the spec says: encoded features or their principal components, weekly tiles as a sequence, the
last events; without the encoded features there is today's level alone beside the sequences.

Shape legend: B rows of a batch, F features, H hidden units, M measures of the weekly tiles, W weeks.
"""

import torch
from torch import Tensor, nn

from memberlevel_spark.models.components import PrincipalComponents
from memberlevel_spark.models.events import EventEncoder
from memberlevel_spark.models.lane_dropout import LaneDropout
from memberlevel_spark.models.numeric_embeddings import NUM_UNITS, PeriodicEmbeddings
from memberlevel_spark.models.sequences import SequenceEncoder
from memberlevel_spark.models.spec import EVENTS, FEATURES, LINEAR, WEEKS, ModelSpec


class Body(nn.Module):
    """The array of features in, what the heads read out; ``width`` numbers of it."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._spec, reads = spec, spec.inputs
        num_measures, num_weeks = spec.weekly
        self.weeks = self.events = None
        if WEEKS in reads:
            self.weeks = SequenceEncoder(
                spec.week_encoder, num_measures, num_weeks, num_channels=spec.week_channels, dropout=spec.dropout
            )
        if EVENTS in reads:
            self.events = EventEncoder(spec)
        self._first_plain = 0 if FEATURES in reads else spec.num_encoded - spec.num_levels
        num_plain = spec.num_encoded - self._first_plain
        self.components = None
        if spec.components:
            self.components = PrincipalComponents(num_plain, spec.components)
            num_plain = spec.components
        width = num_plain + sum(part.width for part in (self.weeks, self.events) if part is not None)
        self.numbers = None
        if spec.periodic and spec.name not in LINEAR:
            self.numbers = PeriodicEmbeddings(num_plain, spec.periodic)
            width += num_plain * NUM_UNITS
        layers: list[nn.Module] = []
        for hidden in () if spec.name in LINEAR else spec.hidden:
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.SiLU(), LaneDropout(spec.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.width = num_plain + (width if layers else 0)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return [B, width]: what is read plainly, and after it what was made of everything."""
        plain_BF = features_BF[:, self._first_plain : self._spec.num_encoded]
        if self.components is not None:
            plain_BF = self.components(plain_BF)
        if not len(self.hidden):
            return plain_BF
        read = [plain_BF]
        if self.numbers is not None:
            read.append(self.numbers(plain_BF))
        if self.weeks is not None:
            weeks_BWM = self._weeks(features_BF)
            read.append(self.weeks(weeks_BWM, torch.ones_like(weeks_BWM[:, :, 0], dtype=torch.bool)))
        if self.events is not None:
            read.append(self.events(features_BF))
        return torch.cat([plain_BF, self.hidden(torch.cat(read, dim=1))], dim=1)

    def _weeks(self, features_BF: Tensor) -> Tensor:
        """The weekly tiles, oldest first [B, W, M]."""
        last = self._spec.num_encoded - self._spec.num_levels
        tiles_BMW = features_BF[:, last - self._spec.num_weekly : last].unflatten(1, self._spec.weekly)
        return tiles_BMW.flip(2).transpose(1, 2)
