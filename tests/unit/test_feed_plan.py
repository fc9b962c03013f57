"""The feed plan: who reads which rows, for any file sizes, ranks and batches."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.feed.plan import FeedPlan, FileRows, epoch_order, local_path, plan_feed, read_file_rows

file_sizes = st.lists(st.integers(0, 500) | st.sampled_from([0, 1, 10_000]), min_size=1, max_size=30)
ranks = st.integers(1, 8)
local_batches = st.integers(1, 300)


def files_of(sizes: list[int]) -> tuple[FileRows, ...]:
    return tuple(FileRows(f"/examples/part-{number:05d}.parquet", rows) for number, rows in enumerate(sizes))


def planned(sizes: list[int], world_size: int, local_batch: int) -> FeedPlan:
    assume(sum(size > 0 for size in sizes) >= world_size)
    return plan_feed(files_of(sizes), world_size=world_size, batch_rows=world_size * local_batch)


@given(file_sizes, ranks, local_batches)
def test_every_file_with_rows_belongs_to_exactly_one_rank(sizes: list[int], world_size: int, local_batch: int) -> None:
    plan = planned(sizes, world_size, local_batch)
    given_out = sorted(file.path for files in plan.rank_files for file in files)
    assert given_out == [file.path for file in files_of(sizes) if file.num_rows]
    assert plan.num_rows == sum(sizes)


@given(file_sizes, ranks, local_batches)
def test_the_steps_of_each_rank_add_up_to_its_rows(sizes: list[int], world_size: int, local_batch: int) -> None:
    plan = planned(sizes, world_size, local_batch)
    steps = range(plan.steps_per_epoch)
    for rank, files in enumerate(plan.rank_files):
        assert sum(plan.rows_at_step(rank, step) for step in steps) == sum(file.num_rows for file in files)
    assert sum(plan.global_rows_at_step(step) for step in steps) == sum(sizes)
    assert plan.padded_rows == plan.steps_per_epoch * world_size * local_batch - sum(sizes)


@given(file_sizes, ranks, local_batches)
def test_no_step_is_without_rows_and_one_step_less_would_not_do(
    sizes: list[int], world_size: int, local_batch: int
) -> None:
    plan = planned(sizes, world_size, local_batch)
    assert all(0 < plan.global_rows_at_step(step) <= plan.batch_rows for step in range(plan.steps_per_epoch))
    assert max(plan.rank_rows) > (plan.steps_per_epoch - 1) * local_batch


@given(file_sizes, ranks, local_batches)
def test_no_rank_is_ahead_of_another_by_more_than_its_shortest_file(
    sizes: list[int], world_size: int, local_batch: int
) -> None:
    plan = planned(sizes, world_size, local_batch)
    for files, rows in zip(plan.rank_files, plan.rank_rows, strict=True):
        assert rows - min(plan.rank_rows) <= min(file.num_rows for file in files)


@given(file_sizes, ranks, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_list(sizes: list[int], world_size: int, random: object) -> None:
    plan = planned(sizes, world_size, 4)
    shuffled = list(files_of(sizes))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_feed(shuffled, world_size=world_size, batch_rows=4 * world_size) == plan


def test_a_written_out_plan_of_three_ragged_files_and_two_ranks() -> None:
    plan = plan_feed(files_of([5, 0, 3, 4]), world_size=2, batch_rows=4)
    assert [[file.num_rows for file in files] for files in plan.rank_files] == [[5], [3, 4]]
    assert (plan.local_batch_rows, plan.steps_per_epoch, plan.num_rows, plan.padded_rows) == (2, 4, 12, 4)
    assert [plan.rows_at_step(0, step) for step in range(4)] == [2, 2, 1, 0]
    assert [plan.rows_at_step(1, step) for step in range(4)] == [2, 2, 2, 1]
    assert [plan.global_rows_at_step(step) for step in range(4)] == [4, 4, 3, 1]
    assert plan.positions == {
        "/examples/part-00000.parquet": 0,
        "/examples/part-00002.parquet": 1,
        "/examples/part-00003.parquet": 2,
    }


@given(file_sizes, st.integers(0, 2**31), st.integers(0, 100))
def test_the_epoch_order_is_a_permutation_fixed_by_seed_and_epoch(sizes: list[int], seed: int, epoch: int) -> None:
    files = files_of(sizes)
    order = epoch_order(files, seed, epoch)
    assert sorted(order, key=lambda file: file.path) == list(files)
    assert order == epoch_order(files, seed, epoch)


def test_the_order_changes_with_the_epoch_and_with_the_seed() -> None:
    files = files_of([1] * 16)
    orders = {epoch_order(files, seed, epoch) for seed in (0, 1) for epoch in range(20)}
    assert len(orders) == 40


@pytest.mark.parametrize(
    ("sizes", "world_size", "batch_rows", "error", "message"),
    [
        ([9, 9], 2, 5, ConfigError, r"a batch of 5 rows cannot be divided among 2 processes\. Set .* to 4"),
        ([9, 9], 2, 1, ConfigError, r"a batch of 1 rows cannot be divided among 2 processes\. Set .* to 2"),
        ([9, 9], 0, 4, ConfigError, r"a batch of 4 rows cannot be divided among 0 processes"),
        ([9, 9], 2, 0, ConfigError, r"a batch of 0 rows cannot be divided among 2 processes"),
        ([9, 0, 9], 3, 6, ConfigError, r"more processes than files with rows: 3 processes, 2 of 3 files have rows"),
        ([1, 1], 3, 6, ConfigError, r"fewer rows than processes: 2 rows, 3 processes"),
        ([0, 0], 1, 6, ArtefactError, r"no examples to read: 2 files, 0 rows"),
        ([], 1, 6, ArtefactError, r"no examples to read: 0 files, 0 rows"),
    ],
)
def test_an_impossible_plan_is_refused_with_its_numbers(
    sizes: list[int], world_size: int, batch_rows: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_feed(files_of(sizes), world_size=world_size, batch_rows=batch_rows)


def test_a_file_listed_twice_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"listed twice: /examples/part-00000\.parquet\. List each live file once"):
        plan_feed(files_of([3]) * 2, world_size=1, batch_rows=2)


def test_footers_give_the_rows_sorted_by_path_whether_path_or_uri(tmp_path: Path) -> None:
    folder = tmp_path / "a b%#"
    folder.mkdir()
    for name, rows in (("b.parquet", 3), ("a.parquet", 0)):
        pq.write_table(pa.table({"x": list(range(rows))}), folder / name)
    found = read_file_rows([(folder / "b.parquet").as_uri(), str(folder / "a.parquet")])
    assert found == (FileRows(str(folder / "a.parquet"), 0), FileRows(str(folder / "b.parquet"), 3))


def test_files_that_are_missing_or_not_parquet_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("not parquet at all")
    with pytest.raises(ArtefactError, match=r"cannot be read: .*bad\.parquet .*, .*gone\.parquet .*still exists"):
        read_file_rows([str(tmp_path / "bad.parquet"), str(tmp_path / "gone.parquet")])


@pytest.mark.parametrize("path", ["s3://bucket/part.parquet", "relative/part.parquet"])
def test_a_path_that_is_not_local_and_absolute_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="not a local file: " + path):
        local_path(path)


@pytest.mark.parametrize("uri", ["file:/data/a%20b", "file:///data/a%20b"])
def test_both_spellings_of_a_file_uri_are_understood(uri: str) -> None:
    assert local_path(uri) == "/data/a b"
