"""Every aggregate against a plain-Python oracle, at its edges by hand, and for one member whatever the batch."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from statistics import linear_regression, pstdev
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from memberlevel_spark.errors import ConfigError, DataQualityError
from memberlevel_spark.features.aggregates import FORMULAS, compute
from memberlevel_spark.features.feature import AS_OF, Feature
from memberlevel_spark.features.kernel_axes import (
    LAST_DAY,
    MAX_TOTAL,
    MAX_VALUE,
    Axes,
    CategoryAxis,
    ItemAxis,
    TileAxis,
)
from memberlevel_spark.features.meanings import AGGREGATES
from tests.unit.feature_oracle import HOLIDAYS, History, expected

MEASURES = ("num_orders", "spend_cents")
OTHER = {"num_orders": "spend_cents", "spend_cents": "num_orders"}


def every_feature() -> list[Feature]:
    """Every aggregate, over windows shorter and longer than a history and over all of it."""
    declared = []
    for aggregate, kind in AGGREGATES.items():
        windows = {"none": (None,), "any": (1, 7, 28, 91, None), "needed": (2, 7, 28, 91), "weeks": (7, 28, 91, None)}
        measures = {"tiles": MEASURES, "items": ("item",), "categories": ("by_category",), "calendar": (AS_OF,)}
        for measure in measures[kind.source]:
            for days in windows[kind.window]:
                for part in range(kind.num_parts or 3) if "part" in kind.needs else (None,):
                    fields: dict[str, Any] = {
                        "of": (OTHER.get(measure, ""),),
                        "part": part,
                        "over_days": (days or 0) + 30,
                    }
                    taken = {name: fields[name] for name in kind.needs}
                    declared.append(Feature(measure, aggregate, window_days=days, **taken))
    both: dict[str, Any] = {"plus": ("num_orders",), "of": ("num_orders", "spend_cents"), "window_days": 28}
    return [*declared, *(Feature("spend_cents", name, **both) for name in ("share", "shortfall", "ratio"))]


DECLARED = every_feature()
# Hundreds of features an example: making a failing one smaller would take minutes, and it names its feature anyway.
UNSHRUNK = (Phase.explicit, Phase.generate)


def columns(rows: Sequence[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(rows, dtype=np.int64).reshape(-1, width).T


def axes_of(histories: Sequence[History]) -> Axes:
    members = list(enumerate(histories))
    tiles = [(m, day, *(row[name] for name in MEASURES)) for m, h in members for day, row in h.tiles.items()]
    items = [(m, *row) for m, history in members for row in history.items]
    spread = [(m, *row) for m, history in members for row in history.categories]
    member_T, day_T, *values = columns(tiles, 4)
    member_R, day_R, category_R, value_R = columns(spread, 4)
    member_I, day_I, item_I = columns(items, 3)
    return Axes(
        TileAxis.of(MEASURES, member_T, day_T=day_T, values_MT=np.stack(values)),
        {"item": ItemAxis.of(member_I, day_I, item_I=item_I)},
        {"by_category": CategoryAxis.of(3, member_R, day_R=day_R, category_R=category_R, value_R=value_R)},
        np.array(HOLIDAYS, dtype=np.int64),
    )


def ask(histories: Sequence[History], dates: Sequence[int], declared: Sequence[Feature]) -> dict[str, np.ndarray]:
    """Answers for every member and every date, members first."""
    member_Q = np.repeat(np.arange(len(histories), dtype=np.int64), len(dates))
    as_of_Q = np.tile(np.array(dates, dtype=np.int64), len(histories))
    return compute(axes_of(histories), declared, member_Q=member_Q, as_of_Q=as_of_Q)


def value(answer_Q: np.ndarray, question: int) -> float | None:
    found = answer_Q[question]
    return None if found is np.ma.masked or math.isnan(found) else found.item()


def one(feature: Feature, tiles: dict[int, int], as_of: int) -> float | None:
    """A feature of a member with spend only."""
    history = History({day: {"num_orders": int(cents > 0), "spend_cents": cents} for day, cents in tiles.items()})
    return value(ask([history], [as_of], [feature])[feature.name], 0)


TILES = st.dictionaries(
    st.integers(0, 60),
    st.fixed_dictionaries({"num_orders": st.integers(0, 2), "spend_cents": st.integers(-3, 9)}),
    max_size=20,
)
HISTORIES = st.builds(
    History,
    TILES,
    st.frozensets(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=15),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.integers(-2, 5)), max_size=15).map(tuple),
)
SINGLE = History({20: {"num_orders": 1, "spend_cents": 5}}, frozenset({(20, 3)}), ((20, 2, 5),))
REFUNDS = History({day: {"num_orders": 0, "spend_cents": -day} for day in (3, 9, 20)}, categories=((9, 1, -4),))
ZEROS = History({day: {"num_orders": 0, "spend_cents": 0} for day in (1, 14, 20)})
EDGES = History({day: {"num_orders": 1, "spend_cents": day} for day in (0, 13, 14, 20, 21)})


@settings(max_examples=40, deadline=None, phases=UNSHRUNK)
@given(st.lists(HISTORIES, min_size=1, max_size=5), st.lists(st.integers(0, 75), min_size=1, max_size=3, unique=True))
@example([History(), SINGLE, REFUNDS, ZEROS, EDGES, History()], [20, 27, 0])
@example([History()], [5])
def test_every_aggregate_of_every_member_equals_plain_python(histories: list[History], dates: list[int]):
    answers = ask(histories, dates, DECLARED)
    assert list(answers) == [feature.name for feature in DECLARED]
    for feature in DECLARED:
        for question in range(len(histories) * len(dates)):
            history, as_of = histories[question // len(dates)], dates[question % len(dates)]
            found, wanted = value(answers[feature.name], question), expected(feature, history, as_of)
            where = (feature.name, history, as_of)
            if wanted is None or found is None:
                assert found is wanted, where
            elif feature.kind.dtype == "long":
                assert isinstance(found, int) and found == wanted, where
            else:
                assert math.isclose(found, wanted, rel_tol=1e-12, abs_tol=1e-12), (*where, found, wanted)


def test_only_features_declared_nullable_are_null_and_types_are_those_declared():
    histories = [History(), SINGLE, REFUNDS, ZEROS, EDGES]
    for feature in DECLARED:
        answer = ask(histories, [0, 20, 70], [feature])[feature.name]
        column = pa.array(answer, from_pandas=True)
        assert column.type == {"long": pa.int64(), "double": pa.float64()}[feature.kind.dtype], feature.name
        assert feature.nullable or column.null_count == 0, feature.name
        assert isinstance(answer, np.ma.MaskedArray) == (feature.kind.dtype == "long" and feature.nullable)


# Days 13, 14, 20 and 21 around the window (13, 20]: the day before it, its first, its last, and the day after.
LITERAL = {13: 100, 14: 200, 17: -50, 20: 400, 21: 800}
ORDERS = {"of": ("num_orders",)}
GOLDEN: dict[str, tuple[int, dict[str, Any], float]] = {
    # aggregate: its version, what else is declared, its value over the 7 days to day 20
    "sum": (1, {}, 550),
    "count": (1, {}, 3),
    "mean": (1, {}, 550 / 3),
    "min": (1, {}, -50),
    "max": (1, {}, 400),
    "std": (1, {}, pstdev([200, -50, 400])),
    "last": (1, {}, 400),
    "days_since": (1, {}, 0),
    "days_since_first": (1, {}, 6),
    "trend": (1, {}, (-3 * 200 + 3 * 400) / 28),
    "lag_sum": (1, {"part": 1}, 100),
    "window_share": (1, {"over_days": 14}, 550 / 650),
    "share": (1, {"of": ("num_orders", "spend_cents")}, 550 / 552),
    "shortfall": (1, {"of": ("num_orders", "spend_cents")}, 1 - 550 / 552),
    "ratio": (1, ORDERS, 550 / 2),
    "weekend_share": (1, {}, 0),
    "weekday_share": (1, {"part": 2}, 400 / 600),
    "weekday_entropy": (1, {}, math.log(3) - 2 / 3 * math.log(2)),
    "gap_mean": (1, {}, 3),
    "gap_std": (1, {}, 0),
    "streak_weeks": (1, {}, 1),
    "longest_streak_weeks": (1, {}, 1),
    "repeat_days": (1, {}, 2),
    "first_to_last_days": (1, {}, 6),
    "repeat_mean": (1, ORDERS, 400),
}


@pytest.mark.parametrize("aggregate", GOLDEN)
def test_a_window_has_its_first_and_last_day_and_a_changed_definition_has_a_new_version(aggregate: str):
    version, fields, wanted = GOLDEN[aggregate]
    feature = Feature("spend_cents", aggregate, window_days=7, **fields)
    assert one(feature, LITERAL, 20) == pytest.approx(wanted, rel=1e-14, abs=1e-14)
    assert feature.kind.version == version


def test_every_aggregate_of_the_registry_has_a_formula_and_every_one_of_tiles_a_literal_value():
    assert set(FORMULAS) == set(AGGREGATES)
    assert set(GOLDEN) == {name for name, kind in AGGREGATES.items() if kind.source == "tiles"}
    assert all(kind.version == 1 for kind in AGGREGATES.values() if kind.source != "tiles")


@pytest.mark.parametrize(("day", "number"), [(13, 0), (14, 1), (20, 1), (21, 0)])
def test_items_and_categories_have_the_same_window_as_tiles(day: int, number: int):
    distinct = Feature("item", "num_distinct", window_days=7)
    top = Feature("by_category", "top", window_days=7, part=0)
    share = Feature("by_category", "part_share", window_days=7, part=2)
    found = ask([History(items=frozenset({(day, 3)}), categories=((day, 2, 5),))], [20], [distinct, top, share])
    assert value(found[distinct.name], 0) == number
    assert value(found[top.name], 0) == (2 if number else None)
    assert value(found[share.name], 0) == (1 if number else None)


def test_an_item_met_again_counts_once_in_a_window_and_a_row_given_twice_once():
    axis = ItemAxis.of(np.zeros(5, np.int64), np.array([3, 1, 9, 3, 2]), item_I=np.array([7, 7, 7, 7, 8]))
    axes = Axes(axes_of([History()]).tiles, {"item": axis})
    dates = np.array([0, 1, 2, 3, 6, 8, 9, 20])
    declared = [Feature("item", "num_distinct", window_days=days) for days in (5, None)]
    found = compute(axes, declared, member_Q=np.zeros(8, np.int64), as_of_Q=dates)
    assert found["item_num_distinct_5d"].tolist() == [0, 1, 2, 2, 2, 0, 1, 0]
    assert found["item_num_distinct"].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_an_item_that_two_members_met_is_another_meeting_for_each():
    both = [History(items=frozenset({(1, 7)})), History(items=frozenset({(9, 7)}))]
    found = ask(both, [5, 9], [Feature("item", "num_distinct")])
    assert found["item_num_distinct"].tolist() == [1, 1, 0, 1]


def test_weeks_of_a_streak_end_on_the_weekday_of_the_as_of_date():
    streak, longest = (
        Feature("spend_cents", name, window_days=28) for name in ("streak_weeks", "longest_streak_weeks")
    )
    tiles = {6: 1, 13: 1, 20: 1, 27: 1}
    assert [one(streak, tiles, day) for day in (20, 26, 27, 33, 34)] == [3, 3, 4, 4, 0]
    assert [one(longest, tiles, day) for day in (20, 27, 34, 41, 62)] == [3, 4, 3, 2, 0]


def test_a_refund_alone_has_no_share_and_no_ratio_but_an_average():
    refunds = {18: -500, 19: -100}
    null = [Feature("spend_cents", "weekend_share"), Feature("num_orders", "ratio", of=("spend_cents",))]
    assert [one(feature, refunds, 20) for feature in null] == [None, None]
    assert one(Feature("spend_cents", "mean"), refunds, 20) == -300


WIDE = st.lists(
    st.dictionaries(
        st.integers(0, 400),
        st.fixed_dictionaries(
            {"num_orders": st.integers(0, 99), "spend_cents": st.integers(-MAX_VALUE, MAX_VALUE)},
        ),
        max_size=40,
    ).map(
        lambda tiles: History(
            tiles,
            frozenset((d, v["num_orders"]) for d, v in tiles.items()),
            tuple((d, v["num_orders"] % 3, v["spend_cents"]) for d, v in tiles.items()),
        )
    ),
    min_size=2,
    max_size=6,
)


def in_bytes(answers: dict[str, np.ndarray], questions: slice) -> dict[str, bytes]:
    return {
        name: np.ma.getdata(answer[questions]).tobytes() + np.ma.getmaskarray(answer[questions]).tobytes()
        for name, answer in answers.items()
    }


@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(WIDE, st.randoms(use_true_random=False))
def test_a_member_has_the_same_bytes_alone_in_a_batch_and_in_another_order(histories: list[History], random):
    dates = list(range(0, 420, 31))
    together = ask(histories, dates, DECLARED)
    order = list(range(len(histories)))
    random.shuffle(order)
    shuffled = ask([histories[m] for m in order], dates, DECLARED)
    for place, member in enumerate(order):
        alone = in_bytes(ask([histories[member]], dates, DECLARED), slice(None))
        assert alone == in_bytes(together, slice(member * len(dates), (member + 1) * len(dates)))
        assert alone == in_bytes(shuffled, slice(place * len(dates), (place + 1) * len(dates)))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(-MAX_VALUE, MAX_VALUE),
    st.sampled_from([0, 1, 3, 1 << 21, 1 << 30, 1 << 31, 1 << 32, MAX_VALUE]),
    st.data(),
)
def test_the_standard_deviation_of_large_and_of_close_values_is_right_to_the_last_digits(
    centre: int, spread: int, data: st.DataObject
):
    near = st.integers(max(centre - spread, -MAX_VALUE), min(centre + spread, MAX_VALUE)).filter(bool)
    values = data.draw(st.lists(near if (centre or spread) else st.just(1), min_size=1, max_size=12))
    found = one(Feature("spend_cents", "std"), dict(enumerate(values)), 50)
    mean = Fraction(sum(values), len(values))
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    assert found == pytest.approx(math.sqrt(variance), rel=1e-14, abs=0)


def test_the_standard_deviation_of_thousands_of_close_values_at_the_edge_of_a_limb_loses_nothing():
    values = [(1 << 21) - 1] * 3001 + [1 << 21] * 6000
    found = one(Feature("spend_cents", "std"), dict(enumerate(values)), 9001)
    assert found == pytest.approx(pstdev(values), rel=1e-14, abs=0)


def test_sums_and_trends_of_the_largest_values_are_exact_though_running_sums_wrap():
    days = range(20_000, 23_660)
    cents = [MAX_VALUE if day % 3 else -MAX_VALUE + day for day in days]
    rising = [MAX_VALUE if day > 21_829 else -MAX_VALUE for day in days]
    tiles = [History({d: {"num_orders": r, "spend_cents": c} for d, c, r in zip(days, cents, rising, strict=True)})] * 8
    declared = [Feature(m, name, window_days=3660) for m in MEASURES for name in ("sum", "trend", "max", "min", "mean")]
    found = ask(tiles, [days[-1]], declared)
    for measure, values in (("num_orders", rising), ("spend_cents", cents)):
        assert found[f"{measure}_sum_3660d"].tolist() == [sum(values)] * 8
        assert found[f"{measure}_mean_3660d"].tolist() == [sum(values) / 3660] * 8
        slope = linear_regression(list(days), [Fraction(value) for value in values]).slope
        assert found[f"{measure}_trend_3660d"] == pytest.approx(float(slope), rel=1e-14)
    running = accumulate(day * value for day, value in zip(days, rising, strict=True))
    assert max(map(abs, running)) > 2**63


def test_a_single_order_of_a_million_millions_is_no_reason_to_stop():
    cents, days = 10**14, 3660
    declared = [Feature("spend_cents", name, window_days=days) for name in ("sum", "trend", "max", "std", "mean")]
    found = ask([History({9_000: {"num_orders": 1, "spend_cents": cents}})], [9_000], declared)
    assert found[f"spend_cents_sum_{days}d"].tolist() == found[f"spend_cents_max_{days}d"].tolist() == [cents]
    assert (found[f"spend_cents_mean_{days}d"][0], found[f"spend_cents_std_{days}d"][0]) == (cents, 0)
    values = [0] * (days - 1) + [cents]
    assert found[f"spend_cents_trend_{days}d"][0] == pytest.approx(linear_regression(range(days), values).slope)


def test_questions_in_any_order_and_of_members_without_tiles_are_answered():
    axes = axes_of([History(), EDGES, History()])
    feature = Feature("spend_cents", "sum", window_days=7)
    found = compute(axes, [feature], member_Q=np.array([2, 1, 0, 1]), as_of_Q=np.array([20, 20, 20, 14]))
    assert found["spend_cents_sum_7d"].tolist() == [0, 34, 0, 27]


def tile_axis(days: list[int], values: list[int]) -> TileAxis:
    zeros = np.zeros(len(days), np.int64)
    return TileAxis.of(("points",), zeros, day_T=np.array(days), values_MT=np.array([values]))


def test_rows_that_do_not_fit_an_axis_are_refused_with_what_is_wrong():
    with pytest.raises(DataQualityError, match=r"two tiles of one day: days 7 since 1970. Sum the events"):
        tile_axis([7, 8, 7], [1, 1, 1])
    with pytest.raises(DataQualityError, match=rf"days outside 0 to {LAST_DAY} since 1970: -1. Quarantine"):
        tile_axis([-1, 8], [1, 1])
    too_much = rf"values of a day beyond {MAX_VALUE} add up to more than {MAX_TOTAL} for a member: "
    with pytest.raises(DataQualityError, match=rf"{too_much}-{MAX_TOTAL}. Check the unit"):
        tile_axis([1, 8], [1, -MAX_TOTAL])
    row = np.array([1])
    with pytest.raises(DataQualityError, match=r"category indices outside 0 to 2: 3. Give rare"):
        CategoryAxis.of(3, row, day_R=row, category_R=np.array([3]), value_R=row)
    with pytest.raises(DataQualityError, match=rf"{too_much}{MAX_TOTAL + 1}. Check the unit"):
        CategoryAxis.of(3, row, day_R=row, category_R=row, value_R=row * (MAX_TOTAL + 1))


def test_features_of_what_no_axis_has_are_refused():
    for feature, wrong in (
        (Feature("num_likes", "sum"), r"num_likes \(tiles\). The tiles have: num_orders, spend_cents"),
        (Feature("spend_cents", "ratio", of=("num_likes",)), r"num_likes \(tiles\)"),
        (Feature("brand", "num_distinct"), r"brand \(items\)"),
        (Feature("by_brand", "top", part=0), r"by_brand \(categories\)"),
        (Feature("by_category", "part_share", part=3), r"by_category category 3"),
    ):
        with pytest.raises(ConfigError, match=f"features of what no axis has: {wrong}"):
            ask([EDGES], [20], [feature])


def test_a_feature_declared_twice_is_not_computed():
    with pytest.raises(ConfigError, match=r"features declared twice: num_orders_sum. Declare each once"):
        ask([EDGES], [20], [Feature("num_orders", "sum"), Feature("num_orders", "sum")])


def test_as_of_days_off_the_axis_are_refused():
    with pytest.raises(ConfigError, match=r"as-of days outside 0 to 1000000 since 1970: -1"):
        ask([EDGES], [-1], DECLARED)
