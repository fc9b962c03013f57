"""The text of metrics.prom, read back by Prometheus' own parser, and the dashboard that asks for its metrics."""

import json
import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

from prometheus_client.parser import text_string_to_metric_families

from memberlevel_spark.config.monitoring import WatchedMetric
from memberlevel_spark.monitoring.export import outcome_families, stage_families, watched_families
from memberlevel_spark.monitoring.prometheus import Family, exposition, write_text

DASHBOARD = Path(__file__).parents[2] / "conf" / "deploy" / "grafana" / "memberlevel.json"
DAY = date(2024, 3, 10)


def read_back(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {name: [(one.labels, one.value) for one in family.samples] for name, family in read_back(text).items()}


def asked_metrics(dashboard: dict[str, Any]) -> set[str]:
    """The metrics in every query of a dashboard, those of its variables included."""
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [str(variable["query"]) for variable in dashboard["templating"]["list"]]
    return {name for query in queries for name in re.findall(r"\bmemberlevel_\w+", query)}


def test_families_are_written_as_prometheus_reads_them():
    odd = 'a "quoted" \\ back\nslash'
    families = [
        Family("memberlevel_b", "Help with \\ and\na break", [({"subject": odd}, 0.1), ({}, -2.0)]),
        Family("memberlevel_a", "First", [({"x": "2", "a": "1"}, 1e-300), ({"x": "1"}, math.inf)]),
        Family("memberlevel_c", "Undefined", [({}, None)]),
    ]
    text = exposition(families)
    assert samples(text) == {
        "memberlevel_a": [({"a": "1", "x": "2"}, 1e-300), ({"x": "1"}, math.inf)],
        "memberlevel_b": [({}, -2.0), ({"subject": odd}, 0.1)],
        "memberlevel_c": [],
    }
    told = read_back(text)
    assert told["memberlevel_b"].documentation == "Help with \\ and\na break" and told["memberlevel_b"].type == "gauge"
    assert list(told) == ["memberlevel_a", "memberlevel_b", "memberlevel_c"] and text.endswith("\n")
    nothing_known = exposition([Family("memberlevel_d", "Odd", [({"n": "1"}, math.nan), ({"n": "2"}, -math.inf)])])
    ((_, first), (_, second)) = samples(nothing_known)["memberlevel_d"]
    assert math.isnan(first) and second == -math.inf


def test_a_file_changes_in_one_step_and_leaves_nothing_a_collector_would_read(tmp_path: Path):
    path = tmp_path / "monitoring" / "metrics.prom"
    write_text(path, "old 1\n")
    write_text(path, "new 2\n")
    assert path.read_text() == "new 2\n" and list(path.parent.iterdir()) == [path]


def watched_rows() -> Iterator[dict[str, Any]]:
    for metric, name, value, level in (
        ("feature_psi", "spend_cents_sum_91d", 0.31, "alert"),
        ("feature_psi", "num_orders_sum_7d", 0.15, "warn"),
        ("volume_drop", "events/orders", None, "unknown"),
        ("members_now", "1", 40.0, "ok"),
        ("members_expected", "0->1", 2.5, "ok"),
    ):
        yield {"metric": metric, "slice": name, "value": value, "level": level, "as_of_date": DAY}


def test_watched_values_are_gauges_by_subject_and_levels_have_their_names():
    found = samples(exposition(watched_families(list(watched_rows()), "m1", ["base", "gold"])))
    assert found["memberlevel_feature_psi"] == [
        ({"subject": "num_orders_sum_7d"}, 0.15),
        ({"subject": "spend_cents_sum_91d"}, 0.31),
    ]
    assert found["memberlevel_watched_values"] == [
        ({"level": level}, number) for level, number in (("alert", 1), ("ok", 0), ("unknown", 1), ("warn", 1))
    ]
    assert found["memberlevel_members_now"] == [({"level": "gold"}, 40.0)]
    assert found["memberlevel_members_expected"] == [({"level_now": "base", "level_then": "gold"}, 2.5)]
    assert found["memberlevel_champion_info"] == [({"model_version": "m1"}, 1.0)]
    assert found["memberlevel_as_of_timestamp_seconds"] == [({}, 1710028800.0)]
    assert found["memberlevel_volume_drop"] == []


def test_outcomes_and_stages_are_gauges_too():
    outcomes = [
        {"metric": "accuracy", "value": 0.86, "as_of_date": DAY},
        {"metric": "upgrade_auc", "value": None, "as_of_date": DAY},
    ]
    record = {"stage": "score", "rows_in": 5, "rows_out": 4, "quarantined": 1, "seconds": 2.5}
    found = samples(exposition([*outcome_families(outcomes), *stage_families([record])]))
    assert found == {
        "memberlevel_outcome": [({"metric": "accuracy"}, 0.86)],
        "memberlevel_outcome_as_of_timestamp_seconds": [({}, 1710028800.0)],
        "memberlevel_stage_rows": [
            ({"kind": "quarantined", "stage": "score"}, 1.0),
            ({"kind": "rows_in", "stage": "score"}, 5.0),
            ({"kind": "rows_out", "stage": "score"}, 4.0),
        ],
        "memberlevel_stage_seconds": [({"stage": "score"}, 2.5)],
    }
    assert set(map(tuple, samples(exposition(outcome_families([]))).values())) == {()}


def test_the_dashboard_asks_for_every_watched_metric_and_no_two_panels_overlap():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    families = [*watched_families([], "m1", []), *outcome_families([]), *stage_families([])]
    assert asked_metrics(dashboard) == {family.name for family in families}
    assert {f"memberlevel_{metric}" for metric in get_args(WatchedMetric)} < asked_metrics(dashboard)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert all('shop="$shop"' in target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
