"""The feed against a plain pyarrow reader on the same files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_file_rows
from tests.bench.timing import best_seconds

FILES, ROWS_PER_FILE, FEATURES = 8, 50_000, 64


def measure(folder: Path) -> dict[str, tuple[float, str, str]]:
    """Rows per second of a shuffled epoch over rows per second of reading the same columns with pyarrow."""
    paths = [str(_write(folder / f"part-{number:05d}.parquet", number)) for number in range(FILES)]
    plan = plan_feed(read_file_rows(paths), world_size=1, batch_rows=1024)
    loader = FeedLoader(plan, 0, num_features=FEATURES, seed=1)
    epochs = iter(range(100))
    feed = best_seconds(lambda: sum(1 for _ in loader.epoch(next(epochs))))
    plain = best_seconds(lambda: [_read(path) for path in paths])
    return {"feed_vs_pyarrow": (plain / feed, "x rows/s", "pyarrow reading the same files into numpy, unshuffled")}


def _write(path: Path, seed: int) -> Path:
    values = np.random.default_rng(seed).normal(size=ROWS_PER_FILE * FEATURES).astype(np.float32)
    offsets = pa.array(np.arange(ROWS_PER_FILE + 1, dtype=np.int32) * FEATURES)
    columns = {
        "features": pa.ListArray.from_arrays(offsets, pa.array(values)),
        "level_now": pa.array(np.zeros(ROWS_PER_FILE, dtype=np.int32)),
        "target_level": pa.array(np.zeros(ROWS_PER_FILE, dtype=np.int32)),
        "row_key": pa.array(np.arange(ROWS_PER_FILE, dtype=np.int64) + seed * ROWS_PER_FILE),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _read(path: str) -> int:
    table = pq.read_table(path)
    matrix = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, FEATURES)
    return int(matrix.shape[0]) + int(table["level_now"].to_numpy().size)
