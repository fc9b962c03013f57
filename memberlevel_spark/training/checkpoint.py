"""Checkpoints of a run: each a folder that appears whole or not at all, and is used only when every byte is right.

Layout: ``checkpoints/step-00000120/`` with ``tensors.safetensors`` (network, averaged and best weights, optimizer),
``state.json`` (position in the data, curves, sums of the epoch so far, fingerprint of the job) and ``manifest.json``
(SHA-256 of the other two). Random numbers follow from seed and position, so there is no random state to keep.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from memberlevel_spark.errors import ArtefactError

logger = logging.getLogger(__name__)

FOLDER, TENSORS, STATE, MANIFEST = "checkpoints", "tensors.safetensors", "state.json", "manifest.json"
# A checkpoint that was damaged while it was written must not leave a run without any.
NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save(run_dir: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and remove all but the last two.

    Raises:
        ArtefactError: the disk is full or cannot be written; earlier checkpoints are as they were.
    """
    folder = run_dir / FOLDER
    final, unfinished = folder / _name(step), folder / f".{_name(step)}.{os.getpid()}"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        contents = {
            TENSORS: safetensors.torch.save(dict(checkpoint.tensors)),
            STATE: json.dumps(checkpoint.state, sort_keys=True).encode(),
        }
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        for name, content in {**contents, MANIFEST: json.dumps(sums, sort_keys=True).encode()}.items():
            write_through(unfinished / name, content)
        _sync(unfinished)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ArtefactError(
            f"a checkpoint cannot be written: {final} ({error.strerror or error}). Free space or mend the disk, and"
            " start the same training again: it goes on from the last checkpoint."
        ) from error
    for old in _folders(run_dir)[:-NUM_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_last(run_dir: Path, fingerprint: str) -> Checkpoint | None:
    """Read the newest undamaged checkpoint of a job; None when there is none.

    Damaged ones are named in the log and passed over. Those of another job, whose ``state`` has another
    ``fingerprint``, are not used.
    """
    for folder in reversed(_folders(run_dir)):
        try:
            checkpoint = _read(folder)
        except ArtefactError as damage:
            logger.warning("%s", damage)
            continue
        if checkpoint.state["fingerprint"] == fingerprint:
            return checkpoint
    return None


def num_checkpoints(run_dir: Path) -> int:
    """How many checkpoints there are."""
    return len(_folders(run_dir))


def remove_all(run_dir: Path) -> None:
    """Remove every checkpoint, finished or not."""
    shutil.rmtree(run_dir / FOLDER, ignore_errors=True)


def _read(folder: Path) -> Checkpoint:
    try:
        sums = json.loads((folder / MANIFEST).read_bytes())
        contents = {name: (folder / name).read_bytes() for name in (TENSORS, STATE)}
        wrong = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != sums[name]]
        if not wrong:
            return Checkpoint(safetensors.torch.load(contents[TENSORS]), json.loads(contents[STATE]))
        reason = f"{', '.join(wrong)} is not what was written"
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
    raise ArtefactError(f"a checkpoint is damaged: {folder} ({reason}). An earlier one is used, if there is any.")


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _folders(run_dir: Path) -> list[Path]:
    return sorted((run_dir / FOLDER).glob("step-*"))


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
