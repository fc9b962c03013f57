"""Distances between histograms, held against scipy on the rows they stand for, and what chance makes of them; shares;
warnings and alerts."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance
from scipy.stats import ks_2samp, wasserstein_distance

from memberlevel_spark.config.monitoring import Threshold
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.score_profile import SCORE_NUMBERS, SCORE_PROFILE, score_profile
from memberlevel_spark.examples.profile import EDGES, NUM_BINS, PROFILE, Numbers, Profile
from memberlevel_spark.monitoring.drift import (
    CENTRES,
    DISTANCES,
    GROUP_EDGES,
    by_chance,
    distances,
    grouped_psi,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    shares,
    wasserstein,
)
from memberlevel_spark.monitoring.stage import kept_profile
from memberlevel_spark.monitoring.watched import Watched, judged
from memberlevel_spark.registry.bundle import Bundle

DAY = date(2024, 3, 10)
HISTOGRAM = st.lists(st.integers(0, 40), min_size=NUM_BINS, max_size=NUM_BINS).filter(sum)
EQUAL = Threshold(warn=0.1, alert=0.2)


def expanded(rows: list[int]) -> np.ndarray:
    """A row for every row of each bin, at its centre."""
    return np.repeat(CENTRES, rows)


@given(HISTOGRAM, HISTOGRAM)
def test_distances_are_those_of_scipy_on_the_rows_that_the_histograms_stand_for(expected: list[int], actual: list[int]):
    e_N, a_N = expanded(expected), expanded(actual)
    assert kolmogorov_smirnov(expected, actual) == pytest.approx(ks_2samp(e_N, a_N).statistic, abs=1e-12)
    groups = [np.histogram(rows_N, bins=[-10, *GROUP_EDGES, 10])[0] for rows_N in (e_N, a_N)]
    assert jensen_shannon(expected, actual) == pytest.approx(distance.jensenshannon(*groups, base=2), abs=1e-7)
    if np.count_nonzero(expected) > 1:
        in_deviations = wasserstein_distance(e_N, a_N) / e_N.std()
        assert wasserstein(expected, actual) == pytest.approx(in_deviations, abs=1e-9)
    else:
        assert wasserstein(expected, actual) is None


def test_the_stability_index_is_zero_for_equal_shares_and_follows_its_formula():
    assert psi([10, 30], [1, 3]) == 0
    assert psi([50, 50], [80, 20]) == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4))
    assert 1 < psi([100, 0], [0, 100]) < 20


def test_bins_within_a_group_are_one_to_the_stability_index():
    def at(value: float) -> list[int]:
        rows = [0] * NUM_BINS
        rows[int(np.searchsorted(EDGES, value, side="right"))] = 100
        return rows

    assert grouped_psi(at(2.0), at(3.9)) == 0 and grouped_psi(at(-9.0), at(-2.01)) == 0
    assert grouped_psi(at(1.99), at(2.0)) > 1 and grouped_psi(at(-2.01), at(-2.0)) > 1


def test_each_scale_puts_its_numbers_on_the_bins():
    numbers = Numbers({"z": "standard", "cents": "amount", "p": "chance", "orders": "number"})
    values_NE = np.array([[-3.75, 0.0, 0.5, 1.0], [-3.76, np.expm1(8.0), 0.0, 0.0], [0.24, 1e12, 1.0, 100.0]])
    first, last, middle = 0, NUM_BINS - 1, EDGES.index(0.0) + 1
    found = [[place for place in range(NUM_BINS) if row[place]] for row in numbers.bins_of(values_NE).tolist()]
    assert found == [[first, 1, middle], [first, middle, last], [first, middle, last], [first, middle, last]]


def profile(rows: list[int], *, nulls: int = 0, new: int = 0) -> Profile:
    bins = (*rows, *[0] * (NUM_BINS - len(rows)))
    return Profile(sum(rows), {"spend": bins}, {"age": nulls}, {"city": new})


def test_a_distance_is_named_by_its_kind_and_undefined_where_there_are_no_rows():
    told = list(distances("feature", profile([5, 5]), profile([10, 0]), DAY))
    assert [each.metric for each in told] == ["feature_psi", "feature_ks", "feature_js", "feature_wasserstein"]
    assert {each.subject for each in told} == {"spend"} and told[1].value == 0.5
    for pair in ((profile([5, 5]), profile([0])), (profile([0]), profile([5, 5]))):
        assert [each.value for each in distances("score", *pair, DAY)] == [None] * 4


def test_what_chance_makes_is_as_the_textbooks_have_it():
    # 80 and 20 rows in two groups: a spread of 1/80 + 1/20, and the 99 % point of one degree of freedom is 6.635.
    known = {"psi": 6.635 * 0.0625, "ks": 1.628 * 0.25, "wasserstein": 2.576 * 0.25}
    known["js"] = math.sqrt(6.635 * 0.0625 / 8 / math.log(2))
    two_groups = [0] * NUM_BINS
    two_groups[0], two_groups[-1] = 40, 40
    assert by_chance(two_groups, [rows // 4 for rows in two_groups]) == pytest.approx(known, rel=1e-3)
    # Eight groups with rows have seven degrees of freedom, one has one.
    assert by_chance([10] * NUM_BINS, [1] * NUM_BINS)["psi"] == pytest.approx(18.475 * (1 / 320 + 1 / 32), rel=1e-3)
    assert by_chance([10, *[0] * 31], [10, *[0] * 31])["psi"] == pytest.approx(6.635 * 0.2, rel=1e-3)


def drawn(rng: np.random.Generator, kind: str, num_rows: int) -> np.ndarray:
    """Standardised numbers: continuous, of few whole values, mostly the same one, of two values."""
    if kind == "normal":
        return rng.normal(size=num_rows)
    if kind == "counts":
        return (np.log1p(rng.poisson(1.5, num_rows)) - 0.77) / 0.53
    if kind == "zeros":
        return (np.where(rng.random(num_rows) < 0.7, 0, np.log1p(rng.poisson(3, num_rows))) - 0.39) / 0.63
    return ((rng.random(num_rows) < 0.4) - 0.4) / 0.49


@pytest.mark.parametrize("kind", ["normal", "counts", "zeros", "two values"])
@pytest.mark.parametrize("num_trained", [150, 3000])
def test_of_150_members_without_drift_few_are_warned_of_and_a_shift_is_still_found(kind: str, num_trained: int):
    rng, numbers, num_draws = np.random.default_rng(7), Numbers({"spend": "standard"}), 400
    limits = {"psi": 0.1, "ks": 0.2, "js": 0.2, "wasserstein": 0.3}
    thresholds = {f"feature_{name}": Threshold(warn=warn, alert=None) for name, warn in limits.items()}

    def levels(shift: float) -> dict[str, float]:
        """Share of the draws that are warned of, and that pass what is allowed to chance, by distance."""
        found = dict.fromkeys([*DISTANCES, *(f"chance {name}" for name in DISTANCES)], 0.0)
        for _ in range(num_draws):
            rows = [
                profile(numbers.bins_of(values_N[:, None])[0].tolist())
                for values_N in (drawn(rng, kind, num_trained), drawn(rng, kind, 150) + shift)
            ]
            for each in judged(distances("feature", *rows, DAY), thresholds):
                name = each.watched.metric.removeprefix("feature_")
                found[name] += (each.level == "warn") / num_draws
                found[f"chance {name}"] += (each.watched.value > each.watched.usual) / num_draws
        return found

    still = levels(0.0)
    assert max(still[name] for name in DISTANCES) <= 0.03 and still["ks"] + still["js"] + still["wasserstein"] == 0
    # One in a hundred, somewhat more often where groups have few rows.
    assert max(still[f"chance {name}"] for name in DISTANCES) <= 0.08
    moved = levels(1.0)
    assert min(moved[name] for name in ("psi", "wasserstein")) > 0.95


def test_thresholds_of_distances_come_on_top_of_chance_and_what_is_not_judged_has_none():
    trained, scored = profile([500, 500]), profile([0, 100])
    limits = {"feature_ks": EQUAL, "feature_null_share": EQUAL}
    told = [each for each in distances("feature", trained, scored, DAY) if each.metric == "feature_ks"]
    (found,) = judged(told, limits)
    by_luck = 1.628 * math.sqrt(1 / 1000 + 1 / 100)
    assert [found.warn_above, found.alert_above] == pytest.approx([0.1 + by_luck, 0.2 + by_luck], rel=1e-3)
    assert found.level == "alert" and found.threshold == found.alert_above
    told = list(distances("feature", trained, scored, DAY, not_judged={"spend"}))
    assert [(each.level, each.warn_above, each.alert_above) for each in judged(told, {"feature_ks": EQUAL})] == [
        ("ok", None, None)
    ] * len(DISTANCES)
    assert told[1].value == 0.5
    # Without rows nothing is known, and nothing is allowed to chance.
    (empty,) = judged(list(distances("feature", trained, profile([0]), DAY))[1:2], limits)
    assert (empty.level, empty.warn_above) == ("unknown", 0.1)


def test_shares_are_of_the_members_and_thresholds_come_on_top_of_the_training_rows():
    told = list(shares(profile([60, 40], nulls=30, new=2), profile([8, 2], nulls=5, new=0), DAY))
    assert told == [
        Watched("feature_null_share", "age", DAY, 0.5, usual=0.3),
        Watched("feature_new_category_share", "city", DAY, 0.0, usual=0.02),
    ]
    (null_share,) = judged(told[:1], {"feature_null_share": EQUAL})
    assert (null_share.warn_above, null_share.alert_above) == (pytest.approx(0.4), pytest.approx(0.5))
    assert null_share.level == "warn" and null_share.threshold == pytest.approx(0.4)
    assert [each.value for each in shares(profile([1]), profile([0]), DAY)] == [None, None]


@pytest.mark.parametrize(
    ("value", "threshold", "level", "passed"),
    [
        (0.1, EQUAL, "ok", None),
        (0.11, EQUAL, "warn", 0.1),
        (0.2, EQUAL, "warn", 0.1),
        (0.21, EQUAL, "alert", 0.2),
        (9.0, Threshold(warn=1.0, alert=None), "warn", 1.0),
        (9.0, Threshold(warn=None, alert=None), "ok", None),
        (1.0, Threshold(warn=None, alert=0.0), "alert", 0.0),
        (None, EQUAL, "unknown", None),
    ],
)
def test_above_a_threshold_is_a_warning_or_an_alert_and_on_it_is_not(value, threshold, level, passed):
    (found,) = judged([Watched("feature_psi", "spend", DAY, value)], {"feature_psi": threshold})
    assert (found.level, found.threshold) == (level, passed)
    (free,) = judged([Watched("feature_psi", "spend", DAY, value)], {})
    assert free.level == ("unknown" if value is None else "ok")


def test_a_profile_is_the_same_after_json_and_other_text_is_refused():
    known = profile([1, 2, 3], nulls=1, new=2)
    assert Profile.from_json(known.to_json()) == known
    for text in ("null", "{}", "no json", '{"num_rows": 1, "bins": [], "nulls": {}, "new_categories": {}}'):
        with pytest.raises(ArtefactError, match="a profile cannot be read"):
            Profile.from_json(text)


def test_a_model_without_a_profile_cannot_be_watched():
    known = profile([1, 2, 3])
    bundle = Bundle("m1", {PROFILE: known.to_json().encode()})
    assert kept_profile(bundle, PROFILE) == known
    with pytest.raises(ArtefactError, match="no profile to compare with: m1 lacks score_profile"):
        kept_profile(bundle, SCORE_PROFILE)


def test_the_profile_of_scores_has_the_mass_above_and_below_the_level():
    p_level_NK = np.array([[0.2, 0.3, 0.5], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    numbers = np.array([0.5, 0.5, 0.001])
    forecast = Forecast(p_level_NK, p_churn_N=numbers, orders_N=numbers * 2, spend_N=np.expm1(numbers * 16))
    found = score_profile(forecast, np.array([0, 1, 2]))
    assert found.num_rows == 3 and list(found.bins) == list(SCORE_NUMBERS.scales)

    def bin_of(value: float) -> int:
        return int(np.searchsorted(EDGES, value, side="right"))

    def log_odds(p: float) -> float:
        return math.log(p / (1 - p)) / 1.5

    met = {name: {place: rows for place, rows in enumerate(each) if rows} for name, each in found.bins.items()}
    assert met["p_up"] == {bin_of(log_odds(0.8)): 1, bin_of(log_odds(0.25)): 1, 0: 1}
    assert met["p_down"] == {0: 1, bin_of(log_odds(0.5)): 1, bin_of(log_odds(0.2)): 1}
    assert met["p_churn"] == {bin_of(0.0): 2, 0: 1}
    assert met["expected_orders"] == {bin_of(0.0): 2, 0: 1}
    assert met["expected_spend_cents"] == {bin_of(0.0): 2, 0: 1}
