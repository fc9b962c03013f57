"""What an encoder of events can learn before any outcome is known: three tasks that members' own events set.

``masked``: some events are hidden, and what they were is told from the others (as BERT does with words, Devlin et al.
2019). ``next``: each event is told from those before it (as GPT does). ``contrastive``: two stretches of one member's
events are told from stretches of others (CoLES, Babaev et al. 2022).

Shape legend: B rows of a batch, S events of a sequence oldest first, D numbers of an event, C channels, G rows that are
told from each other.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from memberlevel_spark.models.events import EVENT_CHANNELS, EventEncoder
from memberlevel_spark.models.lane_dropout import LaneDraws
from memberlevel_spark.models.spec import NUM_EVENT_INDICES, ModelSpec

Pretext = Literal["masked", "next", "contrastive"]
PRETEXTS: tuple[Pretext, ...] = ("masked", "next", "contrastive")

MASKED_SHARE = 0.15
# Where nothing may depend on chance, the newest event is hidden and every seventh before it.
_MASKED_EVERY = 7
_TYPE, _CATEGORY, _AMOUNT = 0, 1, NUM_EVENT_INDICES
# A stretch holds between a quarter and three quarters of a member's events.
_SHORTEST, _LONGEST = 0.25, 0.75
_TEMPERATURE = 0.1


class Guess(NamedTuple):
    """How wrong each row was told, in nats, and the share of its guesses that were right; 0 for rows without any."""

    loss_B: Tensor
    right_B: Tensor


class PretextNetwork(nn.Module):
    """An encoder of events with what a task needs besides; ``events`` is what is kept for later."""

    def __init__(self, spec: ModelSpec, task: Pretext, *, group_rows: int) -> None:
        """Build the network.

        Args:
            spec: a network that reads events.
            task: one of ``PRETEXTS``.
            group_rows: so many rows that follow each other are told from each other in the task ``contrastive``.
        """
        super().__init__()
        self._task, self._group_rows = task, group_rows
        self.events = EventEncoder(spec)
        self.draws = LaneDraws()
        if task == "contrastive":
            self.projected = nn.Linear(self.events.width, EVENT_CHANNELS)
        else:
            num_types, num_categories = spec.events[1], spec.events[2]
            if task == "masked":
                self.hidden_event_C = nn.Parameter(torch.zeros(EVENT_CHANNELS))
            self.types = nn.Linear(EVENT_CHANNELS, num_types)
            self.categories = nn.Linear(EVENT_CHANNELS, num_categories)
            self.amount = nn.Linear(EVENT_CHANNELS, 1)

    def forward(self, features_BF: Tensor) -> Guess:
        """Return the guesses of each row."""
        values_BSD = self.events.values(features_BF)
        steps_BSC, is_there_BS = self.events.embed(values_BSD)
        if self._task == "contrastive":
            return self._contrastive(steps_BSC, is_there_BS)
        if self._task == "masked":
            asked_BS = self._masked(is_there_BS)
            steps_BSC = torch.where(asked_BS[:, :, None], self.hidden_event_C, steps_BSC)
            return self._told(self.events.sequence.states(steps_BSC, is_there_BS), values_BSD, asked_BS)
        # The state of an event tells the event after it.
        states_BSC = self.events.sequence.states(steps_BSC, is_there_BS)[:, :-1]
        return self._told(states_BSC, values_BSD[:, 1:], is_there_BS[:, 1:] & is_there_BS[:, :-1])

    def _masked(self, is_there_BS: Tensor) -> Tensor:
        num_rows, num_steps = is_there_BS.shape
        if self.training:
            return is_there_BS & (self.draws(num_rows, num_steps, is_there_BS.device) < MASKED_SHARE)
        places_S = torch.arange(num_steps, device=is_there_BS.device)
        return is_there_BS & ((num_steps - 1 - places_S) % _MASKED_EVERY == 0)

    def _told(self, states_BSC: Tensor, values_BSD: Tensor, asked_BS: Tensor) -> Guess:
        """Type and category by their probability, the amount by its distance; a mean over the events asked for."""
        loss_BS, right_BS = torch.zeros_like(values_BSD[:, :, 0]), torch.ones_like(asked_BS)
        for place, head in ((_TYPE, self.types), (_CATEGORY, self.categories)):
            scores_BSK, truth_BS = head(states_BSC), values_BSD[:, :, place].long()
            loss_BS = loss_BS + functional.cross_entropy(scores_BSK.transpose(1, 2), truth_BS, reduction="none")
            right_BS = right_BS & (scores_BSK.argmax(dim=2) == truth_BS)
        loss_BS = loss_BS + (self.amount(states_BSC)[:, :, 0] - values_BSD[:, :, _AMOUNT]) ** 2
        num_asked_B = asked_BS.sum(dim=1).clamp(min=1)
        return Guess((loss_BS * asked_BS).sum(dim=1) / num_asked_B, (right_BS & asked_BS).sum(dim=1) / num_asked_B)

    def _contrastive(self, steps_BSC: Tensor, is_there_BS: Tensor) -> Guess:
        """Of each row, its second stretch is to be found among those of its group by its first, and the other way."""
        if self.training:
            draws = self.draws(len(steps_BSC), 4, steps_BSC.device).chunk(2, dim=1)
        else:
            # Two stretches at the same place would be told apart from others without any learning.
            draws = tuple(steps_BSC.new_full((len(steps_BSC), 2), at) for at in (0.0, 0.999))
        stretches = [stretch_of(is_there_BS, draws_B2) for draws_B2 in draws]
        known_B = is_there_BS.sum(dim=1) > 1
        loss_B, right_B = torch.zeros_like(steps_BSC[:, 0, 0]), torch.zeros_like(steps_BSC[:, 0, 0])
        first_BC, second_BC = (self._placed(steps_BSC, stretch_BS) for stretch_BS in stretches)
        for one_BC, other_BC in ((first_BC, second_BC), (second_BC, first_BC)):
            guess = _found(one_BC, other_BC, known_B, self._group_rows)
            loss_B, right_B = loss_B + guess.loss_B / 2, right_B + guess.right_B / 2
        return Guess(loss_B, right_B)

    def _placed(self, steps_BSC: Tensor, is_there_BS: Tensor) -> Tensor:
        """A stretch as a point on the unit sphere."""
        return functional.normalize(self.projected(self.events.sequence(steps_BSC, is_there_BS)), dim=1)


def stretch_of(is_there_BS: Tensor, draws_B2: Tensor) -> Tensor:
    """Which events lie in a stretch, whose length and place the draws in [0, 1) choose; none where there is none."""
    num_B1 = is_there_BS.sum(dim=1, keepdim=True)
    shares_B1 = _SHORTEST + draws_B2[:, :1] * (_LONGEST - _SHORTEST)
    length_B1 = (num_B1 * shares_B1).floor().clamp(min=1)
    start_B1 = (draws_B2[:, 1:] * (num_B1 - length_B1 + 1)).floor()
    number_BS = is_there_BS.cumsum(dim=1) - 1
    return is_there_BS & (number_BS >= start_B1) & (number_BS < start_B1 + length_B1)


def _found(one_BC: Tensor, other_BC: Tensor, known_B: Tensor, group_rows: int) -> Guess:
    """Which of its group's others belongs to each row; rows that are not known neither ask nor stand in the way."""
    one, other = (points.unflatten(0, (-1, group_rows)) for points in (one_BC, other_BC))
    near = one @ other.transpose(1, 2) / _TEMPERATURE
    near = near.masked_fill(~known_B.unflatten(0, (-1, 1, group_rows)), -math.inf)
    itself = torch.eye(group_rows, dtype=torch.bool, device=near.device)
    near = torch.where(itself, (one * other).sum(dim=2, keepdim=True) / _TEMPERATURE, near)
    log_p_own_B = functional.log_softmax(near, dim=2).diagonal(dim1=1, dim2=2).reshape(-1)
    places = torch.arange(group_rows, device=near.device)
    is_own_B = (near.argmax(dim=2) == places).reshape(-1)
    return Guess(-log_p_own_B * known_B, (is_own_B & known_B).to(log_p_own_B.dtype))
