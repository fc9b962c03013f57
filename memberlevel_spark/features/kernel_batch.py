"""What the features of a batch share: ends of windows, running sums, active days, each made once.

Shapes: T tiles, Q questions, C parts (weekdays or categories).
"""

from collections.abc import Callable, Sequence

import numpy as np

from memberlevel_spark.features import kernel_parts as parts
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.kernel_active import ActiveDays, Span
from memberlevel_spark.features.kernel_axes import STRETCH, Axes, Longs, Questions
from memberlevel_spark.features.kernel_ranges import Ends, remembered, running_sums


class Batch:
    """The axes, the questions, and what the features of one measure share."""

    def __init__(self, axes: Axes, asked: Questions) -> None:
        self.axes, self.asked = axes, asked
        self._tile_ends = Ends(axes.tiles.position_T, asked)
        self._category_ends = {name: Ends(axis.position_R, asked) for name, axis in axes.categories.items()}
        self._made: dict = {}  # series along the axes, of the measure in turn
        self._asked_for: dict = {}  # answers along the questions, of the measure in turn
        self._turn = ""

    def turn_to(self, feature: Feature) -> None:
        """Forget what was made for another measure."""
        if feature.measure != self._turn:
            self._turn, self._made, self._asked_for = feature.measure, {}, {}

    def sums(self, measures: Sequence[str], window_days: int | None, until_days: int = 0) -> Longs:
        """Sum of measures over ``(as_of - N, as_of - until]``, [Q]."""
        sums = [self._through(m, until_days) - self._through(m, window_days) for m in measures]
        return sums[0] if len(sums) == 1 else np.sum(sums, axis=0)

    def moments(self, measure: str, window_days: int) -> Longs:
        """Sum of measure x (day - as-of day) over the window, exact though its running sum wraps, [Q]."""
        running = remembered(self._made, ("moment", measure), lambda: self._running_moments(measure))
        ends = self._tile_ends
        moments_Q = running[ends.through(0)] - running[ends.through(window_days)]
        return np.asarray(moments_Q - self.asked.as_of_Q * self.sums((measure,), window_days))

    def active(self, measure: str) -> ActiveDays:
        """The active days of a measure."""
        tiles = self.axes.tiles
        return remembered(
            self._made, ("active", measure), lambda: ActiveDays(tiles.position_T, tiles.values_of(measure))
        )

    def span(self, measure: str, window_days: int | None) -> Span:
        """The active days of a measure in the window."""
        low_Q, high_Q = self._active_through(measure, window_days), self._active_through(measure, 0)
        return Span(self.active(measure), low_Q, high_Q, self.asked.position_Q)

    def weekdays(self, measure: str, window_days: int | None) -> Longs:
        """Positive values by weekday in the window, [Q, 7]."""
        tiles = self.axes.tiles
        return self._parts(
            ("weekday", measure),
            self._tile_ends,
            window_days,
            make=lambda: parts.running_parts(
                parts.weekday_of(tiles.position_T % STRETCH), tiles.values_of(measure), num_parts=parts.NUM_WEEKDAYS
            ),
        )

    def categories(self, name: str, window_days: int | None) -> Longs:
        """Positive values by category in the window, [Q, C]."""
        axis = self.axes.categories[name]
        return self._parts(
            ("category", name),
            self._category_ends[name],
            window_days,
            make=lambda: parts.running_parts(axis.category_R, axis.value_R, num_parts=axis.num_categories),
        )

    def _parts(self, key: tuple, ends: Ends, window_days: int | None, *, make: Callable[[], Longs]) -> Longs:
        running = remembered(self._made, key, make)
        # Wide: only the window in turn is kept.
        kept = self._asked_for.get("parts")
        if kept is None or kept[0] != (key, window_days):
            kept = (key, window_days), running[ends.through(0)] - running[ends.through(window_days)]
            self._asked_for["parts"] = kept
        return np.asarray(kept[1])

    def _through(self, measure: str, days_back: int | None) -> Longs:
        return remembered(
            self._asked_for,
            ("sum", measure, days_back),
            lambda: self._running(measure).take(self._tile_ends.through(days_back)),
        )

    def _active_through(self, measure: str, days_back: int | None) -> Longs:
        return remembered(
            self._asked_for,
            ("active", measure, days_back),
            lambda: self.active(measure).rank_T.take(self._tile_ends.through(days_back)),
        )

    def _running(self, measure: str) -> Longs:
        return remembered(self._made, ("sum", measure), lambda: running_sums(self.axes.tiles.values_of(measure)))

    def _running_moments(self, measure: str) -> Longs:
        tiles = self.axes.tiles
        return running_sums(tiles.position_T % STRETCH * tiles.values_of(measure))
