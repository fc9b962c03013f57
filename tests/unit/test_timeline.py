"""The boundary days of every window, in plain dates."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberlevel_spark.errors import ConfigError, LeakageError
from memberlevel_spark.timeline import LabelWindow, Split, every, lookback, steps_after

AS_OF = date(2024, 3, 10)


def test_a_lookback_ends_with_the_as_of_date_and_leaves_the_day_n_days_before_out():
    window = lookback(AS_OF, 7)
    assert AS_OF in window
    assert date(2024, 3, 4) in window
    assert date(2024, 3, 3) not in window
    assert date(2024, 3, 11) not in window


@pytest.mark.parametrize(
    ("gap", "first", "last"), [(0, date(2024, 3, 11), date(2024, 4, 7)), (2, date(2024, 3, 13), date(2024, 4, 9))]
)
def test_a_label_window_starts_the_day_after_the_gap_and_is_a_horizon_long(gap: int, first: date, last: date):
    window = LabelWindow(gap, 28).of(AS_OF)
    one = timedelta(days=1)
    assert [day in window for day in (first - one, first, last, last + one)] == [False, True, True, False]


def test_features_and_labels_never_share_a_day():
    label, features = LabelWindow(0, 28).of(AS_OF), lookback(AS_OF, 91)
    days = [AS_OF + timedelta(days=offset) for offset in range(-100, 40)]
    assert not [day for day in days if day in label and day in features]


def test_a_label_is_mature_on_its_last_day_and_refused_the_day_before():
    label = LabelWindow(1, 28)
    label.require_mature([AS_OF], date(2024, 4, 8))
    with pytest.raises(LeakageError, match=r"not mature for as-of dates: 2024-03-10 .* up to 2024-03-09"):
        label.require_mature([AS_OF], date(2024, 4, 7))


def test_weekly_dates_are_anchored_at_the_last_one():
    assert every(date(2024, 3, 1), AS_OF, 7) == (date(2024, 3, 3), AS_OF)


def test_a_range_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match="ends before it starts: 2024-03-10 to 2024-03-01"):
        every(AS_OF, date(2024, 3, 1), 7)


@given(st.integers(1, 400), st.integers(1, 40))
def test_every_keeps_its_step_and_never_leaves_the_range(span: int, step: int):
    first = AS_OF - timedelta(days=span)
    dates = every(first, AS_OF, step)
    assert dates[-1] == AS_OF and dates[0] >= first and (dates[0] - first).days < step
    assert {(b - a).days for a, b in pairwise(dates)} <= {step}


def test_an_embargo_of_exactly_the_reach_is_enough_and_a_day_less_is_not():
    label = LabelWindow(0, 28)
    split = Split((date(2024, 1, 1),), (date(2024, 1, 29),), (date(2024, 2, 26),))
    split.require_embargo(label)
    tight = Split((date(2024, 1, 1),), (date(2024, 1, 28),), (date(2024, 2, 26),))
    with pytest.raises(
        LeakageError, match="train labels overlap validation: as-of 2024-01-01 is labelled through 2024-01-29"
    ):
        tight.require_embargo(label)


def test_split_names_and_dates():
    split = Split((date(2024, 1, 1),), (date(2024, 1, 29),), (date(2024, 2, 26),))
    assert [split.name_of(day) for day in split.dates] == ["train", "validation", "test"]
    with pytest.raises(KeyError):
        split.name_of(AS_OF)


def test_steps_after_a_date_leave_it_out_and_reach_the_last_day():
    start = date(2024, 1, 1)
    assert steps_after(start, date(2024, 1, 15), 7) == (date(2024, 1, 8), date(2024, 1, 15))
    assert steps_after(start, date(2024, 1, 14), 7) == (date(2024, 1, 8),)
    assert steps_after(start, start, 7) == steps_after(start, date(2023, 12, 1), 7) == ()


def test_a_label_is_known_on_its_last_day_and_not_before():
    label = LabelWindow(gap_days=2, horizon_days=5)
    assert label.last_known_by(date(2024, 1, 8)) == date(2024, 1, 1)
    assert label.label_date(label.last_known_by(date(2024, 1, 8))) == date(2024, 1, 8)
