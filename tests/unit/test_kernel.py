"""The window kernel against a plain-Python oracle."""

from datetime import date

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from memberlevel_spark.features.kernel import TileAxis, weekly_sums, windowed
from memberlevel_spark.features.windows import WindowPlan, compute_batch, days_since_epoch

HISTORY = st.lists(st.tuples(st.integers(0, 60), st.integers(-3, 9), st.integers(0, 2)), max_size=25)
PLAN = WindowPlan(
    measures=("num_orders", "spend_cents"),
    as_of_days=(20, 33, 59),
    windows_days=(1, 7, 91),
    sequence_weeks=3,
    level_measure=1,
    order_measure=0,
    metric_days=30,
    carry_over_days=0,
)


def axis_of(histories: list[list[tuple[int, int, int]]]) -> TileAxis:
    rows = [(m, day, a, b) for m, history in enumerate(histories) for day, a, b in history]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return TileAxis.of(columns[0], columns[1], columns[2:])


@settings(max_examples=150, deadline=None)
@given(st.lists(HISTORY, min_size=1, max_size=5), st.integers(0, 70))
def test_every_window_of_every_member_equals_a_plain_sum(histories: list[list[tuple[int, int, int]]], as_of: int):
    member = np.arange(len(histories), dtype=np.int64)
    as_of_Q = np.full(len(histories), as_of, dtype=np.int64)
    windows = (1, 7, 28)
    sums, counts = windowed(axis_of(histories), member, as_of_Q, windows)
    for m, history in enumerate(histories):
        for w, days in enumerate(windows):
            inside = [row for row in history if as_of - days < row[0] <= as_of]
            assert [sums[k, w, m] for k in (0, 1)] == [sum(row[k + 1] for row in inside) for k in (0, 1)]
            assert [counts[k, w, m] for k in (0, 1)] == [sum(row[k + 1] != 0 for row in inside) for k in (0, 1)]


@settings(max_examples=100, deadline=None)
@given(st.lists(HISTORY, min_size=1, max_size=4), st.integers(0, 70))
def test_days_since_last_and_first_count_non_zero_tiles_up_to_the_as_of_date(
    histories: list[list[tuple[int, int, int]]], as_of: int
):
    member = np.arange(len(histories), dtype=np.int64)
    last, first = axis_of(histories).last_and_first(1, member, np.full(len(histories), as_of, dtype=np.int64))
    for m, history in enumerate(histories):
        days = [day for day, _, value in history if value != 0 and day <= as_of]
        assert (last[m], first[m]) == ((as_of - max(days), as_of - min(days)) if days else (-1, -1))


def test_weeks_are_newest_first_and_split_on_the_right_days():
    history = [(20, 1, 0), (14, 2, 0), (13, 4, 0), (7, 8, 0), (6, 16, 0)]
    sums = weekly_sums(axis_of([history]), np.zeros(1, np.int64), np.array([20]), 3)
    assert sums[0, 0].tolist() == [3, 12, 16]


def test_large_cents_are_exact():
    history = [(day, 9_007_199_254_740_993, 0) for day in range(3)]
    sums, _ = windowed(axis_of([history]), np.zeros(1, np.int64), np.array([5]), (28,))
    assert sums[0, 0, 0] == 3 * 9_007_199_254_740_993


def batch(days: list[list[int] | None], known: list[int]) -> pa.RecordBatch:
    values = [None if day is None else [1] * len(day) for day in days]
    return pa.RecordBatch.from_pydict(
        {
            "member_id": pa.array([f"m{i}" for i in range(len(days))]),
            "known_day": pa.array(known, pa.int32()),
            "day": pa.array(days, pa.list_(pa.int32())),
            "num_orders": pa.array(values, pa.list_(pa.int64())),
            "spend_cents": pa.array(values, pa.list_(pa.int64())),
        }
    )


def test_silent_members_get_zeros_and_members_not_known_yet_get_no_row():
    out = compute_batch(batch([None, [10, 20], []], [0, 21, 60]), PLAN).to_pylist()
    assert [(row["member_id"], row["as_of_day"]) for row in out] == [
        ("m0", 20),
        ("m0", 33),
        ("m0", 59),
        ("m1", 33),
        ("m1", 59),
    ]
    assert set(out[0]["values"][:-2]) == {0} and out[0]["values"][-2:] == [-1, -1]
    assert out[3]["values"] == [0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 2, 13, 23]
    assert (out[3]["metric_now"], out[3]["metric_carry_over"]) == (2, 0)
    assert out[3]["weekly"] == [0, 1, 0, 0, 1, 0]


def test_days_are_counted_from_1970_and_sorted():
    assert days_since_epoch([date(1970, 1, 11), date(1970, 1, 1)]) == (0, 10)
