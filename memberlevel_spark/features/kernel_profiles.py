"""Which row of a member's profile history was valid, and known, on each as-of date, for all questions at once.

Shapes: P profile rows, Q questions (member, as-of date).
"""

import numpy as np

from memberlevel_spark.features.kernel_axes import LAST_DAY, STRETCH, Longs, Questions

NOBODY = -1


def valid_row(asked: Questions, member_P: Longs, *, from_P: Longs, until_P: Longs, known_P: Longs) -> Longs:
    """The row with ``from <= as_of < until`` and ``known <= as_of`` of each question, ``NOBODY`` where none is, [Q].

    Rows come in any order. Where several are valid at once the one that began last counts, so a row that holds for a
    while takes over from a longer one and gives way to it again. A row that ends where the member's next one begins
    ends no sooner than that one is known.
    """
    if not member_P.size:
        return np.full(asked.member_Q.size, NOBODY, dtype=np.int64)
    order_P = np.lexsort((from_P, member_P))
    position_P = (member_P * STRETCH + np.clip(from_P, 0, LAST_DAY))[order_P]
    from_P, until_P, known_P = from_P[order_P], until_P[order_P], known_P[order_P]
    followed_P = np.zeros(until_P.size, dtype=bool)
    followed_P[:-1] = (np.diff(member_P[order_P]) == 0) & (until_P[:-1] == from_P[1:])
    until_P = np.where(followed_P, np.maximum(until_P, np.roll(known_P, -1)), until_P)
    first_Q = np.searchsorted(position_P, asked.start_Q, side="left")
    place_Q = np.searchsorted(position_P, asked.position_Q, side="right") - 1
    while True:
        # One step back for all whose row is over or not known yet; histories are short.
        over_Q = (place_Q >= first_Q) & ((until_P[place_Q] <= asked.as_of_Q) | (known_P[place_Q] > asked.as_of_Q))
        if not over_Q.any():
            return np.where(place_Q >= first_Q, order_P[place_Q], NOBODY)
        place_Q = place_Q - over_Q
