"""Rolling origins and paired intervals, on literal dates and on forecasts whose difference is known."""

from datetime import date

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.evaluation.backtest import (
    Judged,
    accuracy_of,
    log_loss_of,
    paired_differences,
    rolling_origins,
    upgrade_auc_of,
)
from memberlevel_spark.timeline import LabelWindow


def test_every_test_date_learns_from_the_dates_whose_labels_are_known_by_then() -> None:
    origins = rolling_origins(date(2024, 3, 31), date(2024, 2, 1), every_days=7, num_tests=2, label=LabelWindow(0, 28))
    assert [origin.test for origin in origins] == [date(2024, 3, 24), date(2024, 3, 31)]
    assert origins[0].train == (date(2024, 2, 4), date(2024, 2, 11), date(2024, 2, 18), date(2024, 2, 25))
    assert origins[1].train == (*origins[0].train, date(2024, 3, 3))


def test_more_test_dates_than_there_is_history_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no training date before them: 2024-02-18 is the earliest.*Ask for fewer"):
        rolling_origins(date(2024, 3, 3), date(2024, 2, 1), every_days=7, num_tests=3, label=LabelWindow(0, 28))


def judged(num_members: int, *, seed: int) -> Judged:
    """Members of 3 levels; ``sharp`` knows more of what happens than ``blunt``."""
    random = np.random.default_rng(seed)
    target, now = random.integers(0, 3, num_members), random.integers(0, 3, num_members)
    truth = np.eye(3)[target]
    blunt, sharp = (share * truth + (1 - share) / 3 for share in (0.2, 0.5))
    noise = random.dirichlet(np.ones(3) * 5, num_members)
    forecasts = {"blunt": [0.7 * blunt + 0.3 * noise], "sharp": [0.7 * sharp + 0.3 * noise] * 2}
    return Judged(np.arange(num_members), now, target, forecasts)


def test_the_statistics_weigh_members_as_scikit_learn_does() -> None:
    given, weight = judged(200, seed=1), np.random.default_rng(2).integers(1, 4, 200).astype(float)
    p = given.p_level["blunt"][0]
    expected = log_loss(given.target_N, p, sample_weight=weight, labels=range(3))
    assert log_loss_of(given.target_N, given.level_now_N, p, weight) == pytest.approx(expected)
    moved, p_up = (
        given.target_N > given.level_now_N,
        np.array([row[k + 1 :].sum() for row, k in zip(p, given.level_now_N, strict=True)]),
    )
    assert upgrade_auc_of(given.target_N, given.level_now_N, p, weight) == pytest.approx(
        roc_auc_score(moved, p_up, sample_weight=weight)
    )
    assert accuracy_of(given.target_N, given.level_now_N, p, weight) == pytest.approx(
        np.average(p.argmax(axis=1) == given.target_N, weights=weight)
    )


def test_a_real_difference_is_told_from_none() -> None:
    dates = [judged(400, seed=seed) for seed in (1, 2)]
    better = {d.metric: d for d in paired_differences(dates, ("sharp", "blunt"), num_resamples=50, seed=3)}
    assert better["log_loss"].low < better["log_loss"].mean < better["log_loss"].high < 0
    assert 0 < better["upgrade_auc"].low < better["upgrade_auc"].high
    for same in paired_differences(dates, ("sharp", "sharp"), num_resamples=20, seed=3):
        assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_the_interval_of_a_mean_is_the_one_of_theory() -> None:
    """Log-losses that differ by independent noise: the interval is the mean ± 1.96 standard errors."""
    random = np.random.default_rng(5)
    target, gain = np.zeros(4000, dtype=int), random.normal(0.01, 0.1, 4000)
    first, second = (np.exp(-0.7 - extra)[:, None] * [1.0, 0.0] for extra in (gain, np.zeros(4000)))
    given = Judged(np.arange(4000), target, target, {"a": [first], "b": [second]})
    found = paired_differences([given], ("a", "b"), num_resamples=400, seed=1, statistics={"log_loss": log_loss_of})[0]
    error = gain.std() / np.sqrt(4000)
    assert found.mean == pytest.approx(gain.mean())
    assert (found.low, found.high) == pytest.approx(
        (gain.mean() - 1.96 * error, gain.mean() + 1.96 * error), abs=0.3 * error
    )


def test_one_member_on_many_dates_is_no_more_evidence_than_on_one() -> None:
    once = judged(300, seed=7)
    single, tenfold = (
        paired_differences(dates, ("sharp", "blunt"), num_resamples=50, seed=1, statistics={"log_loss": log_loss_of})[0]
        for dates in ([once], [once] * 10)
    )
    assert (tenfold.low, tenfold.high) == pytest.approx((single.low, single.high))


def test_where_nobody_moves_up_the_order_of_upgrades_is_left_out() -> None:
    once = judged(50, seed=7)
    still = Judged(once.member_N, np.full(50, 2), once.target_N, once.p_level)
    found = {d.metric: d for d in paired_differences([still], ("sharp", "blunt"), num_resamples=5, seed=1)}
    assert (found["upgrade_auc"].mean, found["upgrade_auc"].low) == (None, None)
    assert found["log_loss"].mean is not None
