"""Single-feature AUCs against scikit-learn, alarms by name, and shuffled labels that must not beat chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memberlevel_spark.errors import DataQualityError, LeakageError
from memberlevel_spark.evaluation.leakage_probes import (
    ProbeRows,
    chance_bound,
    feature_alarms,
    feature_aucs,
    require_chance,
    require_no_alarm,
    shuffled_label_auc,
)


@pytest.mark.parametrize("seed", range(5))
def test_the_auc_of_every_feature_is_scikit_learns_ties_included(seed: int):
    rng = np.random.default_rng(seed)
    outcome = rng.random(400) < 0.2
    columns = [rng.normal(size=400), rng.integers(0, 3, 400), np.zeros(400), outcome, -1.0 * outcome]
    x = np.stack(columns, axis=1).astype(np.float32)
    expected = [roc_auc_score(outcome, column) for column in x.T]
    assert feature_aucs(x, outcome[:, None])[:, 0] == pytest.approx(expected, abs=1e-12)


def test_three_rows_by_hand():
    outcomes = [[True, True], [False, True], [True, False]]
    assert feature_aucs([[1.0, 5.0], [2.0, 5.0], [2.0, 1.0]], outcomes).tolist() == [[0.25, 0.25], [0.25, 1.0]]


def test_an_alarm_names_the_feature_the_outcome_and_the_value_whichever_way_it_orders():
    rng = np.random.default_rng(0)
    moved_up = rng.random(300) < 0.1
    x = np.stack([rng.normal(size=300), np.where(moved_up, -9.0, rng.random(300)), moved_up + 0.5], axis=1)
    names = ("noise", "planted_backwards", "planted")
    alarms = feature_alarms(x, {"moved_up": moved_up, "bought": rng.random(300) < 0.5}, names, max_auc=0.98)
    assert [(a.feature, a.outcome, a.auc) for a in alarms] == [
        ("planted", "moved_up", 1.0),
        ("planted_backwards", "moved_up", 1.0),
    ]
    with pytest.raises(LeakageError, match=r"nearly are an outcome .*: planted tells moved_up with AUC 1\.0000, plan"):
        require_no_alarm(alarms, 0.98)
    require_no_alarm(feature_alarms(x[:, :1], {"moved_up": moved_up}, names[:1], max_auc=0.98), 0.98)


def test_an_outcome_of_one_class_has_no_auc():
    with pytest.raises(DataQualityError, match="an AUC needs rows with and without the outcome: 2 with and 0 without"):
        feature_aucs([[1.0], [2.0]], [[True], [True]])


def made_rows(seed: int, num_rows: int) -> ProbeRows:
    """Features of which one tells the outcome well."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 6))
    return ProbeRows(x, x[:, 0] + 0.3 * rng.normal(size=num_rows) > 0.8, np.arange(num_rows) + 10_000 * seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_of_shuffled_labels_is_within_chance(seed: int):
    auc, bound = shuffled_label_auc(made_rows(seed, 600), made_rows(seed + 50, 400), seed=seed)
    assert abs(auc - 0.5) < bound < 0.2
    require_chance(auc, bound)


def test_held_out_rows_that_were_trained_on_are_found():
    rows = made_rows(1, 800)
    again = ProbeRows(rows.x_NF[:400], rows.outcome_N[:400], rows.key_N[:400])
    with pytest.raises(LeakageError, match=r"a model of shuffled labels beats chance: AUC 0\.\d+, at most 0\.\d+"):
        require_chance(*shuffled_label_auc(rows, again, seed=1))


def test_the_bound_holds_what_it_says():
    rng = np.random.default_rng(5)
    y = rng.random(500) < 0.3
    deviation = chance_bound(y) / 4
    aucs = feature_aucs(rng.normal(size=(500, 2000)), y[:, None])
    assert np.std(aucs) == pytest.approx(deviation, rel=0.1)
