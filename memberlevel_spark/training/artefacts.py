"""The run folder: weights, network, curves. Each file appears whole or not at all, and holds no clock or machine.

Out: ``model.safetensors``, ``model.json``, ``curves.json``, ``curves.csv``, ``curves.png``; the same fit gives the same
bytes.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.checkpoint import write_through
from memberlevel_spark.training.course import EpochPoint, Fit, best_of
from memberlevel_spark.training.course_plot import course_png

WEIGHTS, SPEC, CURVES, CURVES_CSV, CURVES_PNG = (
    "model.safetensors",
    "model.json",
    "curves.json",
    "curves.csv",
    "curves.png",
)
ARTEFACTS = (WEIGHTS, SPEC, CURVES, CURVES_CSV, CURVES_PNG)


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, its network and its curves."""

    run_dir: Path
    model: ModelSpec
    points: tuple[EpochPoint, ...]

    @property
    def best(self) -> EpochPoint:
        """The epoch whose weights were kept."""
        return best_of(self.points)


def write_artefacts(run_dir: Path, spec: ModelSpec, fit: Fit) -> None:
    """Write a fit into its run folder; weights last, so that a folder with weights is complete."""
    run_dir.mkdir(parents=True, exist_ok=True)
    rows = [asdict(point) for point in fit.points]
    _write(run_dir / SPEC, _json(spec.to_dict()))
    _write(run_dir / CURVES, _json(rows))
    _write(run_dir / CURVES_CSV, _csv(rows))
    _write(run_dir / CURVES_PNG, _png(fit.points, fit.kept))
    _write(run_dir / WEIGHTS, safetensors.torch.save(dict(fit.weights)))


def remove_artefacts(run_dir: Path) -> None:
    """Remove an earlier run's files, so that whatever is found later is this run's."""
    for name in ARTEFACTS:
        (run_dir / name).unlink(missing_ok=True)


def read_run(run_dir: Path) -> TrainedRun:
    """Read what a run left.

    Raises:
        ArtefactError: files are missing or unreadable.
    """
    missing = [name for name in ARTEFACTS if not (run_dir / name).is_file()]
    if missing:
        raise ArtefactError(f"{run_dir} is not a finished run: no {first_five(missing)}. Train again.")
    try:
        spec = ModelSpec.from_dict(json.loads((run_dir / SPEC).read_text(encoding="utf-8")))
        points = tuple(EpochPoint(**row) for row in json.loads((run_dir / CURVES).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ArtefactError(f"{run_dir} is damaged: {error}. Train again.") from error
    return TrainedRun(run_dir, spec, points)


def load_network(run_dir: Path) -> nn.Module:
    """Build a run's network with its weights, on the CPU, ready to predict (dropout off).

    Raises:
        ArtefactError: files are missing, damaged or do not fit together.
    """
    network = build_network(read_run(run_dir).model)
    try:
        network.load_state_dict(safetensors.torch.load_file(run_dir / WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtefactError(f"{run_dir / WEIGHTS} does not fit {SPEC}: {reason}. Train again.") from error
    return network.eval()


def level_probabilities(network: nn.Module, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """P(level = k) [N, K] of a network as its training judges them: all rows at once, nothing calibrated."""
    with torch.inference_mode():
        log_p_NK: torch.Tensor = network(torch.from_numpy(features_NF)).log_p_level_BK
    return log_p_NK.double().exp().numpy()


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    write_through(unfinished, content)
    unfinished.replace(path)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _csv(rows: Sequence[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochPoint)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _png(points: Sequence[EpochPoint], kept: EpochPoint) -> bytes:
    def paint(axes: Axes) -> None:
        epochs = [point.epoch for point in points]
        axes.plot(epochs, [point.train_log_loss for point in points], marker="o", label="train, dropout on")
        axes.plot(epochs, [point.validation_log_loss for point in points], marker="o", label="validation, kept weights")
        label = f"kept: epoch {kept.epoch}, {kept.validation_log_loss:.4f}"
        axes.axvline(kept.epoch, color="grey", linestyle=":", label=label)

    return course_png(paint, xlabel="epoch", ylabel="log-loss (nats)", title="Training curves")
