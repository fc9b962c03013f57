"""Everything one training run depends on, as plain values that travel to other processes as JSON.

A run is defined by its job alone: the same job on the same machine gives the same bytes.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.models.networks import ModelSpec

BACKENDS = ("gloo", "nccl")


@dataclass(frozen=True)
class TrainingJob:
    """One training run.

    Args:
        run_dir: folder for the artefacts; on a cluster a path that every machine sees.
        train_files: live Parquet files of the train split, absolute local paths or ``file:`` URIs.
        validation_files: the same for the validation split.
        model: the network.
        world_size: number of processes.
        batch_rows: rows of the global batch, a multiple of ``world_size``.
        max_epochs: most passes over the train split.
        learning_rate: highest rate of the one-cycle schedule.
        weight_decay: AdamW's decoupled decay.
        warmup_share: share of all steps in which the rate rises, in [0, 1].
        grad_clip: largest allowed norm of the whole gradient.
        ema_decay: weight of the past in the averaged weights, per step, in [0, 1).
        patience_epochs: stop after this many epochs without a lower validation log-loss.
        seed: of initial weights, row order and dropout.
        backend: ``gloo`` (CPU) or ``nccl`` (one GPU per process).
        timeout_seconds: how long a process waits for the others in one operation; 60 to 120 suits most clusters.

    Raises:
        ConfigError: impossible values, all at once.
    """

    run_dir: str
    train_files: tuple[str, ...]
    validation_files: tuple[str, ...]
    model: ModelSpec
    world_size: int
    batch_rows: int
    max_epochs: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    grad_clip: float
    ema_decay: float
    patience_epochs: int
    seed: int
    backend: str
    timeout_seconds: int

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ConfigError(f"impossible training job: {first_five(problems)}. Correct these values.")

    def _problems(self) -> Iterator[str]:
        for name in ("world_size", "batch_rows", "max_epochs", "patience_epochs", "timeout_seconds"):
            if getattr(self, name) < 1:
                yield f"{name} {getattr(self, name)} (at least 1)"
        for name in ("learning_rate", "grad_clip"):
            if not getattr(self, name) > 0:
                yield f"{name} {getattr(self, name)} (above 0)"
        for name in ("weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                yield f"{name} {getattr(self, name)} (0 or more)"
        if not 0 <= self.warmup_share <= 1:
            yield f"warmup_share {self.warmup_share} (0 to 1)"
        if not 0 <= self.ema_decay < 1:
            yield f"ema_decay {self.ema_decay} (0 to below 1)"
        if self.backend not in BACKENDS:
            yield f"backend {self.backend} ({' or '.join(BACKENDS)})"

    def to_json(self) -> str:
        """Write the job as one line of JSON."""
        return json.dumps({**asdict(self), "model": self.model.to_dict()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrainingJob":
        """Read a job that ``to_json`` wrote.

        Raises:
            ConfigError: missing or unknown keys, or impossible values.
        """
        values: dict[str, Any] = json.loads(text)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ConfigError(
                f"training job has other keys than expected: {first_five(set(values) ^ names)}. "
                "Write and read it with the same version of the package."
            )
        for name in ("train_files", "validation_files"):
            values[name] = tuple(values[name])
        return cls(**{**values, "model": ModelSpec.from_dict(values["model"])})
