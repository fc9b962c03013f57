"""The next category: how its forecasts are judged, against plain Python; what its rivals say; how it is kept."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.category_metrics import category_metrics
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.tastes import came_true_share, category_shares, taste_probabilities
from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.examples.next_category import named
from memberlevel_spark.scoring.predictor import NUMBERS

# Five members: four bought, and of one of them nothing is known.
CATEGORY = [0, 1, -1, 3, 2]
P = [[0.5, 0.2, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]


def test_only_members_with_a_category_are_judged_and_of_equal_chances_the_lower_number_is_named_first() -> None:
    assert category_metrics(CATEGORY, P) == {
        "category_hit_1": 0.25,
        "category_hit_3": 0.75,
        "category_log_loss": pytest.approx(-math.log(0.5 * 0.3 * 0.1 * 0.25) / 4),
    }


def test_what_is_named_first_comes_before_what_is_likelier_and_leaves_the_log_loss() -> None:
    found = category_metrics(CATEGORY, P, [-1, 1, 0, 3, -1])
    assert (found["category_hit_1"], found["category_hit_3"]) == (0.75, 1.0)
    assert found["category_log_loss"] == category_metrics(CATEGORY, P)["category_log_loss"]


def test_where_nobody_bought_nothing_can_be_judged_and_an_impossible_category_costs_36_nats() -> None:
    assert set(category_metrics([-1, -1], P[:2]).values()) == {None}
    assert category_metrics([1], [[1.0, 0.0]])["category_log_loss"] == pytest.approx(52 * math.log(2))


def test_forecasts_of_other_members_are_refused() -> None:
    with pytest.raises(DataQualityError, match=r"numbers of rows differ: category 5, first 5, p_category 4"):
        category_metrics(CATEGORY, P[:4])


@given(st.data())
def test_hits_are_those_of_a_sorted_list(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 6))
    chance = st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0]), min_size=size, max_size=size)
    number = st.integers(-1, size - 1)
    rows = data.draw(st.lists(st.tuples(number, chance, number), min_size=1, max_size=8))
    hits: dict[int, list[bool]] = {1: [], 3: []}
    for truth, p, first in rows:
        order = sorted(range(size), key=lambda c, p=p, first=first: (c != first, -p[c], c))  # type: ignore[misc]
        for count, of_members in hits.items():
            of_members += [truth in order[:count]] if truth >= 0 else []
    found = category_metrics(*(list(column) for column in zip(*rows, strict=True)))
    for count, of_members in hits.items():
        expected = pytest.approx(sum(of_members) / len(of_members)) if of_members else None
        assert found[f"category_hit_{count}"] == expected


def test_a_forecast_of_categories_is_judged_beside_the_others_and_in_parts_of_the_members() -> None:
    actuals = Actuals(*np.zeros((2, 5), dtype=np.int64), *np.zeros((2, 5)), category_N=np.array(CATEGORY))
    array = np.concatenate([np.full((5, 2), 0.5), np.full((5, len(NUMBERS)), 0.5), P], axis=1)
    forecast = Forecast.of_array(array, 2)
    assert judge(actuals, forecast)["category_hit_1"] == 0.25
    rows = np.array([True, True, False, False, False])
    assert judge(actuals.of_rows(rows), forecast.of_rows(rows))["category_hit_1"] == 0.5
    plain = Forecast.of_array(array[:, : 2 + len(NUMBERS)], 2)
    assert plain.p_category_NC is None and "category_hit_1" not in judge(actuals, plain)
    assert "category_hit_1" not in judge(Actuals(*np.zeros((2, 5), dtype=np.int64), *np.zeros((2, 5))), forecast)


def test_shares_and_what_came_true_are_counted_with_one_more_of_each_kind() -> None:
    assert category_shares(np.array([5, 2, 0])).tolist() == [0.6, 0.3, 0.1]
    # Of four favourites with a category two came true.
    assert came_true_share(np.array([0, 1, 2, -1, 0, 1]), np.array([0, 1, 1, 0, -1, 2])) == 0.5


def test_taste_is_the_favourite_first_and_the_shop_behind_it() -> None:
    shares = np.array([0.6, 0.3, 0.1])
    found = taste_probabilities(np.array([2, -1, 0]), 0.5, shares)
    expected = [[0.6 * 0.5 / 0.9, 0.3 * 0.5 / 0.9, 0.5], [0.6, 0.3, 0.1], [0.5, 0.3 * 0.5 / 0.4, 0.1 * 0.5 / 0.4]]
    assert found == pytest.approx(np.array(expected))
    assert shares.tolist() == [0.6, 0.3, 0.1]


def test_an_encoder_keeps_the_categories_and_without_them_its_file_is_as_it_was() -> None:
    plain = Encoder((Input("x"),), 2, (0.5,), (1.5,))
    assert plain.to_json() == (
        '{"deviations": [1.5], "events": null, "inputs": [{"column": "x", "equals": null, "index": null, "meaning":'
        ' null, "when_null": 0}], "means": [0.5], "needs": [], "num_levels": 2}'
    )
    telling = Encoder((Input("x"),), 2, (0.5,), (1.5,), next_categories=("wine", "bread"))
    assert json.loads(telling.to_json())["next_categories"] == ["wine", "bread"]
    assert [Encoder.from_json(encoder.to_json()) for encoder in (plain, telling)] == [plain, telling]


def test_the_others_have_a_name_only_where_categories_are_told() -> None:
    assert (named(("wine", "bread")), named(())) == (("wine", "bread", "(other)"), ())
