"""The feed plan: who reads which rows when, for any sizes of files and row groups, ranks, lanes and batches."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.feed.order import reading_order, row_order
from memberlevel_spark.feed.plan import FeedPlan, Piece, RowGroup, Tail, plan_feed, read_row_groups
from memberlevel_spark.feed.store import local_path

Row = tuple[str, int, int]  # path, row group, number in it

# Ragged files, a big one among tiny ones, empty row groups, one row.
sizes_of_files = st.lists(
    st.lists(st.integers(0, 40) | st.sampled_from([0, 1, 500]), min_size=0, max_size=4), min_size=1, max_size=8
)
ranks = st.integers(1, 6)
shares = st.integers(1, 4)  # lanes per rank
lane_batches = st.integers(1, 30)
tails = st.sampled_from(["pad", "drop"])


def groups_of(sizes: list[list[int]]) -> tuple[RowGroup, ...]:
    return tuple(
        RowGroup(f"/examples/part-{number:05d}.parquet", index, rows)
        for number, groups in enumerate(sizes)
        for index, rows in enumerate(groups)
    )


def all_rows(sizes: list[list[int]]) -> list[Row]:
    return [(group.path, group.number, row) for group in groups_of(sizes) for row in range(group.num_rows)]


def planned(sizes: list[list[int]], world_size: int, share: int, lane_batch: int, tail: Tail = "pad") -> FeedPlan:
    num_rows, num_lanes = len(all_rows(sizes)), world_size * share
    assume(num_rows >= world_size)
    assume(tail == "pad" or num_rows // num_lanes >= lane_batch)
    return plan_feed(
        groups_of(sizes), world_size=world_size, batch_rows=num_lanes * lane_batch, num_lanes=num_lanes, tail=tail
    )


def steps_of(plan: FeedPlan, *, seed: int | None, epoch: int, first_step: int = 0) -> dict[int, list[tuple[int, Row]]]:
    """Lane and row of everything that each step of an epoch takes, on all ranks."""
    steps: dict[int, list[tuple[int, Row]]] = {step: [] for step in range(first_step, plan.steps_per_epoch)}
    for rank in range(plan.world_size):
        taken = dict.fromkeys(plan.lanes_of(rank), first_step * plan.lane_batch_rows)
        readings = reading_order(plan, rank, seed=seed, epoch=epoch, first_step=first_step)
        assert [reading.step for reading in readings] == sorted(reading.step for reading in readings)
        for reading in readings:
            assert reading.step == taken[reading.lane] // plan.lane_batch_rows
            group = reading.piece.group
            for row in row_order(plan, reading, seed=seed, epoch=epoch).tolist():
                step = taken[reading.lane] // plan.lane_batch_rows
                steps[step].append((reading.lane, (group.path, group.number, row)))
                taken[reading.lane] += 1
    return {step: sorted(rows) for step, rows in steps.items()}


@given(sizes_of_files, ranks, shares, lane_batches)
def test_every_row_belongs_to_exactly_one_lane(sizes: list[list[int]], world: int, share: int, batch: int) -> None:
    plan = planned(sizes, world, share, batch)
    given_out = [
        (piece.group.path, piece.group.number, piece.first_row + row)
        for pieces in plan.lanes
        for piece in pieces
        for row in range(piece.num_rows)
    ]
    assert given_out == all_rows(sizes)
    assert plan.num_rows == len(given_out)


@given(sizes_of_files, ranks, shares, lane_batches)
def test_no_lane_is_longer_than_another_by_more_than_a_row(
    sizes: list[list[int]], world: int, share: int, batch: int
) -> None:
    plan = planned(sizes, world, share, batch)
    assert max(plan.lane_rows) - min(plan.lane_rows) <= 1


@given(sizes_of_files, ranks, shares, lane_batches, st.integers(0, 2**31), st.integers(0, 100))
def test_an_epoch_takes_every_row_once_and_as_many_a_step_as_planned(
    sizes: list[list[int]], world: int, share: int, batch: int, seed: int, epoch: int
) -> None:
    plan = planned(sizes, world, share, batch)
    steps = steps_of(plan, seed=seed, epoch=epoch)
    assert sorted(row for rows in steps.values() for _, row in rows) == all_rows(sizes)
    assert [len(rows) for rows in steps.values()] == [plan.global_rows_at_step(step) for step in steps]
    assert all(0 < len(rows) <= plan.batch_rows for rows in steps.values())
    for rank in range(world):
        of_rank = [sum(lane in plan.lanes_of(rank) for lane, _ in rows) for rows in steps.values()]
        assert of_rank == [plan.rows_at_step(rank, step) for step in steps]
    assert plan.padded_rows == len(steps) * plan.batch_rows - plan.num_rows
    assert plan.dropped_rows == 0


@given(sizes_of_files, ranks, shares, lane_batches, st.integers(0, 2**31))
def test_a_dropped_tail_leaves_full_batches_and_counts_what_is_left_out(
    sizes: list[list[int]], world: int, share: int, batch: int, seed: int
) -> None:
    plan = planned(sizes, world, share, batch, "drop")
    steps = steps_of(plan, seed=seed, epoch=0)
    taken = [row for rows in steps.values() for _, row in rows]
    assert {len(rows) for rows in steps.values()} == {plan.batch_rows}
    assert len(set(taken)) == len(taken) == plan.rows_per_epoch
    assert plan.dropped_rows == plan.num_rows - len(taken) < plan.batch_rows + plan.num_lanes
    assert plan.padded_rows == 0


@given(sizes_of_files, st.sampled_from([1, 2, 3, 4, 6]), lane_batches, tails, st.integers(0, 2**31))
def test_a_batch_holds_the_same_rows_for_any_number_of_ranks_that_divides_the_lanes(
    sizes: list[list[int]], world: int, batch: int, tail: Tail, seed: int
) -> None:
    alone, several = planned(sizes, 1, 12, batch, tail), planned(sizes, world, 12 // world, batch, tail)
    assert steps_of(alone, seed=seed, epoch=3) == steps_of(several, seed=seed, epoch=3)


@given(sizes_of_files, ranks, shares, lane_batches, tails, st.data())
def test_an_epoch_read_from_its_middle_takes_what_the_whole_one_takes_there(
    sizes: list[list[int]], world: int, share: int, batch: int, tail: Tail, data: st.DataObject
) -> None:
    plan = planned(sizes, world, share, batch, tail)
    first = data.draw(st.integers(0, plan.steps_per_epoch))
    whole = steps_of(plan, seed=5, epoch=2)
    rest = steps_of(plan, seed=5, epoch=2, first_step=first)
    assert rest == {step: rows for step, rows in whole.items() if step >= first}


@given(sizes_of_files, ranks, shares, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_list(
    sizes: list[list[int]], world: int, share: int, random: object
) -> None:
    plan = planned(sizes, world, share, 4)
    shuffled = list(groups_of(sizes))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_feed(shuffled, world_size=world, batch_rows=plan.batch_rows, num_lanes=plan.num_lanes) == plan


def test_a_written_out_plan_of_three_files_four_lanes_and_two_ranks() -> None:
    groups = groups_of([[5, 2], [0], [3]])
    plan = plan_feed(groups, world_size=2, batch_rows=4, num_lanes=4)
    big, small, _, last = groups
    assert plan.lanes == (
        (Piece(big, 0, 2),),
        (Piece(big, 2, 3),),
        (Piece(small, 0, 2),),
        (Piece(last, 0, 3),),
    )
    assert (plan.lane_batch_rows, plan.local_batch_rows, plan.steps_per_epoch, plan.padded_rows) == (1, 2, 3, 2)
    assert [plan.rows_at_step(0, step) for step in range(3)] == [2, 2, 1]
    assert [plan.rows_at_step(1, step) for step in range(3)] == [2, 2, 1]
    assert plan.positions == {"/examples/part-00000.parquet": 0, "/examples/part-00002.parquet": 1}


def test_more_ranks_than_files_and_row_groups_share_one_row_group() -> None:
    plan = plan_feed(groups_of([[4]]), world_size=4, batch_rows=4, num_lanes=4)
    assert [plan.rows_at_step(rank, 0) for rank in range(4)] == [1, 1, 1, 1]
    assert plan.steps_per_epoch == 1


def test_the_order_is_new_in_every_epoch_and_with_every_seed_and_stays_the_table_s_without_one() -> None:
    plan = plan_feed(groups_of([[8, 8], [8]]), world_size=1, batch_rows=4, num_lanes=2)
    orders = {str(steps_of(plan, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in range(20)}
    assert len(orders) == 40
    lanes = [[], []]
    for rows in steps_of(plan, seed=None, epoch=7).values():
        for lane, row in rows:
            lanes[lane].append(row)
    assert lanes[0] + lanes[1] == all_rows([[8, 8], [8]])


@pytest.mark.parametrize(
    ("sizes", "world", "lanes", "batch", "error", "message"),
    [
        ([[9, 9]], 2, 4, 6, ConfigError, r"a batch of 6 rows cannot be divided among 4 lanes\. Set .* to 8"),
        ([[9, 9]], 2, 4, 0, ConfigError, r"a batch of 0 rows cannot be divided among 4 lanes\. Set .* to 4"),
        ([[9, 9]], 3, 4, 8, ConfigError, r"4 lanes cannot be divided among 3 processes\. Set training\.lanes to 3"),
        ([[9, 9]], 0, 4, 8, ConfigError, r"4 lanes cannot be divided among 0 processes"),
        ([[1], [1]], 3, 3, 6, ConfigError, r"fewer rows than processes: 2 rows, 3 processes\. Use 2 or fewer"),
        ([[0], [0]], 1, 1, 6, ArtefactError, r"no examples to read: 0 rows\. Build the examples"),
        ([], 1, 1, 6, ArtefactError, r"no examples to read: 0 rows"),
    ],
)
def test_an_impossible_plan_is_refused_with_its_numbers(
    sizes: list[list[int]], world: int, lanes: int, batch: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_feed(groups_of(sizes), world_size=world, batch_rows=batch, num_lanes=lanes)


def test_a_tail_that_would_drop_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no full batch: 7 rows, batches of 8 from 2 lanes\. Lower training\.batch"):
        plan_feed(groups_of([[7]]), world_size=1, batch_rows=8, num_lanes=2, tail="drop")


def test_a_file_listed_twice_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"listed twice: /examples/part-00000\.parquet\. List each live file once"):
        plan_feed(groups_of([[3]]) * 2, world_size=1, batch_rows=2, num_lanes=1)


def test_footers_give_the_row_groups_sorted_by_path_whether_path_or_uri(tmp_path: Path) -> None:
    folder = tmp_path / "a b%#"
    folder.mkdir()
    for name, rows in (("b.parquet", 3), ("a.parquet", 0)):
        pq.write_table(pa.table({"x": list(range(rows))}), folder / name, row_group_size=2)
    uri = (folder / "b.parquet").as_uri()
    empty = pq.read_metadata(folder / "a.parquet").num_row_groups
    found = read_row_groups([uri, str(folder / "a.parquet")])
    assert found[empty:] == (RowGroup(uri, 0, 2), RowGroup(uri, 1, 1))
    assert [group.num_rows for group in found[:empty]] == [0] * empty


def test_files_that_are_missing_or_not_parquet_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("not parquet at all")
    with pytest.raises(ArtefactError, match=r"cannot be read: .*bad\.parquet .*, .*gone\.parquet .*still exists"):
        read_row_groups([str(tmp_path / "bad.parquet"), str(tmp_path / "gone.parquet")])


def test_a_relative_path_and_an_unknown_store_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"not an absolute path: relative/part\.parquet"):
        read_row_groups(["relative/part.parquet"])
    with pytest.raises(ConfigError, match=r"the store of the examples cannot be opened: odd://bucket \("):
        read_row_groups(["odd://bucket/part.parquet"])


@pytest.mark.parametrize("uri", ["file:/data/a%20b", "file:///data/a%20b"])
def test_both_spellings_of_a_file_uri_are_understood(uri: str) -> None:
    assert local_path(uri) == "/data/a b"
