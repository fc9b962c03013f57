"""A believable made-up report, for the report's tests and for looking at it: a grocer with four levels.

``python -m tests.unit.report_sample FILE`` writes it as HTML. Everything comes from one seed; nothing is real.
"""

import copy
import datetime as dt
import math
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from memberlevel_spark.evaluation.baselines import majority_probabilities, persistence_probabilities
from memberlevel_spark.evaluation.calibration import p_move_up
from memberlevel_spark.evaluation.call_thresholds import call_costs, fit_thresholds
from memberlevel_spark.evaluation.fairness import Judging, fairness_record
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast
from memberlevel_spark.evaluation.metrics import confusion_matrix, level_metrics, migration
from memberlevel_spark.evaluation.record import evaluation_record
from memberlevel_spark.evaluation.slices import Dimension, banded
from memberlevel_spark.report.matured import TENTHS
from memberlevel_spark.report.model import ROW_KEYS, MaturedMoves, ReportData
from memberlevel_spark.report.render import render_report

AS_OF = dt.date(2017, 12, 31)
LEVELS = ("bronze", "silver", "gold", "platinum")
THRESHOLDS_CENTS = np.array([20_000, 50_000, 100_000])


def sample_report(**changes: Any) -> ReportData:
    """One report of 2,469 made-up members; fields in ``changes`` replace the sample's."""
    return replace(copy.deepcopy(_sample()), **changes)


@cache
def _sample() -> ReportData:
    rng = np.random.default_rng(7)
    spend_N = np.round(rng.lognormal(10.6, 0.95, 2469)).astype(int)
    now_N, p_NK = _forecast(rng, spend_N)
    target_N = np.array([rng.choice(4, p=p_K) for p_K in p_NK])
    results = _results(now_N, p_NK, target_N)
    levels = (now_N, p_NK, target_N)
    parts = [_members(spend_N, now_N, p_NK), _run(rng), _outcomes(rng, spend_N, levels), _came_true(*levels)]
    return replace(results, **{name: value for part in parts for name, value in part.items()})


def many_levels(num_levels: int) -> ReportData:
    """The sample with ``num_levels`` levels and nothing but levels in it."""
    names = [f"Level number {level}" for level in range(num_levels)]
    counts = np.linspace(900, 20, num_levels)
    near = np.exp(-np.abs(np.subtract.outer(np.arange(num_levels), np.arange(num_levels))) * 1.6)
    moves = counts[:, None] * near / near.sum(axis=1, keepdims=True)
    return sample_report(
        level_names=names,
        level_counts_now=counts.round().tolist(),
        level_counts_expected=moves.sum(axis=0).tolist(),
        migration=moves.tolist(),
        confusion=moves.round().astype(int).tolist(),
        level_history=[(AS_OF - dt.timedelta(7 * week), counts.tolist()) for week in range(12, -1, -1)],
        movers_up=[],
        movers_down=[],
        moves=None,
        survival=[{**_tenure(level % 4), "level": level} for level in range(num_levels)],
    )


def _forecast(rng: np.random.Generator, spend_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    now_N = np.searchsorted(THRESHOLDS_CENTS, spend_N, side="right")
    # A known habit of each member moves spend more than chance does: what a model can learn and persistence cannot.
    habit_N = 0.20 * rng.standard_normal(len(spend_N))
    later = (np.log(spend_N) + habit_N)[:, None] + 0.18 * rng.standard_normal((len(spend_N), 400))
    level_NS = np.searchsorted(np.log(THRESHOLDS_CENTS), later, side="right")
    p_NK = np.stack([(level_NS == level).mean(axis=1) for level in range(4)], axis=1)
    return now_N, (p_NK + 0.002) / (p_NK + 0.002).sum(axis=1, keepdims=True)


def _results(now_N: np.ndarray, p_NK: np.ndarray, target_N: np.ndarray) -> ReportData:
    forecasts = {
        "model": p_NK,
        "boosted_tree": 0.93 * p_NK + 0.07 * majority_probabilities(np.bincount(now_N), len(now_N)),
        "persistence": persistence_probabilities(now_N, 0.83, 4),
        "majority": majority_probabilities(np.bincount(now_N), len(now_N)),
    }
    return ReportData(
        title="Member level forecast",
        shop="complete_journey",
        as_of_date=AS_OF,
        horizon_days=28,
        currency="USD",
        level_names=list(LEVELS),
        versions={},
        test_as_of=dt.date(2017, 12, 3),
        num_members=len(now_N),
        metrics={name: level_metrics(target_N, now_N, p) for name, p in forecasts.items()},
        confusion=confusion_matrix(target_N, p_NK.argmax(axis=1), 4).tolist(),
        migration=migration(now_N, p_NK).tolist(),
        level_counts_now=np.bincount(now_N, minlength=4).tolist(),
        level_counts_expected=p_NK.sum(axis=0).tolist(),
    )


def _outcomes(
    rng: np.random.Generator, spend_N: np.ndarray, levels: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Spend to come that spend so far tells of; who places no order; parts of the members."""
    now_N, p_NK, target_N = levels
    expected_N = spend_N / 300 * rng.lognormal(0, 0.3, len(spend_N))
    p_churn_N = np.clip(0.6 * np.exp(-expected_N / 80) + rng.normal(0, 0.02, len(spend_N)), 0, 1)
    churned_N = rng.random(len(spend_N)) < p_churn_N
    realised_N = np.where(churned_N, 0.0, expected_N * rng.lognormal(0, 0.6, len(spend_N)))
    stays = Forecast(persistence_probabilities(now_N, 0.83, 4))
    model = Forecast(p_NK, p_churn_N, expected_N / 40, expected_N)
    rival = Forecast(p_churn_N=rng.permutation(p_churn_N), spend_N=spend_N / 300)
    forecasts = {"model": model, "boosted_tree": stays, "run_rate": rival, "persistence": stays}
    actuals = Actuals(target_N, now_N, np.where(churned_N, 0.0, 2.0), realised_N)
    tenure = banded("tenure", {"under 6 months": 0, "6 months or more": 182}, rng.uniform(0, 185, len(now_N)))
    record = evaluation_record(
        actuals, forecasts, [Dimension("level now", LEVELS, now_N), tenure], min_slice_members=60
    )
    groups = _groups(rng, actuals, p_NK)
    tenths = np.array_split(np.sort(expected_N), 10)
    quantities = {"churn": p_churn_N, "orders": expected_N / 40, "spend_cents": 100 * expected_N}
    return {
        **{name: record[name] for name in ("gains", "spend_tenths", "slices", "reliability")},
        **groups,
        "expected": [
            {"quantity": name, "total": value_N.sum()}
            | dict(zip(("low", "median", "high"), np.quantile(value_N, [0.1, 0.5, 0.9]), strict=True))
            for name, value_N in quantities.items()
        ],
        "churn_counts": np.histogram(p_churn_N, bins=10, range=(0, 1))[0].tolist(),
        "spend_ranges": [
            {
                "members": len(part),
                "expected_cents": 100 * part.mean(),
                "low_cents": 0.0,
                "high_cents": 240 * part.mean(),
            }
            for part in tenths
        ],
    }


def _came_true(now_N: np.ndarray, p_NK: np.ndarray, target_N: np.ndarray) -> dict[str, Any]:
    """Two dates that two models had scored, one of them with an undefined metric; the newest one's moves and tenths."""
    judged = dict(zip(ROW_KEYS["came_true"][3:], np.linspace(0.86, 0.1, 11).tolist(), strict=True))
    runs = [(dt.date(2017, 12, 3), "m3f9c2a7e"), (dt.date(2017, 11, 5), "m3f9c2a7e"), (dt.date(2017, 11, 5), "m0old")]
    rows = [{"as_of_date": day, "model_version": version, "members": 2469, **judged} for day, version in runs]
    tenths = [
        {"dimension": dimension, "slice": f"{place:02d}", "members": 247, "metric": metric, "value": place / 20}
        for dimension, metrics in TENTHS.items()
        for metric in metrics
        for place in range(1, 11)
    ]
    moves = MaturedMoves(
        as_of_date=dt.date(2017, 12, 3),
        model_version="m3f9c2a7e",
        expected=migration(now_N, p_NK).tolist(),
        realised=confusion_matrix(now_N, target_N, 4).tolist(),
        num_fallen=int((target_N < now_N).sum()),
        at_risk_cents=1_234_567,
    )
    return {"came_true": [*rows[:2], {**rows[2], "upgrade_auc": None}], "came_true_tenths": tenths, "moves": moves}


def _groups(rng: np.random.Generator, actuals: Actuals, p_NK: np.ndarray) -> dict[str, Any]:
    """Ages, of which one is held by a few members only and a third of all do not say; one list by two rules."""
    ages = ["19 to 34", "35 to 54", "55 to 64", "65 or more", "(unknown)"]
    age = Dimension("age", ages, rng.choice(5, size=len(p_NK), p=[0.18, 0.35, 0.12, 0.005, 0.345]))
    judging = Judging(min_members=30, call_share=0.1, num_resamples=100, seed=7)
    stays = persistence_probabilities(actuals.level_now_N, 0.83, 4)
    record = fairness_record(actuals, {"model": p_NK, "champion": stays}, [age], judging)
    group_N = np.array([*ages[:-1], None], dtype=object)[age.part_N]
    p_up_N, moved_N = p_move_up(actuals.level_now_N, p_NK), actuals.target_N > actuals.level_now_N
    thresholds = fit_thresholds(p_up_N, moved_N, group_N, attribute="age", share=0.1, min_members=30)
    calls = [{"attribute": "age", **row} for row in call_costs(thresholds, p_up_N, moved_N, group_N)]
    return {"groups": record["groups"], "group_differences": record["differences"], "calls": calls}


def _members(spend_N: np.ndarray, now_N: np.ndarray, p_NK: np.ndarray) -> dict[str, Any]:
    above_NK = np.arange(4) > now_N[:, None]
    below_NK = np.arange(4) < now_N[:, None]
    p_up_N, p_down_N = (p_NK * above_NK).sum(axis=1), (p_NK * below_NK).sum(axis=1)

    def mover(row: int, p_move: float) -> dict[str, Any]:
        carried = int(spend_N[row] * 0.68)
        return {
            "member_id": f"{(row * 2654435761) % 2**48:012x}",
            "level_now": int(now_N[row]),
            "p_move": float(p_move),
            "expected_level": float(p_NK[row] @ np.arange(4)),
            "level_metric_now": int(spend_N[row]),
            "level_metric_carry_over": carried,
            "to_next": None if now_N[row] == 3 else int(THRESHOLDS_CENTS[now_N[row]]) - carried,
            "reasons": [{"topic": "spend", "effect": 0.123}, {"topic": "what they buy", "effect": -0.045}],
            "extra": 1250,
        }

    return {
        "movers_up": [mover(row, p_up_N[row]) for row in np.argsort(-p_up_N, kind="stable")[:10]],
        "movers_down": [mover(row, p_down_N[row]) for row in np.argsort(-p_down_N, kind="stable")[:10]],
        "tips": [_tip("rise", level) for level in (1, 2, 3)] + [_tip("keep", level) for level in (1, 2, 3)],
        "nearest": [_near(level) for level in (1, 2, 3)],
        "benefits": [[], ["free returns"], ["free returns", "early sales"], ["a personal shopper"]],
    }


def _near(level: int) -> dict[str, Any]:
    amounts = {"extra": 410 * level, "needed": 1200 * level}
    return {"member_id": f"near{level}", "level_now": level - 1, "target_level": level, "p_now": 0.46, **amounts}


def _tip(goal: str, level: int) -> dict[str, Any]:
    counts = {"members": 500, "likely": 40 if goal == "rise" else 430, "tipped": 455, "not_alone": 5}
    extras = {"extra_low": 4300 * level, "extra_median": 9800 * level}
    return {"goal": goal, "target_level": level, "metric": "spend_cents", **counts, **extras}


def _run(rng: np.random.Generator) -> dict[str, Any]:
    weeks = [AS_OF - dt.timedelta(7 * week) for week in range(51, -1, -1)]
    spend = 9_300_000 + 900_000 * np.sin(np.arange(52) / 6) + rng.normal(0, 350_000, 52) + 25_000 * np.arange(52)
    drift = np.linspace(0, 1, 52)[:, None] ** 0.5
    counts = np.array([1500, 600, 269, 100]) * (1 - drift) + np.array([560, 810, 640, 459]) * drift
    return {
        "spend_history": [(week, int(cents)) for week, cents in zip(weeks, spend, strict=True)],
        "level_history": [(week, row.round().astype(int).tolist()) for week, row in zip(weeks, counts, strict=True)],
        "training_curves": [
            {
                "epoch": epoch,
                "train_log_loss": 0.36 + 0.62 * math.exp(-epoch / 4),
                "validation_log_loss": 0.38 + 0.62 * math.exp(-epoch / 4) + 0.0006 * max(epoch - 14, 0) ** 1.6,
                "validation_accuracy": 0.86 - 0.25 * math.exp(-epoch / 3),
            }
            for epoch in range(1, 26)
        ],
        "quality": _quality(),
        "quarantine": [
            {"source": "orders", "rule": "amount_not_negative", "rows": 34},
            {"source": "coupons", "rule": "member_id_not_null", "rows": 5},
        ],
        **_watched(),
        "versions": {
            "model_version": "2017-12-31-3f9c2a7e",
            "config fingerprint": "9b1f6c0d4e2a",
            "table member_features": "version 4",
            "table member_levels": "version 2",
            "pyspark": "4.2.0",
            "torch": "2.8.0",
        },
        "caveats": [
            "One year of data: the forecast has seen no second Christmas.",
            "The model was tested on a single date; another month may be easier or harder.",
        ],
    }


def _watched() -> dict[str, Any]:
    """A feature that drifted, one that cannot be measured, a share above what is usual, and a source that is silent."""
    distances = [
        ("score", "p_up", "ok", 0.021, 0.04, 0.05, 0.06),
        ("feature", "spend_sum_91d", "alert", 0.31, 0.22, 0.19, 0.6),
        ("feature", "num_views_sum_7d", "unknown", None, None, None, None),
        *(("feature", f"num_orders_sum_{days}d", "ok", 0.04, 0.03, 0.03, 0.1) for days in range(1, 13)),
    ]
    names = ("kind", "name", "level", "psi", "ks", "js", "wasserstein")
    alert = {"metric": "feature_psi", "subject": "spend_sum_91d", "level": "alert", "value": 0.31, "threshold": 0.2}
    silent = {"metric": "stale_days", "subject": "events/coupons", "level": "warn", "value": 4.0, "threshold": 2.0}
    numbers = ("members", "top_now", "top_expected", "up", "down", "no_order", "orders", "spend_cents", "alerts")
    return {
        "alerts": [alert, silent],
        "monitor": [
            {"metric": "stale_days", "slice": "events/coupons", "value": 4.0, "level": "warn"},
            {"metric": "feature_null_share", "slice": "age_group", "value": 0.675, "level": "ok"},
            {"metric": "volume_drop", "slice": "events/orders", "value": None, "level": "unknown"},
        ],
        "drift": [dict(zip(names, row, strict=True)) for row in distances],
        "changes": [
            {"number": name, "before": 100.0 * place, "now": 90.4 * place + 7} for place, name in enumerate(numbers)
        ],
        "compared_with": (dt.date(2017, 12, 3), "m0old"),
        "survival": [_tenure(level) for level in range(4)],
    }


def _tenure(level: int) -> dict[str, Any]:
    steps = {"days": [0, 30, 90 + 20 * level, 300], "shares": [1.0, 0.8, 0.45 + 0.1 * level, 0.45 + 0.1 * level]}
    median_days = 90 if level == 0 else None
    return {"level": level, "spells": 900 - 200 * level, "ended": 400 - 90 * level, "median_days": median_days, **steps}


def _quality() -> list[dict[str, Any]]:
    keys = ("stage", "rows_in", "rows_out", "quarantined", "duplicates", "filtered", "seconds")
    rows = [
        ("bronze", 1_471_411, 1_471_411, 0, 0, 0, 21.4),
        ("silver", 1_471_411, 1_469_274, 39, 2_098, 0, 38.9),
        ("member_days", 1_469_274, 155_848, 0, 0, 0, 12.1),
        ("levels", 155_848, 11_216, 0, 0, 0, 6.3),
        ("features", 155_848, 128_388, 0, 0, 0, 44.0),
        ("labels", 155_848, 118_512, 0, 0, 9_876, 8.7),
        ("score", 2_469, 2_469, 0, 0, 0, None),
    ]
    return [dict(zip(keys, row, strict=True)) for row in rows]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_report(sample_report()), encoding="utf-8")
