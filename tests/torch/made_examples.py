"""Writes small `examples` files as Spark would, and jobs that train on them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.config.training import DistillationConfig, TaskWeights, TrainingConfig
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.artefacts import ARTEFACTS
from memberlevel_spark.training.job import TrainingJob

NUM_FEATURES, NUM_LEVELS = 6, 3


def examples_table(first_key: int, num_rows: int, *, num_features: int = NUM_FEATURES) -> pa.Table:
    """Rows that a linear rule separates: the first two features give the level. Keys count up from first_key."""
    features = np.random.default_rng(first_key).normal(size=(num_rows, num_features)).astype(np.float32)
    level = np.digitize(features[:, 0] + features[:, 1 % num_features], [-0.7, 0.7]).astype(np.int32)
    orders = np.random.default_rng(first_key + 1).poisson(1 + level)
    outcomes = np.stack([orders, orders * (500 + 100 * level)], axis=1).astype(np.float32)
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_features)
    lists = pa.ListArray.from_arrays(offsets, pa.array(features.ravel()))
    return pa.table(
        {
            # Columns the trainer must not read come first, as in the real table.
            "member_id": pa.array([f"m{key}" for key in range(first_key, first_key + num_rows)]),
            "features": lists.cast(pa.list_(pa.field("element", pa.float32()))),
            "level_now": np.minimum(level, NUM_LEVELS - 1),
            "target_level": level,
            "outcomes": pa.array(list(outcomes), type=pa.list_(pa.field("element", pa.float32()))),
            "spend_28d_cents": pa.array([None] * num_rows, type=pa.int64()),
            "row_key": np.arange(first_key, first_key + num_rows, dtype=np.int64),
            "as_of_day": np.full(num_rows, 19_000, dtype=np.int32),
        }
    )


def write_table(table: pa.Table, folder: Path, *, part: int, split: str = "train", row_group_rows: int = 1000) -> str:
    """Write one file in Delta's layout and return its path."""
    path = folder / f"split={split}" / f"part-{part:05d}-0f3c-c000.snappy.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_rows)
    return str(path)


def write_examples(
    folder: Path, rows_per_file: Sequence[int], *, split: str = "train", row_group_rows: int = 1000, first_key: int = 0
) -> tuple[str, ...]:
    """Write one file per entry; row keys count up from first_key over all files."""
    starts = np.cumsum([first_key, *rows_per_file])
    return tuple(
        write_table(examples_table(int(start), rows), folder, part=part, split=split, row_group_rows=row_group_rows)
        for part, (start, rows) in enumerate(zip(starts, rows_per_file, strict=False))
    )


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The table with other values, of another type perhaps, in one column."""
    return table.set_column(table.column_names.index(name), name, values)


def with_feature(table: pa.Table, *, row: int, value: float) -> pa.Table:
    """The table with one value put into the features of one row."""
    lists: list[list[float]] = table.column("features").to_pylist()
    lists[row][0] = value
    return replaced(table, "features", pa.array(lists, type=table.schema.field("features").type))


PLAIN = TrainingConfig(
    how="inline",
    num_processes=1,
    backend="gloo",
    timeout_seconds=60,
    max_restarts=0,
    reader="petastorm",
    row_groups_ahead=2,
    lanes=4,
    tail="pad",
    batch_rows=64,
    accumulate_batches=1,
    max_epochs=3,
    pretraining_epochs=2,
    patience_epochs=10,
    checkpoint_every_steps=0,
    task_weights=TaskWeights(orders=0.1, spend=0.3),
    focal_gamma=0.0,
    distillation=DistillationConfig(share=0.5, temperature=2.0),
    class_weights="none",
    recency_half_life_days=None,
    learning_rate=0.02,
    schedule="cosine",
    warmup_share=0.1,
    weight_decay=0.01,
    l1=0.0,
    grad_clip=1.0,
    average="ema",
    ema_decay=0.9,
    swa_start_share=0.5,
    precision="float32",
    compile=False,
    track=(),
)


def job(folder: Path, train_files: Sequence[str], validation_files: Sequence[str], **changes: Any) -> TrainingJob:
    """A job of a few fast epochs, with some values of it, or of its settings, changed."""
    plain = TrainingJob(
        run_dir=str(folder / "run"),
        train_files=tuple(train_files),
        validation_files=tuple(validation_files),
        model=ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.1),
        training=PLAIN,
        seed=7,
    )
    return changed(plain, **changes)


def changed(plain: TrainingJob, **changes: Any) -> TrainingJob:
    """A job with some values of it, or of its settings, changed."""
    own = {name: changes.pop(name) for name in list(changes) if name not in TrainingConfig.model_fields}
    training = TrainingConfig.model_validate(plain.training.model_dump() | changes)
    return replace(plain, training=training, **own)


def small_job(folder: Path, **changes: Any) -> TrainingJob:
    """A job over 480 ragged rows to train on and 100 to validate with, and what they are written to."""
    train = write_examples(folder, [200, 150, 130])
    validation = write_examples(folder, [60, 40], split="validation", first_key=10_000)
    return job(folder, train, validation, **changes)


def results(plain: TrainingJob) -> dict[str, bytes]:
    """The bytes of everything that a run left."""
    return {name: (Path(plain.run_dir) / name).read_bytes() for name in ARTEFACTS}
