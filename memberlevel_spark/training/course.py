"""How far a run has come, what it measured on the way, and what it gives in the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from memberlevel_spark.feed.loader import START, Position


@dataclass(frozen=True)
class EpochPoint:
    """One point of the curves; losses are means over rows, in nats, over the rows of all ranks."""

    epoch: int  # from 1
    step: int  # steps made since the start
    train_log_loss: float  # of the weights while they were being trained, dropout on; rows count by their weight
    validation_log_loss: float  # of the kept weights
    validation_accuracy: float
    learning_rate: float  # of the step after the epoch
    rows: int  # train rows seen in the epoch


@dataclass(frozen=True)
class Fit:
    """What training gives: all points, and the weights of one of them."""

    weights: Mapping[str, Tensor]
    points: tuple[EpochPoint, ...]
    kept: EpochPoint


@dataclass
class Course:
    """Where a run is. Everything but ``loss_sum`` is the same on every rank.

    With ``keep_last`` no epoch is better than a later one.
    """

    keep_last: bool

    position: Position = START  # batches read
    points: list[EpochPoint] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)  # kept weights of the best point
    loss_sum: float = 0.0  # of this rank's rows in the present epoch

    def add(self, point: EpochPoint, weights: dict[str, Tensor]) -> None:
        """Close an epoch, and keep its weights when it is the best so far."""
        self.points.append(point)
        self.loss_sum = 0.0
        if self.kept is point:
            self.best = weights

    def has_stopped_improving(self, patience_epochs: int) -> bool:
        """Whether the last ``patience_epochs`` epochs were no better than the one before them."""
        return bool(self.points) and self.points[-1].epoch - self.kept.epoch >= patience_epochs

    @property
    def kept(self) -> EpochPoint:
        """The point whose weights are kept, once there is one."""
        return self.points[-1] if self.keep_last else best_of(self.points)

    def to_plain(self) -> dict[str, Any]:
        """Position and points as values that JSON can hold; floats survive to the bit."""
        return {"position": list(self.position), "points": [asdict(point) for point in self.points]}

    @classmethod
    def from_plain(
        cls, plain: Mapping[str, Any], best: dict[str, Tensor], loss_sum: float, *, keep_last: bool
    ) -> "Course":
        """Read what ``to_plain`` gave."""
        points = [EpochPoint(**point) for point in plain["points"]]
        return cls(keep_last, Position(*plain["position"]), points, best, loss_sum)


def best_of(points: list[EpochPoint] | tuple[EpochPoint, ...]) -> EpochPoint:
    """Return the first point with the lowest validation log-loss."""
    return min(points, key=lambda point: point.validation_log_loss)
