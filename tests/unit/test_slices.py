"""Slices and the record of an evaluation, on literal rows."""

import json

import numpy as np
import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.record import evaluation_record, gain_curves
from memberlevel_spark.evaluation.slices import Dimension, banded, slice_metrics

TARGET, NOW = np.array([0, 1, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 1, 1])
ORDERS, SPEND = np.array([0.0, 2, 1, 0, 3, 1]), np.array([0.0, 20, 10, 0, 45, 5])
P_UP = np.array([0.2, 0.7, 0.9, 0.6, 0.8, 0.4])
MODEL = Forecast(
    p_level_NK=np.stack([1 - P_UP, P_UP], axis=1),
    p_churn_N=np.array([0.9, 0.1, 0.2, 0.4, 0.1, 0.3]),
    orders_N=np.ones(6),
    spend_N=np.array([1.0, 18, 12, 8, 30, 9]),
)
STAYS = Forecast(np.stack([1 - NOW * 0.8 - 0.1, NOW * 0.8 + 0.1], axis=1))
ACTUALS = Actuals(TARGET, NOW, ORDERS, SPEND)
FORECASTS = {"model": MODEL, "persistence": STAYS}
CITY = Dimension("city", ["Ulm", "Kiel", "Bonn", "Jena"], np.array([0, 0, 0, 1, 2, 2]))


def test_every_part_is_judged_by_its_own_members_and_small_ones_together() -> None:
    ulm, small = slice_metrics(ACTUALS, FORECASTS, [CITY], min_members=3)
    assert ulm == {
        "dimension": "city",
        "slice": "Ulm",
        "members": 3,
        "accuracy": 1.0,
        "log_loss": pytest.approx(-np.log([0.8, 0.7, 0.9]).mean()),
        "upgrade_auc": 1.0,  # P(up) is 0.7 of the mover, 0.2 and, at the top, 0 of the others
        "churn_auc": 1.0,
        "churn_brier": pytest.approx((0.01 + 0.01 + 0.04) / 3),
        "spend_mae": pytest.approx((1 + 2 + 2) / 3),
        "persistence_accuracy": pytest.approx(2 / 3),
    }
    assert (small["slice"], small["members"]) == ("(small)", 3)
    assert (small["accuracy"], small["persistence_accuracy"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert small["upgrade_auc"] is None and small["churn_auc"] == 1.0


def test_too_few_members_even_together_are_counted_and_not_judged() -> None:
    dimension = Dimension("city", ["Ulm", "Kiel"], np.array([0, 0, 0, 0, 0, 1]))
    ulm, small = slice_metrics(ACTUALS, FORECASTS, [dimension], min_members=2)
    assert (ulm["slice"], ulm["members"]) == ("Ulm", 5) and ulm["accuracy"] is not None
    assert small == {
        "dimension": "city",
        "slice": "(small)",
        "members": 1,
        **dict.fromkeys(("accuracy", "log_loss", "upgrade_auc", "churn_auc", "churn_brier", "spend_mae")),
        "persistence_accuracy": None,
    }


def test_parts_come_in_their_order_and_nobodys_part_is_left_out() -> None:
    rows = slice_metrics(ACTUALS, FORECASTS, [CITY, Dimension("level", ["low", "top"], NOW)], min_members=1)
    assert [(row["dimension"], row["slice"], row["members"]) for row in rows] == [
        ("city", "Ulm", 3),
        ("city", "Kiel", 1),
        ("city", "Bonn", 2),
        ("level", "low", 2),
        ("level", "top", 4),
    ]


def test_one_part_of_everybody_is_judged_like_the_whole() -> None:
    (row,) = slice_metrics(ACTUALS, FORECASTS, [Dimension("all", ["all"], np.zeros(6, dtype=int))], min_members=6)
    whole = judge(ACTUALS, MODEL)
    assert {name: row[name] for name in ("accuracy", "log_loss", "churn_brier")} == {
        name: whole[name] for name in ("accuracy", "log_loss", "churn_brier")
    }


def test_a_dimension_of_other_members_is_refused() -> None:
    with pytest.raises(DataQualityError, match="The numbers of rows differ: part 2, target 6"):
        slice_metrics(ACTUALS, FORECASTS, [Dimension("city", ["Ulm"], np.zeros(2, dtype=int))], min_members=1)


def test_bands_begin_at_their_first_value_and_the_unknown_are_a_part_of_their_own() -> None:
    bands = banded("orders", {"none": 0, "1": 1, "2 or more": 2}, np.array([0.0, 1, 2, 90, np.nan]))
    assert [bands.names[part] for part in bands.part_N] == ["none", "1", "2 or more", "2 or more", "(unknown)"]


def test_the_record_is_strict_json_and_says_what_the_parts_say() -> None:
    record = evaluation_record(ACTUALS, FORECASTS, [CITY], min_slice_members=3)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["num_members"] == 6 and record["confusion"] == [[1, 1], [1, 3]]
    assert record["test"]["persistence"] == judge(ACTUALS, STAYS)
    assert record["slices"] == slice_metrics(ACTUALS, FORECASTS, [CITY], min_members=3)
    assert [tenth["members"] for tenth in record["spend_tenths"]] == [1] * 6
    assert record["spend_tenths"][-1] == {"members": 1, "expected": 30.0, "realised": 45.0}
    churn = [point for point in record["reliability"] if point["event"] == "churns"]
    assert churn[0] == {"event": "churns", "confidence": pytest.approx(0.1), "observed": 0.0, "count": 2}


def test_curves_are_made_of_what_a_forecaster_speaks_of() -> None:
    curves = {(row["event"], row["forecaster"]): row for row in gain_curves(ACTUALS, FORECASTS)}
    assert list(curves) == [
        ("churn", "model"),
        ("upgrade", "model"),
        ("upgrade", "persistence"),
        ("downgrade", "model"),
        ("downgrade", "persistence"),
        ("spend", "model"),
    ]
    assert curves["churn", "model"]["captured"] == pytest.approx([0, 0.5, 1, 1, 1, 1, 1])
    assert curves["spend", "model"]["captured"][1] == pytest.approx(45 / 80)
    # P(down) is 0.6 of the sixth member, who stayed, 0.4 of the fourth, 0.2 of the fifth, who moved.
    assert curves["downgrade", "model"]["captured"] == pytest.approx([0, 0, 0, 1, 1, 1, 1])


def test_without_a_move_up_there_is_no_curve_of_it() -> None:
    stayed = Actuals(NOW, NOW, ORDERS, SPEND)
    (row, _) = (row for row in gain_curves(stayed, FORECASTS) if row["event"] == "upgrade")
    assert row["captured"] is None and row["lift"] is None
