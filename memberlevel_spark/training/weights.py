"""What each training row counts in the loss: more where its level is rare, or rarer in its protected group than in
others, less where it is old; no torch.

In: the training files. Out: a few numbers that travel with the job and give a row's weight from its as-of day, target
level and group, so that every rank weighs a row alike.

Shape legend: K levels, G groups.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memberlevel_spark.config.training import TrainingConfig
from memberlevel_spark.feed.counts import count_rows
from memberlevel_spark.feed.fields import AS_OF_DAY, TARGET, group_column


@dataclass(frozen=True)
class RowWeights:
    """A row's weight is ``by_level[target] · ½^((last_day − as_of_day) / half_life_days) · by_group[group][target]``.

    Without a half-life there is no ageing, without groups no last factor.

    Over the training rows the mean is 1, so that the loss is still divided by their number: then it is Σ w·loss / Σ w.
    """

    by_level: tuple[float, ...]
    last_day: int  # of training, in days since 1970-01-01
    half_life_days: float | None
    by_group: tuple[tuple[float, ...], ...] = ()  # [G][K]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RowWeights":
        """From ``dataclasses.asdict`` of one, which may have been JSON in between."""
        lists = {"by_level": tuple(values["by_level"]), "by_group": tuple(map(tuple, values["by_group"]))}
        return cls(**{**values, **lists})

    def of(self, as_of_day: int, target: int, group: int | None = None) -> float:
        """Return the weight of one row."""
        of_group = 1.0 if group is None else self.by_group[group][target]
        return self.by_level[target] * self.ageing(as_of_day) * of_group

    def ageing(self, as_of_day: int) -> float:
        """Return what is left of a row's weight: 1 on the last day, half of it after each half-life."""
        return 1.0 if self.half_life_days is None else float(0.5 ** ((self.last_day - as_of_day) / self.half_life_days))


def row_weights(paths: Sequence[str], training: TrainingConfig, *, num_levels: int) -> RowWeights | None:
    """Return the weights that the settings ask for; None where every row counts the same.

    Errors: ArtefactError when a file cannot be read.
    """
    if training.class_weights == "none" and training.recency_half_life_days is None and training.reweighing is None:
        return None
    by_group = () if training.reweighing is None else (group_column(training.reweighing),)
    return weights_of(count_rows(paths, (AS_OF_DAY, TARGET, *by_group)), training, num_levels=num_levels)


def weights_of(rows: Mapping[tuple[int, ...], int], training: TrainingConfig, *, num_levels: int) -> RowWeights:
    """Return the weights for so many rows of each (as-of day, target level), or (as-of day, target level, group).

    ``balanced`` is n / (K · n_k), as in scikit-learn; a level that no row holds gets 1, which nothing depends on.
    """
    of_level = [sum(count for row, count in rows.items() if row[1] == k) for k in range(num_levels)]
    balanced = training.class_weights == "balanced"
    by_level = [sum(of_level) / (num_levels * n_k) if balanced and n_k else 1.0 for n_k in of_level]
    by_group = reweighing(rows, num_levels=num_levels) if training.reweighing is not None else ()
    plain = RowWeights(tuple(by_level), max(row[0] for row in rows), training.recency_half_life_days, by_group)
    mean = sum(plain.of(*row) * count for row, count in sorted(rows.items())) / sum(of_level)
    return replace(plain, by_level=tuple(weight / mean for weight in by_level))


def reweighing(rows: Mapping[tuple[int, ...], int], *, num_levels: int) -> tuple[tuple[float, ...], ...]:
    """P(group) · P(level) / P(group, level) for so many rows of each (as-of day, target level, group), [G][K].

    Kamiran and Calders 2012: so weighted, every level is equally frequent in all groups. A level that no row of a group
    holds gets 1, which nothing depends on.
    """
    of_cell: Counter[tuple[int, int]] = Counter()
    for (_, level, group), count in rows.items():
        of_cell[group, level] += count
    of_group, of_level = Counter[int](), Counter[int]()
    for (group, level), count in of_cell.items():
        of_group[group] += count
        of_level[level] += count
    total = sum(of_cell.values())
    return tuple(
        tuple(of_group[g] * of_level[k] / (total * n_gk) if (n_gk := of_cell[g, k]) else 1.0 for k in range(num_levels))
        for g in range(max(of_group) + 1)
    )
