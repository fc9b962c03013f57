"""Which profile held on a day, against plain Python; what a profile feature is called and means; its declaration."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memberlevel_spark.config import load_config
from memberlevel_spark.config.model import FeaturesConfig
from memberlevel_spark.examples.build import model_inputs
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.catalogue import catalogue
from memberlevel_spark.features.kernel_axes import Questions
from memberlevel_spark.features.kernel_profiles import valid_row
from memberlevel_spark.features.profiles import NEVER_ENDS, ProfileFeature, profile_answers, profile_features
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"
DAY = st.integers(-3, 12)
SPAN = st.tuples(DAY, st.one_of(st.integers(-3, 15), st.just(NEVER_ENDS)), DAY)


@given(st.lists(st.lists(SPAN, max_size=5, unique_by=lambda span: span[0]), min_size=1, max_size=3))
def test_the_valid_and_known_row_that_began_last_counts(histories: list[list[tuple[int, int, int]]]):
    rows = [(member, *span) for member, spans in enumerate(histories) for span in spans]
    member_P, from_P, until_P, known_P = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    member_Q, as_of_Q = np.divmod(np.arange(len(histories) * 16), 16)
    asked = Questions(member_Q, as_of_Q)
    found_Q = valid_row(asked, member_P, from_P=from_P, until_P=until_P, known_P=known_P)
    for member, as_of, found in zip(member_Q, as_of_Q, found_Q, strict=True):
        spans = sorted(histories[member])
        valid = []
        for number, (first, until, known) in enumerate(spans):
            following = spans[number + 1] if number + 1 < len(spans) else None
            ends = max(until, following[2]) if following and following[0] == until else until
            if first <= as_of < ends and known <= as_of:
                valid.append((first, until, known))
        assert (None if found < 0 else rows[found][1:]) == max(valid, default=None)


def test_a_row_that_comes_late_counts_from_the_day_it_is_known():
    # Ulm from day 1; that it is Kiel from day 5 on is known on day 8 only.
    rows = {"from_P": np.array([1, 5]), "until_P": np.array([5, NEVER_ENDS]), "known_P": np.array([1, 8])}
    asked = Questions(np.zeros(5, dtype=np.int64), np.array([0, 4, 5, 7, 8]))
    assert valid_row(asked, np.array([0, 0]), **rows).tolist() == [-1, 0, 0, 0, 1]


def test_nobody_has_a_profile_where_there_are_none():
    nothing = np.empty(0, dtype=np.int64)
    asked = Questions(np.array([0]), np.array([5]))
    assert valid_row(asked, nothing, from_P=nothing, until_P=nothing, known_P=nothing).tolist() == [-1]


def test_a_category_is_its_index_and_a_number_may_be_null():
    city, age = ProfileFeature("city", "category", ("Ulm", "Kiel")), ProfileFeature("age", "number")
    batch = pa.record_batch(
        {
            "valid_from": pa.array([[1, 5], None, [1]]),
            "valid_until": pa.array([[5, NEVER_ENDS], None, [NEVER_ENDS]]),
            "profile_city": pa.array([["Kiel", "Bonn"], None, [None]]),
            "profile_age": pa.array([[30.5, None], None, [7.0]]),
            "known_profile_city": pa.array([[1, 6], None, [1]]),  # the city was corrected, the age was not
            "known_profile_age": pa.array([[1, 5], None, [1]]),
        }
    )
    asked = Questions(np.array([0, 0, 0, 0, 1, 2]), np.array([0, 4, 5, 6, 5, 5]))
    answers = profile_answers(batch, (city, age), asked)
    assert answers["profile_city"].tolist() == [0, 3, 3, 1, 0, 0]
    np.testing.assert_array_equal(answers["profile_age"], [np.nan, 30.5, np.nan, np.nan, np.nan, 7.0])


def test_the_digest_of_a_category_is_that_of_its_entries_in_their_order():
    a, b = ProfileFeature("city", "category", ("Ulm", "Kiel")), ProfileFeature("city", "category", ("Kiel", "Ulm"))
    assert a.digest != b.digest and a.name == b.name == "profile_city"
    assert a.digest == ProfileFeature("city", "category", ("Ulm", "Kiel")).digest


def test_the_catalogue_says_what_each_index_is():
    page = catalogue((), profile=(ProfileFeature("city", "category", ("Ulm",)), ProfileFeature("age", "number")))
    assert "| `profile_city` | city of that profile: 0 without one, 1 for others, from 2 on Ulm |" in page
    of_day = "of the profile valid and known on the as-of date"
    assert f"| `profile_age` | age {of_day}; null without one, or when no number below 2^63 |" in page


@pytest.mark.parametrize("profile", [{"city": "text"}, {"Home City": "category"}])
def test_a_declaration_is_an_identifier_and_a_kind(profile: dict[str, str]):
    with pytest.raises(ValidationError):
        FeaturesConfig.model_validate({"measures": ["m"], "windows_days": [7], "sequence_weeks": 1, "profile": profile})


def test_a_protected_attribute_is_no_input_of_the_encoder_unless_it_is_allowed():
    settings = ["features.profile={age: category, kids_count: number}", "evaluation.protected=[age, income]"]
    vocabulary = Vocabulary(date(2017, 10, 8), {"profile_age": ("19-24", "65+")})
    found = []
    for more in ([], ["features.allow_protected=true"]):
        config = load_config(JOURNEY, [*settings, *more])
        rules, profile = LevelRules.of(config.levels, MEASURES), profile_features(config.profile_read, vocabulary)
        inputs = model_inputs((), rules, (), 0, profile=profile)
        names = Encoder(inputs, rules.num_levels, (), ()).names
        found.append([name for name in names if name.startswith("profile")])
    ages = [f"profile_age_is_{index}" for index in (1, 2, 3)]
    assert found == [["profile_kids_count"], [*ages, "profile_kids_count"]]
