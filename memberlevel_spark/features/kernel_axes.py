"""What the window kernels read: the rows of a batch of members, laid one member after the other on one ascending axis.

Position on an axis = member index x STRETCH + day, days counted from 1970-01-01. One ``searchsorted`` on an axis
answers all members and all as-of dates of a batch together.
Shapes: T tiles, M measures, I item rows, R category rows, H holidays, Q questions (member, as-of date).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.errors import ConfigError, DataQualityError, first_five

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
# Days of one member's stretch of the axis; a power of two, so that a position splits by shift and mask.
STRETCH_BITS = 20
STRETCH = 1 << STRETCH_BITS
# The last day an axis takes (in the year 4707): a longest window before the first or after the last day of a member
# stays inside the member's own stretch, or in the empty end of the one before.
LAST_DAY = 1_000_000
# |value| of one tile, and what a member with larger ones may add up to: an order of a million millions is no reason to
# stop. Sums, trends and the limbs of squares then stay within int64 for MAX_WINDOW_DAYS.
MAX_VALUE = 1 << 40
MAX_TOTAL = 1 << 50
MAX_WINDOW_DAYS = 3660


@dataclass(frozen=True)
class TileAxis:
    """Daily tiles, at most one per member and day, ascending; values are exact integers, see ``MAX_VALUE``."""

    measures: tuple[str, ...]
    position_T: Longs
    values_MT: Longs

    @classmethod
    def of(cls, measures: tuple[str, ...], member_T: Longs, *, day_T: Longs, values_MT: Longs) -> "TileAxis":
        """Sort tiles given in any order.

        Errors: DataQualityError for two tiles of one member and day, a day off the axis, values beyond the cap.
        """
        position_T, order_T = ascending(member_T, day_T)
        twice = position_T[1:][position_T[1:] == position_T[:-1]]
        if twice.size:
            days = first_five(np.unique(twice % STRETCH).tolist())
            raise DataQualityError(
                f"a member has two tiles of one day: days {days} since 1970. Sum the events of a day into one tile."
            )
        for values_T in values_MT:
            _require_small(member_T, values_T)
        return cls(measures, position_T, np.ascontiguousarray(values_MT[:, order_T]))

    def values_of(self, measure: str) -> Longs:
        """One measure's values, [T]."""
        return np.asarray(self.values_MT[self.measures.index(measure)])


@dataclass(frozen=True)
class ItemAxis:
    """The days on which a member met an item, ascending, and the position at which the member meets it next."""

    position_I: Longs
    next_I: Longs

    @classmethod
    def of(cls, member_I: Longs, day_I: Longs, *, item_I: Longs) -> "ItemAxis":
        """Sort (member, day, item) rows given in any order; a row given twice counts once.

        An item never met again has its next meeting after every day of the axis.
        """
        position_I, order_I = ascending(member_I, day_I)
        by_item_I = np.lexsort((position_I, item_I[order_I], position_I >> STRETCH_BITS))
        sorted_I, items_I = position_I[by_item_I], item_I[order_I][by_item_I]
        same_member_I = (sorted_I[1:] >> STRETCH_BITS) == (sorted_I[:-1] >> STRETCH_BITS)
        again_I = np.append(same_member_I & (items_I[1:] == items_I[:-1]), False)[: sorted_I.size]
        next_I = np.empty_like(position_I)
        next_I[by_item_I] = np.where(again_I, np.roll(sorted_I, -1), (sorted_I | (STRETCH - 1)) - MAX_WINDOW_DAYS)
        return cls(position_I, next_I)


@dataclass(frozen=True)
class CategoryAxis:
    """A measure split by category (index 0 … C - 1, the last one for all others), ascending by member and day."""

    num_categories: int
    position_R: Longs
    category_R: Longs
    value_R: Longs

    @classmethod
    def of(
        cls, num_categories: int, member_R: Longs, *, day_R: Longs, category_R: Longs, value_R: Longs
    ) -> "CategoryAxis":
        """Sort rows given in any order; several rows of one member, day and category add up.

        Errors: DataQualityError for an index outside 0 … C - 1, a day off the axis, a value beyond the cap.
        """
        outside = category_R[(category_R < 0) | (category_R >= num_categories)]
        if outside.size:
            raise DataQualityError(
                f"category indices outside 0 to {num_categories - 1}: {first_five(np.unique(outside).tolist())}."
                " Give rare and unknown categories the last index."
            )
        _require_small(member_R, value_R)
        position_R, order_R = ascending(member_R, day_R)
        return cls(num_categories, position_R, category_R[order_R], value_R[order_R])


@dataclass(frozen=True)
class Axes:
    """Everything the features of a batch may be made of; item and category axes by the name features call them."""

    tiles: TileAxis
    items: Mapping[str, ItemAxis] = field(default_factory=dict)
    categories: Mapping[str, CategoryAxis] = field(default_factory=dict)
    holidays_H: Longs = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Questions:
    """The pairs of member index and as-of day that every feature is asked for."""

    member_Q: Longs
    as_of_Q: Longs

    def __post_init__(self) -> None:
        """Errors: ConfigError for an as-of day off the axis."""
        outside = _off_axis(self.as_of_Q)
        if outside:
            raise ConfigError(f"as-of days outside 0 to {LAST_DAY} since 1970: {outside}. Count days from 1970-01-01.")

    @cached_property
    def start_Q(self) -> Longs:
        """First position of each member's stretch."""
        return self.member_Q * STRETCH

    @cached_property
    def position_Q(self) -> Longs:
        """Position of each as-of date."""
        return self.start_Q + self.as_of_Q


def ascending(member_N: Longs, day_N: Longs) -> tuple[Longs, Longs]:
    """Positions in ascending order, and the stable order that sorts them.

    Errors: DataQualityError for a day off the axis.
    """
    outside = _off_axis(day_N)
    if outside:
        raise DataQualityError(
            f"days outside 0 to {LAST_DAY} since 1970: {outside}. Quarantine events with impossible dates."
        )
    position_N = member_N * STRETCH + day_N
    order_N = np.argsort(position_N, kind="stable")
    return position_N[order_N], order_N


def _off_axis(day_N: Longs) -> str:
    outside = day_N[(day_N < 0) | (day_N > LAST_DAY)]
    return first_five(np.unique(outside).tolist()) if outside.size else ""


def _require_small(member_N: Longs, value_N: Longs) -> None:
    size_N = np.abs(value_N.astype(np.float64))
    if size_N.size == 0 or size_N.max() <= MAX_VALUE:
        return
    totals = np.bincount(member_N, weights=size_N)[member_N]
    beyond = value_N[(size_N > MAX_VALUE) & (totals > MAX_TOTAL)]
    if beyond.size:
        raise DataQualityError(
            f"values of a day beyond {MAX_VALUE} add up to more than {MAX_TOTAL} for a member:"
            f" {first_five(np.unique(beyond).tolist())}. Check the unit of the source column, or quarantine the events."
        )
