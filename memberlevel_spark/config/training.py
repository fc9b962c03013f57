"""The section ``training``: where the processes run, how they read, how the network is fitted.

It travels to every process as it is; `conf/base.yaml` documents every key with its unit.
"""

from typing import Literal

from pydantic import Field, model_validator

from memberlevel_spark.config.base import Model

# Settings that say where and how a run is carried out, and change nothing that it computes beyond rounding.
CARRIED_OUT_BY = frozenset(
    {
        "how",
        "num_processes",
        "timeout_seconds",
        "max_restarts",
        "reader",
        "row_groups_ahead",
        "checkpoint_every_steps",
        "track",
    }
)


class TaskWeights(Model):
    """What the orders, the spend and, where it is told, the next category count in the loss, beside the level's 1."""

    orders: float = Field(ge=0, allow_inf_nan=False)
    spend: float = Field(ge=0, allow_inf_nan=False)
    category: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class DistillationConfig(Model):
    """How a network learns from another one: the share of the level's loss that is the distance to the other's
    probabilities, and the temperature that softens both sides' probabilities before they are compared."""

    share: float = Field(ge=0, le=1)
    temperature: float = Field(gt=0, allow_inf_nan=False)


class TrainingConfig(Model):
    """How the network is fitted and where the processes run."""

    how: Literal["spark", "torchrun", "inline"]
    num_processes: int = Field(ge=1)
    backend: Literal["gloo", "nccl"]
    timeout_seconds: int = Field(ge=5, le=1800)
    max_restarts: int = Field(ge=0, le=100)

    reader: Literal["petastorm", "pyarrow"]
    row_groups_ahead: int = Field(ge=1)
    lanes: int = Field(ge=1)
    tail: Literal["pad", "drop"]

    batch_rows: int = Field(ge=1)
    accumulate_batches: int = Field(ge=1)
    max_epochs: int = Field(ge=1)
    pretraining_epochs: int = Field(ge=1)
    patience_epochs: int = Field(ge=1)
    checkpoint_every_steps: int = Field(ge=0)

    task_weights: TaskWeights | None
    focal_gamma: float = Field(ge=0, le=10)
    distillation: DistillationConfig
    class_weights: Literal["none", "balanced"]
    reweighing: str | None = None
    recency_half_life_days: float | None = Field(gt=0, allow_inf_nan=False)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "exponential"]
    warmup_share: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0, allow_inf_nan=False)
    l1: float = Field(ge=0, allow_inf_nan=False)
    grad_clip: float = Field(gt=0, allow_inf_nan=False)
    average: Literal["ema", "swa", "none"]
    ema_decay: float = Field(ge=0, lt=1)
    swa_start_share: float = Field(ge=0, lt=1)
    precision: Literal["float32", "bfloat16"]
    compile: bool

    track: tuple[Literal["tensorboard", "mlflow"], ...]

    @model_validator(mode="after")
    def _divides(self) -> "TrainingConfig":
        if self.lanes % self.num_processes:
            nearest = -(-self.lanes // self.num_processes) * self.num_processes
            raise ValueError(f"lanes a multiple of num_processes ({self.num_processes}), such as {nearest}")
        if self.batch_rows % self.lanes:
            nearest = max(1, round(self.batch_rows / self.lanes)) * self.lanes
            raise ValueError(f"batch_rows a multiple of lanes ({self.lanes}), such as {nearest}")
        return self
