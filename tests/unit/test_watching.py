"""Rows of the report made of watched values, of headline numbers and of spells on a level."""

from collections import Counter
from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from memberlevel_spark.config.monitoring import WatchedMetric
from memberlevel_spark.evaluation.survival import Step, kaplan_meier, median_days
from memberlevel_spark.report.changes import COUNTED, changes
from memberlevel_spark.report.tenure import survival_curves
from memberlevel_spark.report.watching import METRIC_WORDS, drift_rows, in_words, other_rows

SPELLS = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=60)
EARLIER, DAY = date(2024, 2, 11), date(2024, 3, 10)


@given(SPELLS)
def test_the_survival_curve_is_scipys_of_the_same_spells(spells: list[tuple[int, bool]]):
    ended = Counter(days for days, has_ended in spells if has_ended)
    ongoing = Counter(days for days, has_ended in spells if not has_ended)
    found = dict(kaplan_meier(ended, ongoing))
    data = CensoredData(
        uncensored=[days for days, has_ended in spells if has_ended],
        right=[days for days, has_ended in spells if not has_ended],
    )
    survival = ecdf(data).sf
    known = dict(zip(survival.quantiles.tolist(), survival.probabilities.tolist(), strict=True))
    assert found.pop(0) == 1.0 and set(found) == set(ended)
    for days, share in found.items():
        assert share == pytest.approx(known[days], abs=1e-12)


def test_a_worked_table_of_six_spells():
    # Of six at risk one ends on day 2; one is left out after 3; of four two end on day 5; the last two go on.
    steps = kaplan_meier({2: 1, 5: 2}, {3: 1, 8: 2})
    assert steps == [Step(0, 1.0), Step(2, pytest.approx(5 / 6)), Step(5, pytest.approx(5 / 12))]
    assert median_days(steps) == 5 and median_days(steps[:2]) is None
    assert kaplan_meier({}, {4: 3}) == [Step(0, 1.0)]


def test_a_curve_goes_on_to_the_last_ongoing_spell_and_a_level_of_nobody_has_none():
    rows = survival_curves([(0, True, 2, 1), (0, False, 9, 1)], 2)
    assert rows[0] == {
        "level": 0,
        "spells": 2,
        "ended": 1,
        "median_days": 2,
        "days": [0, 2, 9],
        "shares": [1, 0.5, 0.5],
    }
    assert rows[1] == {"level": 1, "spells": 0, "ended": 0, "median_days": None, "days": [], "shares": []}
    (all_gone,) = survival_curves([(0, True, 3, 2)], 1)
    assert (all_gone["days"], all_gone["shares"]) == ([0, 3], [1.0, 0.0])


def watched(metric: str, name: str, value: float | None, level: str = "ok") -> dict[str, object]:
    return {"metric": metric, "slice": name, "value": value, "level": level}


def test_drift_has_a_row_per_number_scores_first_and_the_furthest_of_each_first():
    rows = drift_rows(
        [
            watched("feature_psi", "calm", 0.01),
            watched("feature_psi", "far", 0.4, "alert"),
            watched("feature_ks", "far", 0.25, "warn"),
            watched("feature_js", "far", 0.1),
            watched("feature_wasserstein", "far", None, "unknown"),
            watched("feature_null_share", "far", 0.2),
            watched("score_psi", "p_up", None, "unknown"),
            watched("members_now", "1", 40.0),
        ]
    )
    assert [(row["kind"], row["name"], row["level"]) for row in rows] == [
        ("score", "p_up", "unknown"),
        ("feature", "far", "alert"),
        ("feature", "calm", "ok"),
    ]
    assert [rows[1][name] for name in ("psi", "ks", "js", "wasserstein")] == [0.4, 0.25, 0.1, None]


def test_other_values_are_those_that_are_no_distance_and_no_members_worst_first():
    rows = [
        watched("volume_drop", "events/b", None, "unknown"),
        watched("stale_days", "events/a", 9.0, "alert"),
        watched("feature_null_share", "age", 0.2),
        watched("feature_psi", "far", 0.4, "alert"),
        watched("members_expected", "0->1", 2.5),
        watched("stale_days", "events/b", 3.0, "warn"),
    ]
    assert other_rows(rows) == [rows[1], rows[5], rows[2], rows[0]]


def test_every_watched_metric_has_words():
    assert set(METRIC_WORDS) == set(get_args(WatchedMetric))
    assert in_words("stale_days") == "days since the newest row" and in_words("new_metric") == "new_metric"


def headline(day: date, version: str, members: float) -> dict[str, object]:
    return {
        "as_of_date": day,
        "model_version": version,
        **dict.fromkeys(COUNTED, 1.0),
        "members": members,
        "spend_cents": 5.0,
    }


def test_the_champion_now_is_compared_with_itself_on_the_newest_earlier_date():
    rows = [
        headline(DAY, "m1", 100.0),
        headline(DAY, "m2", 900.0),
        headline(EARLIER, "m1", 90.0),
        headline(EARLIER, "m2", 95.0),
        headline(date(2024, 1, 1), "m1", 1.0),
    ]
    found = changes(rows, {(DAY, "m1"): 2, (EARLIER, "m2"): 9}, as_of=DAY, champion="m1")
    assert found["compared_with"] == (EARLIER, "m1")
    assert found["changes"][0] == {"number": "members", "before": 90.0, "now": 100.0}
    assert found["changes"][-1] == {"number": "alerts", "before": None, "now": 2}
    assert [row["number"] for row in found["changes"]] == [*COUNTED, "spend_cents", "alerts"]


def test_a_new_champion_is_compared_with_the_version_that_scored_most_members_and_nothing_with_nothing():
    rows = [headline(DAY, "m3", 100.0), headline(EARLIER, "m1", 90.0), headline(EARLIER, "m2", 95.0)]
    assert changes(rows, {}, as_of=DAY, champion="m3")["compared_with"] == (EARLIER, "m2")
    nothing = {"changes": [], "compared_with": None}
    assert changes(rows[:1], {}, as_of=DAY, champion="m3") == nothing
    assert changes(rows, {}, as_of=DAY, champion="m9") == nothing
