"""What each training row counts in the loss: more where its level is rare, less where it is old; no torch.

In: the training files. Out: a few numbers that travel with the job and give a row's weight from its as-of day and
target level, so that every rank weighs a row alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memberlevel_spark.config.training import TrainingConfig
from memberlevel_spark.feed.counts import count_rows
from memberlevel_spark.feed.fields import AS_OF_DAY, TARGET


@dataclass(frozen=True)
class RowWeights:
    """A row's weight is ``by_level[target] · ½^((last_day − as_of_day) / half_life_days)``; no half-life, no ageing.

    Over the training rows the mean is 1, so that the loss is still divided by their number: then it is Σ w·loss / Σ w.
    """

    by_level: tuple[float, ...]
    last_day: int  # of training, in days since 1970-01-01
    half_life_days: float | None

    def of(self, as_of_day: int, target: int) -> float:
        """Return the weight of one row."""
        return self.by_level[target] * self.ageing(as_of_day)

    def ageing(self, as_of_day: int) -> float:
        """Return what is left of a row's weight: 1 on the last day, half of it after each half-life."""
        return 1.0 if self.half_life_days is None else float(0.5 ** ((self.last_day - as_of_day) / self.half_life_days))


def row_weights(paths: Sequence[str], training: TrainingConfig, *, num_levels: int) -> RowWeights | None:
    """Return the weights that the settings ask for; None where every row counts the same.

    Errors: ArtefactError when a file cannot be read.
    """
    if training.class_weights == "none" and training.recency_half_life_days is None:
        return None
    return weights_of(count_rows(paths, (AS_OF_DAY, TARGET)), training, num_levels=num_levels)


def weights_of(rows: Mapping[tuple[int, ...], int], training: TrainingConfig, *, num_levels: int) -> RowWeights:
    """Return the weights for so many rows of each (as-of day, target level).

    ``balanced`` is n / (K · n_k), as in scikit-learn; a level that no row holds gets 1, which nothing depends on.
    """
    of_level = [sum(count for (_, level), count in rows.items() if level == k) for k in range(num_levels)]
    balanced = training.class_weights == "balanced"
    by_level = [sum(of_level) / (num_levels * n_k) if balanced and n_k else 1.0 for n_k in of_level]
    plain = RowWeights(tuple(by_level), max(day for day, _ in rows), training.recency_half_life_days)
    mean = sum(plain.of(*row) * count for row, count in sorted(rows.items())) / sum(of_level)
    return RowWeights(tuple(weight / mean for weight in by_level), plain.last_day, plain.half_life_days)
