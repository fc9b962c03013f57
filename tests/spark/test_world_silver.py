"""The synthetic world through bronze, silver, member days and levels: every defect ends as the manifest promises."""

import json
from collections import Counter
from datetime import date

import numpy as np
import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.evaluation.reach import reachable_gain
from memberlevel_spark.evaluation.stage import reach_of_known
from memberlevel_spark.features.tiles_stage import run_member_days
from memberlevel_spark.ingest.stage import run_bronze, run_silver
from memberlevel_spark.levels.stage import run_levels
from memberlevel_spark.run import RowCounts, Run, run_stage
from memberlevel_spark.synthetic.defects import ACCEPTED, DUPLICATE, QUARANTINED, SET_ASIDE
from tests.made_world import csv_rows, lines

pytestmark = pytest.mark.spark

# The rule that each line of a defect breaks.
RULES = {
    "wrong_type": "wrong_type_quantity",
    "too_few_fields": "corrupt_row",
    "too_many_fields": "corrupt_row",
    "quoted_newline": "corrupt_row",
    "ts_future": "timestamp_in_future",
    "ts_1970": "timestamp_out_of_range",
    "ts_year_1": "timestamp_out_of_range",
    "ts_year_9999": "timestamp_out_of_range",
    "nan_amount": "wrong_type_amount",
    "infinite_amount": "wrong_type_amount",
    "overflow_amount": "wrong_type_amount",
    "negative_amount": "negative_amount",
    "unknown_currency": "unknown_currency",
    "null_member": "null_member_id",
    "renamed_column": "null_member_id",
    "truncated_json": "corrupt_row",
    "no_id": "null_event_id",
    "unknown_event_type": "unknown_event_type",
}


@pytest.fixture(scope="module")
def counts(spoiled_world: Run) -> dict[str, RowCounts]:
    """Row counts of each stage; ``run_stage`` refuses those that do not add up."""
    stages = {"bronze": run_bronze, "silver": run_silver, "member_days": run_member_days, "levels": run_levels}
    return {name: run_stage(name, stage, spoiled_world).counts for name, stage in stages.items()}


def with_outcome(run: Run, *outcomes: str) -> Counter[str]:
    """Lines of the defects with these outcomes, by source."""
    found: Counter[str] = Counter()
    for row in run.tables.read("truth_defects").collect():
        found[row.source] += row.num_rows if row.outcome in outcomes else 0
    return +found


def test_every_line_is_in_bronze_and_every_spoiled_one_is_set_aside(spoiled_world: Run, counts: dict[str, RowCounts]):
    sources = spoiled_world.config.sources
    assert counts["bronze"].rows_in == sum(lines(spoiled_world, source).total() for source in sources)
    silver = counts["silver"]
    assert silver.rows_in == counts["bronze"].rows_out and (silver.filtered, silver.late) == (0, 0)
    set_aside = with_outcome(spoiled_world, QUARANTINED, DUPLICATE, SET_ASIDE).total()
    assert silver.quarantined + silver.duplicates == set_aside


def test_the_quarantine_names_the_rule_of_each_defect(spoiled_world: Run, counts: dict[str, RowCounts]):
    expected: Counter[tuple[str, str]] = Counter()
    for row in spoiled_world.tables.read("truth_defects").collect():
        assert row.outcome != QUARANTINED or row.defect in RULES
        if row.defect in RULES:
            expected[row.source, RULES[row.defect]] += row.num_rows
    rejected = spoiled_world.tables.read("quarantine").collect()
    assert Counter((row.source, row.rule) for row in rejected) == expected
    assert len(rejected) == counts["silver"].quarantined


def test_no_good_row_is_lost_and_only_accepted_ones_are_added(
    clean_world: Run, spoiled_world: Run, counts: dict[str, RowCounts]
):
    events = spoiled_world.tables.read("events").select("event_id", "source").collect()
    found = {
        source: {row.event_id for row in events if row.source == source}
        for source in ("orders", "refunds", "clicks", "activities")
    }
    good = {
        "orders": {f"{row['order_no']}-{row['line']}" for row in csv_rows(clean_world, "orders")},
        "refunds": {row["refund_no"] for row in csv_rows(clean_world, "refunds")},
        **{name: {json.loads(line)["id"] for line in lines(clean_world, name)} for name in ("clicks", "activities")},
    }
    accepted = with_outcome(spoiled_world, ACCEPTED)
    assert accepted.keys() == {"clicks", "refunds", "activities"}
    for source, ids in good.items():
        expected = {f"{source}:{number}" for number in ids}
        assert expected <= found[source], source
        assert len(found[source]) == len(expected) + accepted[source], source
    assert counts["silver"].rows_out == len(events)


def test_the_levels_are_those_of_the_truth(spoiled_world: Run, counts: dict[str, RowCounts]):
    """Defects change nobody's level: neither repeats nor refunds of what was refunded, nor rows that are set aside."""
    held: dict[str, list[tuple[date, date | None, int]]] = {}
    for row in spoiled_world.tables.read("member_levels").collect():
        held.setdefault(row.member_id, []).append((row.valid_from, row.valid_to, row.level))
    truth = spoiled_world.tables.read("truth_levels").collect()
    for row in truth:
        day = row.as_of_date
        levels = [level for first, end, level in held[row.member_id] if first <= day and (end is None or day < end)]
        assert levels == [row.level_now], row
    assert len({row.level_now for row in truth}) == 4
    giant = held.keys() - {row.member_id for row in truth}
    assert len(giant) == 1 and {level for _, _, level in held[giant.pop()]} == {0}


def test_the_reach_is_that_of_the_members_whose_truth_is_known(spark: SparkSession):
    rows = [(3, None), (1, [0.1, 0.9]), (2, [0.8, 0.2])]
    test = spark.createDataFrame(rows, "row_key long, p_level array<double>")
    persistence = np.array([[0.5, 0.5], [0.6, 0.4], [0.99, 0.01]])
    reach = reach_of_known(test, np.array([1, 0, 1]), {"persistence": persistence})
    assert reach == reachable_gain([1, 0], {"persistence": persistence[:2]}, [[0.1, 0.9], [0.8, 0.2]])
    assert reach["truth"]["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)
    unknown = test.where("row_key = 3")
    assert reach_of_known(unknown, np.array([1]), {"persistence": persistence[2:]}) == {}
