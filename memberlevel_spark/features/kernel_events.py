"""The last events of each member before each as-of date, newest first, for all questions at once.

Every member's events are laid out newest first with ``length`` zeros behind them. The events of a question are then one
stretch of that line, and one strided copy answers all questions; nothing is looped over.
Shapes: E events, M members, Q questions (member, as-of date), L elements of a sequence.
"""

import numpy as np

from memberlevel_spark.features.kernel_axes import STRETCH_BITS, Longs, Questions, ascending


class RecentEvents:
    """Where the last ``length`` events of every question lie.

    ``num_Q`` is how many there are, at most ``length``. Events are given in the order of members and, within a day of a
    member, in the order in which they happened; days may come in any order. A member whose events were capped must
    still have the last ``length + 1`` of each as-of date: the gap of the oldest one shown needs the one before it.
    """

    def __init__(self, asked: Questions, member_E: Longs, *, day_E: Longs, num_members: int, length: int) -> None:
        position_E, self._order_E = ascending(member_E, day_E)
        self._length, self._member_E = length, position_E >> STRETCH_BITS
        count_M = np.bincount(self._member_E, minlength=num_members)
        through_M = np.cumsum(count_M)
        block_M = through_M - count_M + np.arange(num_members) * length
        rank_E = through_M[self._member_E] - 1 - np.arange(position_E.size)
        self._slot_E = block_M[self._member_E] + rank_E
        self._num_slots = position_E.size + num_members * length
        through_Q = np.searchsorted(position_E, asked.position_Q, side="right")
        after_Q = through_M[asked.member_Q] - through_Q
        self._start_Q = block_M[asked.member_Q] + after_Q
        self.num_Q: Longs = np.minimum(count_M[asked.member_Q] - after_Q, length)

    def values(self, values_E: np.ndarray) -> np.ndarray:
        """The values of the events of each question, newest first, 0 where there is no event, [Q, L]."""
        return self._laid(values_E[self._order_E])

    def gap_seconds(self, second_E: Longs) -> Longs:
        """Seconds since the member's event before each; 0 for a member's first one and where there is none, [Q, L]."""
        ordered_E = second_E[self._order_E]
        gap_E = np.diff(ordered_E, prepend=ordered_E[:1])
        return self._laid(np.where(np.diff(self._member_E, prepend=-1) == 0, gap_E, 0))

    def age_seconds(self, second_E: Longs, end_Q: Longs) -> Longs:
        """Seconds from each event to the end of the as-of date; 0 where there is no event, [Q, L]."""
        is_event_QL = np.arange(self._length) < self.num_Q[:, None]
        return np.where(is_event_QL, end_Q[:, None] - self.values(second_E), 0)

    def _laid(self, ordered_E: np.ndarray) -> np.ndarray:
        line = np.zeros(self._num_slots, dtype=ordered_E.dtype)
        line[self._slot_E] = ordered_E
        if not self._start_Q.size:
            return np.zeros((0, self._length), dtype=line.dtype)
        return np.lib.stride_tricks.sliding_window_view(line, self._length)[self._start_Q]
