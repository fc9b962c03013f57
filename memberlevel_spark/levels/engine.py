"""The level engine: the laws of ``README.md`` for a batch of members at once, day after day, in numpy.

Shapes: M members, K levels, X metrics, D days of the axis, A manual assignments (of all members).
Days are numbers (days since 1970-01-01).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.levels.calendar import Bools, Longs, ProgrammeCalendar
from memberlevel_spark.levels.rules import LevelRules

NEVER = np.iinfo(np.int64).min // 2
OPEN_END = np.iinfo(np.int64).max
POINTS = "points"


@dataclass(frozen=True)
class Metrics:
    """Running sums of every metric by day; row 0 is before ``first_day``. Sums are exact integers."""

    first_day: int
    running_XDM: Longs

    @classmethod
    def of(cls, days: tuple[int, int], num_members: int, member_T: Longs, day_T: Longs, values_XT: Longs) -> "Metrics":
        """From tiles in any order, several of one day allowed; ``days`` are the first and last of the axis."""
        first, last = days
        inside = (day_T >= first) & (day_T <= last)
        row_T, column_T = day_T[inside] - first + 1, member_T[inside]
        running = np.zeros((len(values_XT), max(last - first + 2, 1), num_members), dtype=np.int64)
        for by_day, values_T in zip(running, values_XT, strict=True):
            np.add.at(by_day, (row_T, column_T), values_T[inside])
        return cls(first, np.cumsum(running, axis=1, out=running))

    def sums(self, metric: int, start: int | Longs, through: int) -> Longs:
        """Sum of a metric over the days from ``start`` through ``through``, [M]; 0 when there are none."""
        by_day = self.running_XDM[metric]
        high = self._row(through + 1)
        if np.ndim(start) == 0:
            before = by_day[min(self._row(int(start)), high)]
        else:
            low_M = np.clip(start - self.first_day, 0, high)
            before = np.take_along_axis(by_day, low_M[None, :], axis=0)[0]
        return np.asarray(by_day[high] - before)

    def _row(self, day: int) -> int:
        # Numpy takes a hundred times as long for one number, and a batch may hold one member only.
        return min(max(day - self.first_day, 0), self.running_XDM.shape[1] - 1)


@dataclass(frozen=True)
class Assignments:
    """Levels given by hand, sorted so that of several that hold the last one counts; ``until`` is exclusive."""

    member_A: Longs
    first_A: Longs
    until_A: Longs
    level_A: Longs
    exactly: bool

    @classmethod
    def of(cls, rows: tuple[Longs, Longs, Longs, Longs], *, exactly: bool) -> "Assignments":
        """From member, first day, day until which and level, in any order."""
        order = np.lexsort((rows[3], rows[1]))
        member, first, until, level = (column[order] for column in rows)
        return cls(member, first, until, level, exactly)

    def shown(self, own_M: Longs, day: int, *, begun_by: int | None = None) -> Longs:
        """The level shown on a day, as far as assignments had begun by a day (None: by that day)."""
        if not self.member_A.size:
            return own_M
        holds = (self.first_A <= (day if begun_by is None else begun_by)) & (day < self.until_A)
        given_M = np.full_like(own_M, -1)
        given_M[self.member_A[holds]] = self.level_A[holds]  # numpy keeps the last of several
        given_M = given_M if self.exactly else np.maximum(given_M, own_M)
        return np.where(given_M >= 0, given_M, own_M)


class Earning:
    """What a batch of members has earned so far; ``see`` is called with every day in order."""

    def __init__(self, rules: LevelRules, calendar: ProgrammeCalendar, metrics: Metrics, known_M: Longs) -> None:
        self.rules, self.calendar, self.metrics, self.known_M = rules, calendar, metrics, known_M
        self.earned_KM = np.full((rules.num_levels - 1, known_M.size), NEVER)  # levels from 1: earned through

    def see(self, day: int, *, known_through: int | None = None) -> None:
        """Take one day into account, with tiles up to ``known_through`` only (None: all)."""
        reached_KM = self._reached(self.values(day, known_through)) & (self.known_M <= day)
        # A level that is reached again is earned longer: the calendar never goes back.
        np.copyto(self.earned_KM, self.calendar.earned_through(day), where=reached_KM)

    def values(self, day: int, known_through: int | None = None) -> Longs:
        """Every metric over the window that ends on a day, [X, M]."""
        start = self.calendar.window_start(day)
        through = day if known_through is None else min(day, known_through)
        expire_days = self.rules.config.earn.expire_days
        sums = []
        for number, name in enumerate(self.rules.metrics):
            expires = name == POINTS and expire_days is not None
            first = np.maximum(start, day - (expire_days or 0) + 1) if expires else start
            sums.append(self.metrics.sums(number, first, through))
        return np.stack(sums)

    def step(self, own_M: Longs, day: int) -> Longs:
        """The own level at the end of a day, from that of the day before; 0 for members not known yet."""
        config = self.rules.config
        earned = (self.earned_KM >= day).sum(axis=0)
        secure = (self.earned_KM + config.grace_days >= day).sum(axis=0)
        review = self.calendar.is_review(day)
        rises = (earned > own_M) & (review if config.upgrade == "at_review" else True)
        falls = (secure < own_M) & review
        lowest = np.maximum(secure, own_M - 1) if config.soft_landing else secure
        return np.where(rises, earned, np.where(falls, lowest, own_M))

    def copy(self) -> "Earning":
        """The same state, to be led on separately."""
        twin = Earning(self.rules, self.calendar, self.metrics, self.known_M)
        twin.earned_KM = self.earned_KM.copy()
        return twin

    def _reached(self, values_XM: Longs) -> Bools:
        """Whether the thresholds of each level from 1 are met, [K - 1, M]."""
        met = []
        for needed in self.rules.thresholds[1:]:
            each = [values_XM[self.rules.metrics.index(metric)] >= value for metric, value in needed.items()]
            met.append(np.any(each, axis=0) if self.rules.config.reach == "any" else np.all(each, axis=0))
        return np.stack(met)


@dataclass(frozen=True)
class Changes:
    """One row per change of the level shown or of the own one, in the order of days; C changes."""

    member_C: Longs
    day_C: Longs
    level_C: Longs
    own_C: Longs
    reason_C: NDArray[np.str_]
    values_XC: Longs


@dataclass(frozen=True)
class Held:
    """Levels at the end of the day before a replay begins, [M]; -1 for who was not known then."""

    level_M: Longs
    own_M: Longs

    @classmethod
    def nobody(cls, num_members: int) -> "Held":
        """Where a full replay begins."""
        return cls(np.full(num_members, -1), np.zeros(num_members, dtype=np.int64))


def replay(earning: Earning, assignments: Assignments, held: Held, days: tuple[int, int]) -> Changes:
    """Every change from the first through the last of ``days``; ``earning`` has seen the days before that matter."""
    own_M, level_M = held.own_M, held.level_M
    found = []
    for day in range(days[0], days[1] + 1):
        earning.see(day)
        known = earning.known_M <= day
        own = np.where(known, earning.step(own_M, day), 0)
        level = assignments.shown(own, day)
        changed = np.flatnonzero(known & ((level != level_M) | (own != own_M)))
        if changed.size:
            reason = _reasons(level_M[changed], own_M[changed], level[changed], own[changed])
            values = earning.values(day)[:, changed]
            found.append((changed, np.full(changed.size, day), level[changed], own[changed], reason, values))
        own_M, level_M = own, np.where(known, level, -1)
    return _joined(found, len(earning.rules.metrics))


def _reasons(level_before: Longs, own_before: Longs, level: Longs, own: Longs) -> NDArray[np.str_]:
    conditions = [level_before < 0, level != own, own > own_before, own < own_before]
    return np.select(conditions, ["joined", "manual", "earned", "lapsed"], default="manual_ended")


def _joined(found: Sequence[tuple[NDArray[np.generic], ...]], num_metrics: int) -> Changes:
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return Changes(none, none, none, none, none.astype(str), np.zeros((num_metrics, 0), dtype=np.int64))
    member, day, level, own, reason, values = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    return Changes(member, day, level, own, reason, values)
