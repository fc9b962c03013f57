"""The loader: every row once per epoch, in a known order, and an audit that notices a reader that loses rows."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.feed import petastorm_reader
from memberlevel_spark.feed.fields import Fields, column_to_numpy
from memberlevel_spark.feed.legacy_parquet import ParquetDatasetPiece
from memberlevel_spark.feed.loader import START, Batch, FeedLoader
from memberlevel_spark.feed.plan import Tail, plan_feed, read_row_groups
from memberlevel_spark.feed.read_ahead import read_ahead
from memberlevel_spark.feed.readers import ReaderName, ReaderSettings
from tests.torch.made_examples import (
    NUM_FEATURES,
    examples_table,
    replaced,
    with_feature,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch


def loaders(
    paths: tuple[str, ...],
    *,
    world_size: int = 1,
    num_lanes: int | None = None,
    batch_rows: int = 32,
    seed: int | None = 3,
    tail: Tail = "pad",
    reader: ReaderName = "petastorm",
    fields: Fields | None = None,
    timeout_seconds: float = 60,
) -> list[FeedLoader]:
    plan = plan_feed(
        read_row_groups(paths),
        world_size=world_size,
        batch_rows=batch_rows,
        num_lanes=num_lanes or world_size,
        tail=tail,
    )
    settings = ReaderSettings(reader, timeout_seconds=timeout_seconds)
    return [
        FeedLoader(plan, rank, fields=fields or Fields(NUM_FEATURES), seed=seed, reader=settings)
        for rank in range(world_size)
    ]


def keys_of(batches: list[Batch]) -> list[int]:
    """Keys of the rows that count, in the order they came."""
    return [int(key) for batch in batches for key in batch.row_key_B[batch.weight_B > 0]]


def test_two_ranks_together_see_every_row_exactly_once_in_every_epoch(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [70, 33, 5, 0, 41], row_group_rows=16)
    both = loaders(paths, world_size=2)
    for epoch in range(3):
        keys = [keys_of(list(loader.epoch(epoch))) for loader in both]
        assert sorted(keys[0] + keys[1]) == list(range(149))


def test_every_rank_yields_the_planned_number_of_full_batches(tmp_path: Path) -> None:
    both = loaders(write_examples(tmp_path, [70, 5], row_group_rows=16), world_size=2)
    for loader in both:
        batches = list(loader.epoch(0))
        assert [tuple(batch.features_BF.shape) for batch in batches] == [(16, NUM_FEATURES)] * 3
        weights = [int(batch.weight_B.sum()) for batch in batches]
        assert weights == [loader.plan.rows_at_step(loader.rank, step) for step in range(3)]


def test_the_values_of_a_row_stay_together_and_have_the_promised_types(tmp_path: Path) -> None:
    table = examples_table(100, 40)
    (loader,) = loaders((write_table(table, tmp_path, part=0, row_group_rows=7),))
    batch = next(loader.epoch(0))
    decimal, whole = torch.float32, torch.int64
    assert [tensor.dtype for tensor in batch[:-1]] == [decimal, whole, whole, decimal, decimal, whole, whole]
    written = {row["row_key"]: row for row in table.to_pylist()}
    for features, now, target, outcomes, _, key, day in zip(*batch[:-1], strict=True):
        row = written[int(key)]
        assert features.tolist() == row["features"]
        assert (int(now), int(target), int(day)) == (row["level_now"], row["target_level"], 19_000)
        assert outcomes.tolist() == row["outcomes"]


def test_padding_comes_after_the_rows_of_its_lane_and_is_all_zero(tmp_path: Path) -> None:
    (loader,) = loaders(write_examples(tmp_path, [11], first_key=100), batch_rows=8, num_lanes=2)
    last = list(loader.epoch(0))[-1]
    assert last.weight_B.tolist() == [1, 0, 0, 0, 1, 1, 0, 0]
    padded_B = last.weight_B == 0
    assert all(not tensor[padded_B].any() for tensor in last[:5])
    assert (last.row_key_B[~padded_B] >= 100).all()


def test_lists_beside_the_features_come_in_the_same_rows(tmp_path: Path) -> None:
    table = examples_table(0, 40)
    kinds = pa.array([[key, key + 1, key + 2] for key in range(40)], type=pa.list_(pa.int32()))
    gaps = pa.array([[key / 2] * 5 for key in range(40)], type=pa.list_(pa.float32()))
    path = write_table(table.append_column("kinds", kinds).append_column("gaps", gaps), tmp_path, part=0)
    fields = Fields(NUM_FEATURES, {"kinds": ("int32", 3), "gaps": ("float32", 5)})
    batch = next(loaders((path,), fields=fields)[0].epoch(0))
    assert {name: (tuple(values.shape), values.dtype) for name, values in batch.lists.items()} == {
        "kinds": ((32, 3), torch.int32),
        "gaps": ((32, 5), torch.float32),
    }
    assert batch.lists["kinds"][:, 0].tolist() == batch.row_key_B.tolist()
    assert (batch.lists["gaps"][:, 4] * 2).tolist() == batch.row_key_B.tolist()


def test_pyarrow_alone_gives_the_batches_that_petastorm_gives(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [70, 33, 5, 0, 41], row_group_rows=16)
    settings = {"world_size": 2, "num_lanes": 8, "batch_rows": 16}
    for one, other in zip(loaders(paths, **settings), loaders(paths, reader="pyarrow", **settings), strict=True):
        for _, (first, second) in zip(range(2 * one.plan.steps_per_epoch), pairs(one, other), strict=False):
            assert first[0] == second[0]
            assert all(torch.equal(*tensors) for tensors in zip(first[1][:5], second[1][:5], strict=True))


def pairs(one: FeedLoader, other: FeedLoader) -> "zip[tuple[object, object]]":
    return zip(one.batches(START), other.batches(START), strict=True)


def test_the_rows_of_a_step_are_the_same_for_any_number_of_ranks(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [70, 33, 5, 0, 41], row_group_rows=16)
    seen = []
    for world_size in (1, 2, 4):
        several = loaders(paths, world_size=world_size, num_lanes=8, batch_rows=16)
        epochs = [list(loader.epoch(1)) for loader in several]
        seen.append([torch.cat([batch.row_key_B for batch in step]).tolist() for step in zip(*epochs, strict=True)])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("tail", ["pad", "drop"])
def test_reading_from_a_position_gives_the_rest_of_the_endless_stream(tmp_path: Path, tail: Tail) -> None:
    paths = write_examples(tmp_path, [70, 33, 5, 0, 41], row_group_rows=16)
    (whole,) = loaders(paths, num_lanes=4, batch_rows=20, tail=tail)
    stream = whole.batches(START)
    first = [next(stream) for _ in range(3 * whole.plan.steps_per_epoch)]
    for stop in (0, 1, whole.plan.steps_per_epoch - 1, whole.plan.steps_per_epoch + 2):
        (again,) = loaders(paths, num_lanes=4, batch_rows=20, tail=tail)
        rest = again.batches(first[stop][0])
        for position, batch in first[stop + 1 :]:
            found_position, found = next(rest)
            assert found_position == position
            assert keys_of([found]) == keys_of([batch])


def test_a_position_reads_only_the_row_groups_it_still_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_examples(tmp_path, [40], row_group_rows=10)
    (loader,) = loaders(paths, batch_rows=10)
    read: list[str] = []
    monkeypatch.setattr(ParquetDatasetPiece, "read", counted(read))
    list(loader.epoch(0, first_step=3))
    # Readers of other tests may still read ahead.
    assert [path for path in read if path in paths] == [*paths]


def counted(read: list[str]) -> Callable[..., pa.Table]:
    plain = ParquetDatasetPiece.read

    def read_one(piece: ParquetDatasetPiece, columns: set[str], partitions: None = None) -> pa.Table:
        read.append(piece.path)
        return plain(piece, columns, partitions)

    return read_one


def test_the_order_is_fixed_by_the_seed_and_new_in_every_epoch(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [20, 20, 20], row_group_rows=10)
    (first,), (again,), (other,) = loaders(paths), loaders(paths), loaders(paths, seed=4)
    orders = [keys_of(list(first.epoch(epoch))) for epoch in range(5)]
    assert orders == [keys_of(list(again.epoch(epoch))) for epoch in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    assert keys_of(list(other.epoch(0))) != orders[0]


def test_the_order_does_not_depend_on_the_names_of_the_files(tmp_path: Path) -> None:
    (first,) = loaders(write_examples(tmp_path / "first", [20, 20]))
    (again,) = loaders(write_examples(tmp_path / "written again", [20, 20]))
    assert keys_of(list(first.epoch(1))) == keys_of(list(again.epoch(1)))


def test_rows_are_permuted_inside_their_row_group(tmp_path: Path) -> None:
    (loader,) = loaders(write_examples(tmp_path, [30], row_group_rows=10))
    keys = keys_of(list(loader.epoch(0)))
    groups = sorted((keys[start : start + 10] for start in (0, 10, 20)), key=min)
    assert [sorted(group) for group in groups] == [list(range(start, start + 10)) for start in (0, 10, 20)]
    assert all(group != sorted(group) for group in groups)


def test_two_hundred_epochs_over_sixteen_tiny_row_groups_lose_nothing(tmp_path: Path) -> None:
    (loader,) = loaders(write_examples(tmp_path, [4] * 8, row_group_rows=2), batch_rows=6, num_lanes=3)
    for epoch in range(200):
        assert sorted(keys_of(list(loader.epoch(epoch)))) == list(range(32))


def test_two_hundred_ranks_share_sixteen_tiny_row_groups_and_lose_nothing(tmp_path: Path) -> None:
    every = loaders(write_examples(tmp_path, [25] * 16, row_group_rows=25), world_size=200, batch_rows=200)
    keys = [key for loader in every for key in keys_of(list(loader.epoch(0)))]
    assert sorted(keys) == list(range(400))


def read_piece_as(change: Callable[[pa.Table], pa.Table], part: str) -> Callable[..., pa.Table]:
    """Make a piece's ``read`` that changes what it read of files whose path contains ``part``."""
    plain = ParquetDatasetPiece.read

    def read(piece: ParquetDatasetPiece, columns: set[str], partitions: None = None) -> pa.Table:
        table = plain(piece, columns, partitions)
        return change(table) if part in piece.path else table

    return read


def test_the_audit_stops_an_epoch_in_which_a_file_loses_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_examples(tmp_path, [20, 20, 20, 20])
    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(lambda table: table.slice(2), "part-00003"))
    told = r"rank 1 did not read the planned rows in epoch 6: .*part-00003-.*, row group 0, has 18 of 20 rows\. Do not"
    with pytest.raises(ArtefactError, match=told):
        list(loaders(paths, world_size=2)[1].epoch(6))


def test_the_audit_comes_before_the_last_batch_is_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loader,) = loaders(write_examples(tmp_path, [16, 4]), batch_rows=16, seed=None)
    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(lambda table: table.slice(1), "part-00001"))
    batches = loader.epoch(0)
    next(batches)
    with pytest.raises(ArtefactError, match="did not read the planned rows"):
        next(batches)


def test_more_rows_than_planned_stop_the_epoch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loader,) = loaders(write_examples(tmp_path, [20]), batch_rows=4)
    twice = read_piece_as(lambda table: pa.concat_tables([table, table]), "part-00000")
    monkeypatch.setattr(ParquetDatasetPiece, "read", twice)
    with pytest.raises(ArtefactError, match=r"part-00000-.* has 40 of 20 rows"):
        next(loader.epoch(0))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:-1], r"1 row groups never came, of .*part-0000"),
        (lambda rows: [*rows, rows[0]], r"row group 0, came after the last one"),
        (lambda rows: rows[::-1], r"row group 0, came instead of .*part-0000"),
    ],
    ids=["ends early", "goes on", "in another order"],
)
def test_a_reader_that_does_not_give_what_was_asked_for_stops_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[list[object]], list[object]], told: str
) -> None:
    plain = petastorm_reader.open_row_groups

    @contextmanager
    def wrong(groups: list[object], fields: list[str]) -> Iterator[Iterator[object]]:
        with plain(groups, fields) as arriving:  # type: ignore[arg-type]
            yield iter(change(list(arriving)))

    monkeypatch.setattr(petastorm_reader, "open_row_groups", wrong)
    (loader,) = loaders(write_examples(tmp_path, [20, 20]))
    with pytest.raises(ArtefactError, match="rank 0 did not read the planned rows in epoch 2: .*" + told):
        list(loader.epoch(2))


def test_a_reader_that_is_stuck_is_noticed_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def stuck(table: pa.Table) -> pa.Table:
        released.wait(30)
        return table

    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(stuck, "part-00001"))
    (loader,) = loaders(write_examples(tmp_path, [20, 20]), seed=None, timeout_seconds=0.5)
    told = r"the reader of the examples is stuck: nothing came for 0\.5 s while waiting for row group 0 of .*part-00001"
    with pytest.raises(ArtefactError, match=told):
        list(loader.epoch(0))
    released.set()


def test_no_more_is_read_ahead_than_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = read_ahead(items(), depth=3, timeout_seconds=5, waiting_for=str)
    assert [next(ahead) for _ in range(10)] == list(range(10))
    time.sleep(0.3)
    assert len(made) <= 10 + 3 + 1
    ahead.close()
    time.sleep(0.3)
    assert len(made) <= 10 + 3 + 2


def test_what_the_reading_thread_raises_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = read_ahead(items(), depth=3, timeout_seconds=5, waiting_for=str)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_other_rows_than_in_the_first_epoch_are_noticed(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [20, 20])
    (loader,) = loaders(paths)
    list(loader.epoch(0))
    write_table(examples_table(500, 20), tmp_path, part=1)
    told = r"rank 0 read other rows in epoch 1 than in its first one: key checksum \d+, not \d+; 40 rows"
    with pytest.raises(ArtefactError, match=told):
        list(loader.epoch(1))


def test_a_key_exchanged_for_another_changes_the_checksum_even_when_keys_wrap(tmp_path: Path) -> None:
    keys = pa.array([2**63 - 1, -(2**63), -1, 5], type=pa.int64())
    path = write_table(replaced(examples_table(0, 4), "row_key", keys), tmp_path, part=0)
    (loader,) = loaders((path,), batch_rows=4)
    list(loader.epoch(0))
    list(loader.epoch(1))
    write_table(replaced(examples_table(0, 4), "row_key", pa.array([2**63 - 1, -(2**63), -1, 6])), tmp_path, part=0)
    with pytest.raises(ArtefactError, match="read other rows in epoch 2"):
        list(loader.epoch(2))


def test_a_file_that_disappears_is_named_without_a_stack_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = write_examples(tmp_path, [20, 20])
    (loader,) = loaders(paths)
    Path(paths[1]).unlink()
    with pytest.raises(ArtefactError, match=r"rank 0 cannot read its examples: .*part-00001.* still exists"):
        list(loader.epoch(0))
    assert capfd.readouterr().err == ""


def test_a_file_damaged_inside_is_an_error_of_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (path,) = write_examples(tmp_path, [2000])
    (loader,) = loaders((path,))
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    Path(path).write_bytes(content)
    with pytest.raises(ArtefactError, match="rank 0 cannot read its examples: "):
        list(loader.epoch(0))
    assert capfd.readouterr().err == ""


def test_lists_of_different_lengths_are_refused() -> None:
    ragged = pa.chunked_array([pa.array([[1.0], [1.0, 2.0]], type=pa.list_(pa.float32()))])
    with pytest.raises(DataQualityError, match=r"features has lists of different lengths: 1 to 2\. Encode every"):
        column_to_numpy("features", ragged)


@pytest.mark.parametrize("lists", [[[1.0], None], [[1.0], [None]]])
def test_nulls_at_any_depth_are_refused(lists: list[object]) -> None:
    with pytest.raises(DataQualityError, match=r"features holds nulls: 1 in one row group\. Write examples without"):
        column_to_numpy("features", pa.chunked_array([pa.array(lists, type=pa.list_(pa.float32()))]))


def test_a_sliced_list_column_keeps_its_rows() -> None:
    column = pa.chunked_array([pa.array([[1, 2], [3, 4], [5, 6]], type=pa.list_(pa.float32()))]).slice(1)
    assert column_to_numpy("features", column).tolist() == [[3, 4], [5, 6]]


def test_a_column_without_rows_becomes_an_empty_array() -> None:
    assert column_to_numpy("features", pa.chunked_array([], type=pa.list_(pa.float32()))).shape == (0, 0)


def test_not_a_number_reaches_the_batch_unchanged_for_the_loop_to_judge(tmp_path: Path) -> None:
    (loader,) = loaders((write_table(with_feature(examples_table(0, 8), row=3, value=np.nan), tmp_path, part=0),))
    batch = next(loader.epoch(0))
    assert batch.row_key_B[batch.features_BF.isnan().any(dim=1) & (batch.weight_B > 0)].tolist() == [3]


def test_only_the_fields_asked_for_are_read_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = read_row_groups(write_examples(tmp_path, [20, 20], row_group_rows=10))[::-1]
    names = list(Fields(NUM_FEATURES).types)
    for pool in ("thread", "dummy"):
        with petastorm_reader.open_row_groups(groups, names, pool=pool) as arriving:
            found = [(rows.path, rows.number, sorted(rows.columns)) for rows in arriving]
        assert found == [(group.path, group.number, sorted(names)) for group in groups]
    assert capfd.readouterr() == ("", "")


def test_the_process_pool_is_refused(tmp_path: Path) -> None:
    groups = read_row_groups(write_examples(tmp_path, [4]))
    with (
        pytest.raises(ConfigError, match="process pool is not supported: its children lack the adapter"),
        petastorm_reader.open_row_groups(groups, ["row_key"], pool="process"),
    ):
        pass


def test_a_pool_that_looks_finished_too_early_is_asked_again() -> None:
    """The thread pool reads its counters first; work handed out right after that looks like the end of the data."""
    from petastorm.workers_pool import EmptyResultError

    table = pa.table({"row_key": [7]}).replace_schema_metadata({"path": "/p", "row_group": "0"})

    class Pool:
        _ventilated_items, _ventilated_items_processed, answers = 1, 0, [EmptyResultError(), table]

        def get_results(self) -> pa.Table:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            self._ventilated_items_processed = 1
            self.answers.append(EmptyResultError())
            return answer

    reader, pool = petastorm_reader.RowGroupReader(), Pool()
    assert reader.read_next(pool, None, None).columns["row_key"].tolist() == [7]
    with pytest.raises(StopIteration):
        reader.read_next(pool, None, None)


def test_pyarrow_and_numpy_are_as_before_once_petastorm_is_adapted() -> None:
    code = """
import sys, numpy, pyarrow, pyarrow.lib, pyarrow.parquet
watched = [numpy, pyarrow, pyarrow.lib, pyarrow.parquet]
before = [dict(vars(module)) for module in watched]
import memberlevel_spark.feed.petastorm_reader
for module, names in zip(watched, before):
    changed = {name for name, value in vars(module).items() if name in names and value is not names[name]}
    removed = set(names) - set(vars(module))
    # A submodule imported meanwhile shows up in its parent, as it would for any importer.
    added = {name for name in set(vars(module)) - set(names) if f"{module.__name__}.{name}" not in sys.modules}
    assert not (changed | removed | added), (module, changed, removed, added)
assert not {"pyarrow.filesystem", "pyarrow.hdfs"} & set(sys.modules)
assert not hasattr(numpy, "unicode_") and not hasattr(numpy, "string_")
from petastorm import make_batch_reader
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
