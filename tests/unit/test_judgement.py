"""Forecasts judged by what happened: literal members, a plain reckoning beside, and groups too small to judge."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.monitoring.judgement import OUTCOME_METRICS, Standards, judge_members

CITY = ProfileFeature("city", "category", ("Ulm", "Kiel"))
STANDARDS = Standards(["base", "top"], [CITY], min_members=2, unit=100.0)
COLUMNS = (
    *("member_id", "level_now", "target_level", "num_orders", "spend_cents", "p_level", "p_buy", "expected_orders"),
    *("expected_spend_cents", "spend_cents_low", "spend_cents_median", "spend_cents_high"),
    *("tenure_days", "recent_orders", "profile_city"),
)
MEMBERS: list[tuple[Any, ...]] = [
    ("a", 0, 1, 2, 3000, [0.6, 0.4], 0.9, 2.0, 2500.0, 0.0, 2000.0, 5000.0, 10, 0, 2),
    ("b", 0, 0, 0, 0, [0.8, 0.2], 0.3, 0.5, 500.0, 0.0, 0.0, 900.0, 400, 1, 2),
    ("c", 1, 0, 0, 0, [0.7, 0.3], 0.5, 1.0, 1000.0, 0.0, 500.0, 2000.0, 400, 3, 3),
    ("d", 1, 1, 4, 6000, [0.1, 0.9], 0.95, 4.0, 7000.0, 4000.0, 6500.0, 9000.0, 400, 30, None),
]
ORDERS_OF = {"none": 0, "1": 1, "2 to 4": 2, "5 to 12": 5, "13 to 25": 13, "26 or more": 26}


def table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    return pa.table({**columns, "profile_city": pa.array(columns["profile_city"], pa.int64())})


def judged(rows: Sequence[tuple[Any, ...]], standards: Standards = STANDARDS) -> dict[tuple[str, str], dict[str, Any]]:
    """Metric -> value, and the number of members, by dimension and slice."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    keys = Counter()  # type: ignore[var-annotated]
    for row in judge_members(table(rows), standards):
        part = found.setdefault((str(row["dimension"]), str(row["slice"])), {"members": row["members"]})
        assert part["members"] == row["members"]
        part[str(row["metric"])] = row["value"]
        keys[row["dimension"], row["slice"], row["metric"]] += 1
    assert max(keys.values()) == 1
    return found


def test_all_members_are_judged_by_every_metric() -> None:
    assert judged(MEMBERS)["all", "all"] == {
        "members": 4,
        "accuracy": 0.75,
        "log_loss": pytest.approx(-(math.log(0.4) + math.log(0.8) + math.log(0.7) + math.log(0.9)) / 4),
        "upgrade_auc": 1.0,
        "upgrade_ap": 1.0,
        "downgrade_auc": 1.0,
        "churn_auc": 1.0,
        "churn_brier": pytest.approx((0.1**2 + 0.3**2 + 0.5**2 + 0.05**2) / 4),
        "churn_ece": pytest.approx((0.1 + 0.3 + 0.5 + 0.05) / 4),  # each in a bin of its own
        "spend_mae": pytest.approx((10 + 0 + 5 + 5) / 4),  # of the median, in whole units
        "persistence_accuracy": 0.5,
        "spend_bias": pytest.approx((25 + 5 + 10 + 70 - 90) / 4),  # of the expectation
    }


def test_parts_are_judged_by_their_own_members_and_small_ones_together() -> None:
    found = judged(MEMBERS)
    base, old, few = found["level now", "base"], found["tenure", "a year or more"], found["tenure", "(small)"]
    assert (base["members"], base["accuracy"], base["persistence_accuracy"]) == (2, 0.5, 0.5)
    assert base["upgrade_auc"] == 1.0 and base["downgrade_auc"] is None  # nobody can fall
    assert (old["members"], old["accuracy"]) == (3, 1.0)
    assert few == {"members": 1, **dict.fromkeys(OUTCOME_METRICS)}  # too few even together
    assert found["orders in 91 days", "(small)"]["members"] == 4 and found["city", "(small)"]["members"] == 2
    assert found["city", "Ulm"]["members"] == 2 and ("city", "(unknown)") not in found


def test_tenths_go_from_the_lowest_forecast_up_and_equal_ones_share_what_happened() -> None:
    found = judged(MEMBERS)
    up = [found["tenth of p_up", f"0{place}"] for place in (1, 2, 3, 4)]
    assert [(row["predicted_share"], row["observed_share"]) for row in up] == [(0, 0), (0, 0), (0.2, 0), (0.4, 1)]
    down = [found["tenth of p_down", f"0{place}"] for place in (1, 2, 3, 4)]
    assert [row["predicted_share"] for row in down] == pytest.approx([0, 0, 0.1, 0.7])
    assert [row["observed_share"] for row in down] == [0, 0, 0, 1]
    churn = [found["tenth of p_churn", f"0{place}"] for place in (1, 2, 3, 4)]
    assert [row["predicted_share"] for row in churn] == pytest.approx([0.05, 0.1, 0.5, 0.7])
    assert [row["observed_share"] for row in churn] == [0, 0, 1, 1]
    spend = [found["tenth of expected_spend", f"0{place}"] for place in (1, 2, 3, 4)]
    assert [(row["expected_spend"], row["realised_spend"]) for row in spend] == [(5, 0), (10, 0), (25, 30), (70, 60)]
    assert {row["members"] for row in (*up, *churn, *spend)} == {1}
    same = judged([(*row[:5], [0.7, 0.3], *row[6:]) for row in MEMBERS[:2]])
    assert [same["tenth of p_up", place]["observed_share"] for place in ("01", "02")] == [0.5, 0.5]


def test_twenty_five_members_are_ten_tenths_that_differ_by_one_member_at_most() -> None:
    rows = [(f"m{n:02d}", *MEMBERS[n % 4][1:]) for n in range(25)]
    found = judged(rows)
    sizes = [found["tenth of p_down", f"{place:02d}"]["members"] for place in range(1, 11)]
    assert sizes == [3] * 5 + [2] * 5


def test_the_order_of_the_members_changes_no_bit() -> None:
    rows = [(f"m{n:03d}", *MEMBERS[n % 4][1:8], 10.0 ** (n % 17) / 7, *MEMBERS[n % 4][9:]) for n in range(200)]
    assert judge_members(table(rows[::-1]), STANDARDS) == judge_members(table(rows), STANDARDS)


def test_a_single_member_is_judged_as_far_as_one_can_be() -> None:
    found = judged(MEMBERS[:1])
    undefined = {name for name, value in found["all", "all"].items() if value is None}
    assert undefined == {"upgrade_auc", "upgrade_ap", "downgrade_auc", "churn_auc"}
    assert found["all", "all"]["accuracy"] == 0.0 and found["all", "all"]["log_loss"] == pytest.approx(-math.log(0.4))
    assert found["tenth of p_up", "01"] == {"members": 1, "predicted_share": 0.4, "observed_share": 1.0}
    assert ("tenth of p_up", "02") not in found
    assert all(value is None for name, value in found["level now", "(small)"].items() if name != "members")


def member(number: int, drawn: tuple[int, int, int, int, float, float, int | None]) -> tuple[Any, ...]:
    now, target, orders, recent, p_up, spend, tenure = drawn
    amounts = (100 * spend, 0.0, 80 * spend, 300 * spend)
    sure = (f"m{number:03d}", now, target, orders, 1000 * orders, [1 - p_up, p_up], 1 - p_up / 2, 1.0)
    return (*sure, *amounts, tenure, recent, None)


DRAWN = st.tuples(
    *(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.integers(0, 30)),
    *(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.integers(0, 80).map(float), st.sampled_from([None, 5, 100, 500])),
)


def reckoned(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """What a plain loop makes of members."""
    totals = dict.fromkeys(("accuracy", "persistence_accuracy", "churn_brier", "spend_mae", "spend_bias"), 0.0)
    for row in rows:
        values = dict(zip(COLUMNS, row, strict=True))
        predicted = 1 if values["p_level"][1] > values["p_level"][0] else 0
        totals["accuracy"] += predicted == values["target_level"]
        totals["persistence_accuracy"] += values["level_now"] == values["target_level"]
        totals["churn_brier"] += (1 - values["p_buy"] - (values["num_orders"] == 0)) ** 2
        totals["spend_mae"] += abs(values["spend_cents_median"] - values["spend_cents"]) / 100
        totals["spend_bias"] += (values["expected_spend_cents"] - values["spend_cents"]) / 100
    return {name: total / len(rows) for name, total in totals.items()}


def band(recent: int) -> str:
    return [name for name, first in ORDERS_OF.items() if recent >= first][-1]


@settings(max_examples=60)
@given(st.lists(DRAWN, min_size=1, max_size=40), st.integers(1, 12))
def test_every_part_is_what_a_plain_reckoning_makes_of_it(drawn: list[Any], min_members: int) -> None:
    rows = [member(number, each) for number, each in enumerate(drawn)]
    found = judged(rows, Standards(["base", "top"], [], min_members=min_members, unit=100.0))
    parts: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        parts.setdefault(band(row[COLUMNS.index("recent_orders")]), []).append(row)
    small = [row for own in parts.values() if len(own) < min_members for row in own]
    expected = {name: own for name, own in parts.items() if len(own) >= min_members}
    expected |= {"(small)": small} if small else {}
    told = {part: row for (dimension, part), row in found.items() if dimension == "orders in 91 days"}
    assert {part: row["members"] for part, row in told.items()} == {part: len(own) for part, own in expected.items()}
    for part, own in [*expected.items(), ("all", rows)]:
        row = told[part] if part != "all" else found["all", "all"]
        if len(own) >= min_members or part == "all":
            assert {name: row[name] for name in reckoned(own)} == pytest.approx(reckoned(own), abs=1e-9)
        else:
            assert {row[name] for name in OUTCOME_METRICS} == {None}
