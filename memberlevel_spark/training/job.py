"""Everything one training run depends on, as plain values that travel to other processes as JSON.

A run is defined by its job alone: the same job on the same machine gives the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from memberlevel_spark.config.training import CARRIED_OUT_BY, TrainingConfig
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.feed.fields import Fields, ListOf
from memberlevel_spark.models.spec import Components, ModelSpec
from memberlevel_spark.training.weights import RowWeights

Task = Literal["outcomes", "masked", "next", "contrastive"]


@dataclass(frozen=True)
class TrainingJob:
    """One training run.

    Args:
        run_dir: folder for artefacts and checkpoints; on a cluster a path that every machine sees.
        train_files: live Parquet files of the train split, absolute local paths or URIs.
        validation_files: the same for the validation split.
        model: the network.
        training: how it is fitted.
        seed: of initial weights, row order and dropout, 0 or more.
        keep: the weights of the epoch that was ``best`` on validation, which also decides when to stop; or the ``last``
            ones, after all epochs.
        task: what is learned: members' outcomes, or a task of ``models/pretraining.py``.
        start_from: run folder of a pretraining, whose encoder of events is taken over; None starts from nothing.
        frozen: whether the encoder taken over stays as it is.
        weights: what a training row counts; None: all the same. The launcher fills it in from ``training``.
        lists: list columns that are read beside the features: name -> (element type, length).
        teacher_dir: the run folder of a network to learn the levels from, as ``training.distillation`` says; on a
            cluster a path that every machine sees.
        components: the encoder's principal components, where the network reads these.
    """

    run_dir: str
    train_files: tuple[str, ...]
    validation_files: tuple[str, ...]
    model: ModelSpec
    training: TrainingConfig
    seed: int
    keep: Literal["best", "last"] = "best"
    task: Task = "outcomes"
    start_from: str | None = None
    frozen: bool = False
    weights: RowWeights | None = None
    lists: Mapping[str, tuple[ListOf, int]] = field(default_factory=dict)
    teacher_dir: str | None = None
    components: Components = ()

    @property
    def world_size(self) -> int:
        """Number of processes; inline training is one."""
        return 1 if self.training.how == "inline" else self.training.num_processes

    @property
    def fields(self) -> Fields:
        """The columns that are read."""
        return Fields(self.model.num_features, self.lists)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the result depends on: a checkpoint goes on with a job of the same fingerprint only."""
        values = {**self._values(), "run_dir": None}
        values["training"] = {name: value for name, value in values["training"].items() if name not in CARRIED_OUT_BY}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Write the job as one line of JSON."""
        return json.dumps(self._values(), sort_keys=True)

    def _values(self) -> dict[str, Any]:
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            **plain,
            "model": self.model.to_dict(),
            "training": self.training.model_dump(mode="json"),
            "weights": self.weights and asdict(self.weights),
            "lists": {name: list(kind) for name, kind in self.lists.items()},
        }

    @classmethod
    def from_json(cls, text: str) -> "TrainingJob":
        """Read a job that ``to_json`` wrote.

        Raises:
            ConfigError: missing or unknown keys.
        """
        values: dict[str, Any] = json.loads(text)
        names = {item.name for item in fields(cls)}
        if set(values) != names:
            raise ConfigError(
                f"training job has other keys than expected: {first_five(set(values) ^ names)}. "
                "Write and read it with the same version of the package."
            )
        for name in ("train_files", "validation_files"):
            values[name] = tuple(values[name])
        weights = values["weights"]
        return cls(
            **{
                **values,
                "model": ModelSpec.from_dict(values["model"]),
                "training": TrainingConfig.model_validate(values["training"]),
                "weights": weights and RowWeights.from_dict(weights),
                "lists": {name: tuple(kind) for name, kind in values["lists"].items()},
                "components": tuple(tuple(component) for component in values["components"]),
            }
        )
