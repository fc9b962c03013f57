"""The kernel of event sequences against plain Python, and vocabularies as files."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.features.kernel_axes import Questions
from memberlevel_spark.features.kernel_events import RecentEvents
from memberlevel_spark.features.vocabulary import Vocabulary, indices
from memberlevel_spark.timeline import day_end_second


@dataclass(frozen=True)
class Event:
    """One event of a member; seconds need not rise, as in a night when clocks go back."""

    day: int
    second: int
    value: int


EVENT = st.builds(Event, st.integers(0, 12), st.integers(0, 10**6), st.integers(1, 9))
MEMBERS = st.lists(st.lists(EVENT, max_size=12), min_size=1, max_size=4)


@given(MEMBERS, st.lists(st.integers(0, 13), min_size=1, max_size=4), st.integers(1, 6))
def test_sequences_are_those_of_plain_python(histories: list[list[Event]], as_of_days: list[int], length: int):
    rows = [(member, event) for member, history in enumerate(histories) for event in history]
    member_Q, as_of_Q = np.divmod(np.arange(len(histories) * len(as_of_days)), len(as_of_days))
    as_of_Q = np.asarray(as_of_days)[as_of_Q]
    recent = RecentEvents(
        Questions(member_Q, as_of_Q),
        np.array([member for member, _ in rows], dtype=np.int64),
        day_E=np.array([event.day for _, event in rows], dtype=np.int64),
        num_members=len(histories),
        length=length,
    )
    second_E = np.array([event.second for _, event in rows], dtype=np.int64)
    values_QL = recent.values(np.array([event.value for _, event in rows], dtype=np.int32))
    gap_QL, age_QL = recent.gap_seconds(second_E), recent.age_seconds(second_E, as_of_Q * 100)
    for q, (member, as_of) in enumerate(zip(member_Q, as_of_Q, strict=True)):
        past = sorted((event for event in histories[member] if event.day <= as_of), key=lambda event: event.day)
        shown, padding = past[::-1][:length], [0] * max(length - len(past), 0)
        before = [None, *past][::-1][1:][:length]
        gaps = [event.second - old.second if old else 0 for event, old in zip(shown, before, strict=False)]
        assert recent.num_Q[q] == len(shown)
        assert values_QL[q].tolist() == [event.value for event in shown] + padding
        assert gap_QL[q].tolist() == gaps + padding
        assert age_QL[q].tolist() == [as_of * 100 - event.second for event in shown] + padding


def test_no_members_and_no_questions_are_no_rows():
    nothing = np.empty(0, dtype=np.int64)
    recent = RecentEvents(Questions(nothing, nothing), nothing, day_E=nothing, num_members=0, length=4)
    assert recent.values(nothing).shape == recent.gap_seconds(nothing).shape == (0, 4)


def test_a_day_ends_at_the_next_midnight_of_its_zone_also_when_clocks_change():
    assert day_end_second(date(1970, 1, 1), "UTC") == 86_400
    spring, fall = date(2024, 3, 31), date(2024, 10, 27)
    for day, hours in ((spring, 23), (fall, 25)):
        before = date.fromordinal(day.toordinal() - 1)
        length = day_end_second(day, "Europe/Berlin") - day_end_second(before, "Europe/Berlin")
        assert length == hours * 3600


def test_indices_start_at_two_unknown_texts_are_one_and_a_null_is_what_is_said():
    given = pa.array(["b", "new", None, "a"])
    assert indices(given, ("a", "b"), missing=0).tolist() == [3, 1, 0, 2]
    assert indices(given, ("a", "b"), missing=1).tolist() == [3, 1, 1, 2]
    assert indices(given, (), missing=0).tolist() == [1, 1, 0, 1]


def test_a_vocabulary_survives_its_file_and_its_version_is_its_entries():
    made = Vocabulary.of(date(2024, 3, 10), [("c", 2, "app"), ("c", 1, "web")], ("c", "d"))
    assert made.entries == {"c": ("web", "app"), "d": ()}
    assert Vocabulary.from_json(made.to_json()) == made
    later = Vocabulary(date(2025, 1, 1), made.entries)
    turned = Vocabulary.of(date(2024, 3, 10), [("c", 1, "app"), ("c", 2, "web")], ("c", "d"))
    assert later.version == made.version != turned.version


def test_a_changed_or_damaged_vocabulary_is_refused():
    made = Vocabulary.of(date(2024, 3, 10), [("c", 1, "web")], ("c",))
    with pytest.raises(ArtefactError, match=r"changed after it was written: it says v\w{12} and is v\w{12}\. Run"):
        Vocabulary.from_json(made.to_json().replace("web", "app"))
    for text in ("{", "[]", '{"entries": {}}'):
        with pytest.raises(ArtefactError, match=r"a vocabulary cannot be read: .+ Run the stage features"):
            Vocabulary.from_json(text)
