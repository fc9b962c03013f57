"""Writes the curves to TensorBoard and MLflow too, where the configuration asks for it and they are installed."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.training.course import EpochPoint
from memberlevel_spark.training.job import TrainingJob

Listener = Callable[[EpochPoint], None]
_MODULES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}


class Tracker:
    """Passes each point on to the trackers that are open, and to whoever listens."""

    def __init__(self, boards: list[Any], mlflow: Any | None, tell: Listener | None = None) -> None:
        self._boards, self._mlflow, self._tell = boards, mlflow, tell

    def add(self, point: EpochPoint) -> None:
        """Pass one point on; its step is the number of steps made. Errors: those of the listener, who ends a run so."""
        numbers = {name: float(value) for name, value in asdict(point).items() if name not in ("epoch", "step")}
        for board in self._boards:
            for name, value in numbers.items():
                board.add_scalar(name, value, point.step)
        if self._mlflow is not None:
            self._mlflow.log_metrics(numbers, step=point.step)
        if self._tell is not None:
            self._tell(point)


@contextmanager
def open_tracker(job: TrainingJob, tell: Listener | None = None) -> Iterator[Tracker]:
    """Open what the job asks for: TensorBoard below the run folder, MLflow where its environment variables point.

    ``tell`` gets every point too.

    Raises:
        ConfigError: a tracker is not installed.
    """
    modules = {name: _imported(name) for name in job.training.track}
    with ExitStack() as opened:
        boards = []
        if "tensorboard" in modules:
            board = modules["tensorboard"].SummaryWriter(str(Path(job.run_dir) / "tensorboard"))
            opened.callback(board.close)
            boards.append(board)
        if "mlflow" in modules:
            opened.enter_context(modules["mlflow"].start_run(run_name=Path(job.run_dir).name))
            settings = {**job.training.model_dump(mode="json"), "model": job.model.name, "seed": job.seed}
            modules["mlflow"].log_params(settings)
        yield Tracker(boards, modules.get("mlflow"), tell)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError:
        raise ConfigError(
            f"training.track names what is not installed: {name}. Run pip install {name}, or take it from the list."
        ) from None
