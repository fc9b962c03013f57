"""The loader: every row once per epoch, in a known order, and an audit that notices a reader that loses rows."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.feed import compat
from memberlevel_spark.feed.fields import FIELD_TYPES, column_to_numpy
from memberlevel_spark.feed.legacy_parquet import ParquetDatasetPiece
from memberlevel_spark.feed.loader import Batch, FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_file_rows
from tests.torch.made_examples import (
    NUM_FEATURES,
    examples_table,
    replaced,
    with_feature,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch


def loaders(paths: tuple[str, ...], *, world_size: int = 1, batch_rows: int = 32, seed: int = 3) -> list[FeedLoader]:
    plan = plan_feed(read_file_rows(paths), world_size=world_size, batch_rows=batch_rows)
    return [FeedLoader(plan, rank, num_features=NUM_FEATURES, seed=seed) for rank in range(world_size)]


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
        assert [tuple(batch.features_BF.shape) for batch in batches] == [(16, NUM_FEATURES)] * 5
        weights = [int(batch.weight_B.sum()) for batch in batches]
        assert weights == [loader.plan.rows_at_step(loader.rank, step) for step in range(5)]


def test_the_values_of_a_row_stay_together_and_have_the_promised_types(tmp_path: Path) -> None:
    table = examples_table(100, 40)
    (loader,) = loaders((write_table(table, tmp_path, part=0, row_group_rows=7),))
    batch = next(loader.epoch(0))
    assert [tensor.dtype for tensor in batch] == [
        torch.float32,
        torch.int64,
        torch.int64,
        torch.float32,
        torch.int64,
    ]
    written = {row["row_key"]: row for row in table.to_pylist()}
    for features, now, target, _, key in zip(*batch, strict=True):
        row = written[int(key)]
        assert features.tolist() == row["features"]
        assert (int(now), int(target)) == (row["level_now"], row["target_level"])


def test_padding_repeats_rows_of_the_table_with_weight_0_at_the_end(tmp_path: Path) -> None:
    (loader,) = loaders(write_examples(tmp_path, [10]), batch_rows=8)
    last = list(loader.epoch(0))[-1]
    assert last.weight_B.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert set(last.row_key_B.tolist()) <= set(range(10))
    assert torch.isfinite(last.features_BF).all()


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
    groups = [keys[start : start + 10] for start in (0, 10, 20)]
    assert [sorted(group) for group in groups] == [list(range(start, start + 10)) for start in (0, 10, 20)]
    assert all(group != sorted(group) for group in groups)


def test_fifty_epochs_over_sixteen_tiny_row_groups_lose_nothing(tmp_path: Path) -> None:
    (loader,) = loaders(write_examples(tmp_path, [4] * 8, row_group_rows=2), batch_rows=5)
    for epoch in range(50):
        assert sorted(keys_of(list(loader.epoch(epoch)))) == list(range(32))


def read_piece_as(change: Callable[[pa.Table], pa.Table], part: str) -> Callable[..., pa.Table]:
    """Make a piece's ``read`` that changes what it read of files whose path contains ``part``."""
    plain = ParquetDatasetPiece.read

    def read(piece: ParquetDatasetPiece, columns: set[str], partitions: None = None) -> pa.Table:
        table = plain(piece, columns, partitions)
        return change(table) if part in piece.path else table

    return read


def test_the_audit_stops_an_epoch_in_which_a_file_loses_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_examples(tmp_path, [20, 20, 20, 20])
    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(lambda table: table.slice(2), "part-00001"))
    told = r"rank 1 did not read the planned rows in epoch 6: .*part-00001-.* \(18 of 20\)\. Do not use"
    with pytest.raises(ArtefactError, match=told):
        list(loaders(paths, world_size=2)[1].epoch(6))


def test_the_audit_comes_before_the_last_batch_is_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loader,) = loaders(write_examples(tmp_path, [20]), batch_rows=16)
    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(lambda table: table.slice(1), "part-00000"))
    batches = loader.epoch(0)
    next(batches)
    with pytest.raises(ArtefactError, match="did not read the planned rows"):
        next(batches)


def test_a_row_group_that_never_comes_stops_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loader,) = loaders(write_examples(tmp_path, [20, 20]))
    monkeypatch.setattr(ParquetDatasetPiece, "read", read_piece_as(lambda table: table.slice(0, 0), "part-00001"))
    with pytest.raises(ArtefactError, match=r"part-00001-.* \(0 of 20\)"):
        list(loader.epoch(0))


def test_more_rows_than_planned_stop_the_epoch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loader,) = loaders(write_examples(tmp_path, [20]), batch_rows=4)
    twice = read_piece_as(lambda table: pa.concat_tables([table, table]), "part-00000")
    monkeypatch.setattr(ParquetDatasetPiece, "read", twice)
    with pytest.raises(ArtefactError, match=r"part-00000-.* \(40 of 20\)"):
        next(loader.epoch(0))


def test_other_rows_than_in_the_first_epoch_are_noticed(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, [20, 20])
    (loader,) = loaders(paths)
    list(loader.epoch(0))
    write_table(examples_table(500, 20), tmp_path, part=1)
    told = r"rank 0 read other rows in epoch 1 than in its first one: key checksum \d+, not \d+; 2 files, 40 rows"
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
    paths = write_examples(tmp_path, [20, 20], row_group_rows=10)
    for pool in ("thread", "dummy"):
        with compat.open_row_groups(paths, list(FIELD_TYPES), pool=pool) as groups:
            found = [(group.path, group.number, sorted(group.columns)) for group in groups]
        assert found == [(path, index, sorted(FIELD_TYPES)) for path in paths for index in (0, 1)]
    assert capfd.readouterr() == ("", "")


def test_the_process_pool_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="process pool is not supported: its children lack the adapter"),
        compat.open_row_groups(write_examples(tmp_path, [4]), ["row_key"], pool="process"),
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

    reader, pool = compat.RowGroupReader(), Pool()
    assert reader.read_next(pool, None, None).columns["row_key"].tolist() == [7]
    with pytest.raises(StopIteration):
        reader.read_next(pool, None, None)


def test_pyarrow_and_numpy_are_as_before_once_petastorm_is_adapted() -> None:
    code = """
import sys, numpy, pyarrow, pyarrow.lib, pyarrow.parquet
watched = [numpy, pyarrow, pyarrow.lib, pyarrow.parquet]
before = [dict(vars(module)) for module in watched]
import memberlevel_spark.feed.compat
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
