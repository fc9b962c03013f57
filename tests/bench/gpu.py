"""`make gpu-smoke`: the same training on one GPU: two precisions, with and without torch.compile, larger batches."""

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memberlevel_spark.training.launch import run_training
from tests.bench.training import ROWS, _Epochs, _job, _with

WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, compiled": {"precision": "bfloat16", "compile": True},
    "batches of 8,192": {"batch_rows": 8192},
    "of 8,192, bfloat16": {"batch_rows": 8192, "precision": "bfloat16"},
}


def main() -> int:
    """Train each way and print rows per second and how busy the GPU was; say so and end well where there is none."""
    if not torch.cuda.is_available():
        print("skipped: this process sees no GPU. Run it where torch.cuda.is_available().")
        return 0
    print(f"{torch.cuda.get_device_name()}, {ROWS:,} rows an epoch, one rank, batches copied from pinned memory")
    with tempfile.TemporaryDirectory(prefix="gpu-") as scratch:
        plain = _job(Path(scratch))
        for name, settings in WAYS.items():
            job = _with(plain, Path(scratch) / name, how="inline", num_processes=1, backend="nccl", **settings)
            with _Epochs() as epochs, _Utilisation() as busy:
                run = run_training(job)
            rows = ROWS / min(np.diff(epochs.ends))
            print(f"{name:<20} {rows:12,.0f} rows/s   GPU busy {busy.share}   loss {run.best.validation_log_loss:.4f}")
    return 0


class _Utilisation:
    """The share of the time in which the GPU computed, as its driver tells."""

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._done = threading.Event()

    @property
    def share(self) -> str:
        return f"{np.mean(self._seen):.0f} %" if self._seen else "n/a"

    def _watch(self) -> None:
        while not self._done.is_set():
            try:
                self._seen.append(torch.cuda.utilization())
            except (ModuleNotFoundError, RuntimeError):
                return  # the driver's Python package is not there
            time.sleep(0.1)

    def __enter__(self) -> "_Utilisation":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


if __name__ == "__main__":
    sys.exit(main())
