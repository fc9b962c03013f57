"""What a member's levels were up to an as-of date: the level then, for how long, rises and falls, the best ever.

Shapes: S stretches of the batch, Q questions (member, as-of date). Days are numbers.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.levels.calendar import Bools, Longs

# Days of one member's stretch of the axis; wider than any history.
AXIS = np.int64(1 << 20)


@dataclass(frozen=True)
class LevelHistory:
    """Stretches on one ascending axis: position = member index x AXIS + first day."""

    position_S: Longs
    level_S: Longs
    own_S: Longs

    @classmethod
    def of(cls, member_S: Longs, from_S: Longs, level_S: Longs, own_S: Longs) -> "LevelHistory":
        """Sort stretches given in any order."""
        position_S = member_S * AXIS + from_S
        order = np.argsort(position_S, kind="stable")
        return cls(position_S[order], level_S[order], own_S[order])

    def held(self, member_Q: Longs, as_of_Q: Longs) -> tuple[Bools, Longs]:
        """Whether a question's member had a level then, and the index of that stretch (0 where there is none)."""
        index_Q = np.searchsorted(self.position_S, member_Q * AXIS + as_of_Q, side="right") - 1
        member_S = np.append(self._member_S(), -1)  # where nobody has a stretch, index -1 finds this one
        return member_S[index_Q] == member_Q, np.maximum(index_Q, 0)

    def facts(self, index_Q: Longs, as_of_Q: Longs) -> dict[str, Longs]:
        """Level shown, days in it, rises and falls so far, best level ever, each [Q]; for questions that ``held``."""
        member_S, first_day_S = self._member_S(), self.position_S % AXIS
        joined_S = np.diff(member_S, prepend=-1) != 0
        step_S = np.where(joined_S, 0, np.diff(self.level_S, prepend=0))
        number_S = np.arange(self.level_S.size)
        began_S = np.maximum.accumulate(np.where(joined_S | (step_S != 0), number_S, 0))
        start_S = np.maximum.accumulate(np.where(joined_S, number_S, 0))
        rises_S, falls_S = np.cumsum(step_S > 0), np.cumsum(step_S < 0)
        # Levels are far fewer than 1,000: each member's maximum begins above the one before.
        best_S = np.maximum.accumulate(self.level_S + member_S * 1000) - member_S * 1000
        return {
            "level_now": self.level_S[index_Q],
            "days_in_level": as_of_Q - first_day_S[began_S[index_Q]],
            "num_level_ups": rises_S[index_Q] - rises_S[start_S[index_Q]],
            "num_level_downs": falls_S[index_Q] - falls_S[start_S[index_Q]],
            "best_level": best_S[index_Q],
        }

    def _member_S(self) -> Longs:
        return np.asarray(self.position_S // AXIS)
