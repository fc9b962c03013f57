"""The feed next to a plain pyarrow reader and to petastorm's own conversion, on the same files.

1 million rows of 64 features and of a sequence of 128 steps, in files of one row group. The plain reader turns the same
columns into numpy, file by file, on all cores, unshuffled and without batches: the least that any reader must do.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.feed import petastorm_reader
from memberlevel_spark.feed.fields import Fields, column_to_numpy
from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import FeedPlan, plan_feed, read_row_groups
from memberlevel_spark.feed.readers import BY_DEFAULT
from tests.bench.timing import best_seconds

FILES, ROWS_PER_FILE, FEATURES, STEPS, LANES = 40, 25_000, 64, 128, 4
FIELDS = Fields(FEATURES, {"events": ("int32", STEPS)})
ROW_BYTES = 4 * (FEATURES + STEPS) + 16


def measure(folder: Path) -> dict[str, tuple[float, str, str]]:
    """Rows per second of a shuffled epoch over those of each peer, and the memory that an epoch takes."""
    paths = [str(_write(folder / f"part-{number:05d}.parquet", number)) for number in range(FILES)]
    plan = plan_feed(read_row_groups(paths), world_size=1, batch_rows=1024, num_lanes=LANES)
    epochs = iter(range(1, 100))
    shuffled, unshuffled = _loader(plan, seed=1), _loader(plan, seed=None)
    # A first epoch, so that no reader pays for what the disk had not cached.
    _read_all(shuffled, 0)
    plain = best_seconds(lambda: [_read(path) for path in paths])
    feed = best_seconds(lambda: _read_all(shuffled, next(epochs)))
    in_order = best_seconds(lambda: _read_all(unshuffled, 0))
    petastorm = best_seconds(lambda: _read_with_petastorm(paths), repeats=1)
    group_bytes = ROWS_PER_FILE * ROW_BYTES
    # Two petastorm readers, each with one that it decodes and two that wait.
    held = LANES + BY_DEFAULT.row_groups_ahead + 6
    peak = _peak_bytes(lambda: _read_all(shuffled, next(epochs)))
    rows = FILES * ROWS_PER_FILE
    return {
        "feed_rows_per_second": (rows / feed, "rows/s", "shuffled batches of 1,024 rows, one process"),
        "feed_vs_pyarrow": (plain / feed, "x rows/s", "pyarrow reading the same files into numpy, unshuffled"),
        "feed_vs_petastorm": (petastorm / feed, "x rows/s", "petastorm's own conversion of the same files"),
        "feed_shuffled_vs_unshuffled": (in_order / feed, "x rows/s", "the same loader in the order of the table"),
        "feed_peak_row_groups": (peak / group_bytes, "row groups", f"{held}: {LANES} lanes and what is read ahead"),
    }


def _loader(plan: FeedPlan, *, seed: int | None) -> FeedLoader:
    return FeedLoader(plan, 0, fields=FIELDS, seed=seed)


def _read_all(loader: FeedLoader, epoch: int) -> int:
    return sum(1 for _ in loader.epoch(epoch))


def _write(path: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    features = random.normal(size=ROWS_PER_FILE * FEATURES).astype(np.float32)
    events = random.integers(0, 10_000, size=ROWS_PER_FILE * STEPS).astype(np.int32)
    zeros = pa.array(np.zeros(ROWS_PER_FILE, dtype=np.int32))
    columns = {
        "features": _lists(features, FEATURES),
        "events": _lists(events, STEPS),
        "level_now": zeros,
        "target_level": zeros,
        "outcomes": _lists(np.zeros(2 * ROWS_PER_FILE, dtype=np.float32), 2),
        "row_key": pa.array(np.arange(ROWS_PER_FILE, dtype=np.int64) + seed * ROWS_PER_FILE),
        "as_of_day": zeros,
    }
    pq.write_table(pa.table(columns), path)
    return path


def _lists(values: np.ndarray, length: int) -> pa.Array:
    offsets = pa.array(np.arange(len(values) // length + 1, dtype=np.int32) * length)
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def _read(path: str) -> int:
    table = pq.read_table(path)
    return sum(column_to_numpy(name, table.column(name)).size for name in FIELDS.types)


def _read_with_petastorm(paths: list[str]) -> int:
    """Petastorm as it comes, one worker, as ours: its own way from Arrow to numpy."""
    from petastorm.arrow_reader_worker import ArrowReaderWorker, ArrowReaderWorkerResultsQueueReader

    ours = ArrowReaderWorker.new_results_queue_reader
    ArrowReaderWorker.new_results_queue_reader = staticmethod(ArrowReaderWorkerResultsQueueReader)
    try:
        with petastorm_reader.open_row_groups(read_row_groups(paths), list(FIELDS.types)) as groups:
            return sum(len(group.row_key) for group in groups)  # type: ignore[attr-defined]
    finally:
        ArrowReaderWorker.new_results_queue_reader = ours


def _peak_bytes(run: Callable[[], object]) -> int:
    """Most memory, above what was held before, that this process has while it runs."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    run()
    done.set()
    watching.join()
    return peak - before


if __name__ == "__main__":
    sys.exit("Run it with make bench ARGS=feed.")
