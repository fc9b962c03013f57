"""One member's rows as the window kernel reads them, and the columns that come out."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.breakdowns import BREAKDOWNS, Breakdown
from memberlevel_spark.features.columns import window_columns
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import NEVER_ENDS, ProfileFeature
from memberlevel_spark.features.windows import WindowPlan, compute_batch
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES
from memberlevel_spark.serving.history import as_date, as_number, history_batch
from memberlevel_spark.serving.member_rows import rows_from
from memberlevel_spark.timeline import day_number

AS_OF = date(2024, 3, 10)
DAY = day_number(AS_OF)
LEVELS = LevelsConfig.model_validate(
    {
        "metric": "spend_cents",
        "window_days": 14,
        "manual": {"level": "tier", "until": "tier_until"},
        "programme": [
            {"name": "base"},
            {"name": "silver", "at_least": 1000},
            {"name": "gold", "at_least": 5000},
        ],
    }
)
SPEND_BY_CATEGORY = Breakdown("spend_cents_by_category", "category", "spend_cents", ("food", "wine"))
PLAN = WindowPlan(
    measures=("num_orders", "spend_cents"),
    as_of_days=(DAY,),
    declared=(
        Feature("num_orders", "sum", window_days=7),
        Feature("num_orders", "days_since"),
        Feature("num_orders", "gap_mean", window_days=7),
        Feature("products", "num_distinct", window_days=7),
        Feature("spend_cents_by_category", "part_share", window_days=7, part=1),
        Feature("num_events_by_hour", "top", window_days=7, part=0),
    ),
    sequence_weeks=2,
    rules=LevelRules.of(LEVELS, MEASURES),
    reach_days=7,
    profile=(ProfileFeature("city", "category", ("Ulm", "Kiel")), ProfileFeature("size", "number")),
    breakdowns=(BREAKDOWNS["num_events_by_hour"], BREAKDOWNS["products"], SPEND_BY_CATEGORY),
)


def profile(valid_from: date, attributes: dict[str, str], **more: object) -> dict[str, object]:
    row = {"valid_from": valid_from, "valid_to": None, "declared": True, "attributes": attributes}
    return {**row, "known_from": valid_from, "corrected_from": {}, **more}


def broken_down(day: date, dimension: str, value: str, **values: int) -> dict[str, object]:
    return {"day": day, "dimension": dimension, "value": value, "spend_cents": 0, "num_events": 0, **values}


ROWS = {
    "profiles": [
        profile(date(2024, 1, 1), {}, declared=False),
        profile(date(2024, 2, 1), {"city": "Ulm", "size": "2"}, valid_to=date(2024, 3, 1)),
        profile(date(2024, 3, 1), {"city": "Kiel", "size": "many", "tier": "gold", "tier_until": "2024-03-15"}),
    ],
    "tiles": [
        {"day": date(2024, 3, 9), "num_orders": 2, "spend_cents": 700},
        {"day": date(2024, 3, 1), "num_orders": 1, "spend_cents": 500},
        {"day": date(2024, 3, 11), "num_orders": 9, "spend_cents": 9999},
    ],
    "levels": [
        {"valid_from": date(2024, 3, 1), "level": 2, "own_level": 0},
        {"valid_from": date(2024, 1, 1), "level": 0, "own_level": 0},
        {"valid_from": date(2024, 3, 9), "level": 2, "own_level": 1},
    ],
    "breakdowns": [
        broken_down(date(2024, 3, 9), "category", "wine", spend_cents=600, num_events=1),
        broken_down(date(2024, 3, 9), "category", "cheese", spend_cents=200, num_events=1),
        broken_down(date(2024, 3, 9), "hour", "14", spend_cents=800, num_events=2),
        broken_down(date(2024, 3, 8), "product", "p1", num_events=1),
        broken_down(date(2024, 3, 9), "product", "p1", num_events=1),
        broken_down(date(2024, 3, 9), "product", "p2", num_events=1),
        broken_down(date(2024, 3, 9), "channel", "web", num_events=4),
    ],
}


def row_of(rows: dict[str, Any]) -> dict[str, Any]:
    (row,) = history_batch(rows_from(rows), PLAN).to_pylist()
    return dict(row)


def test_the_tables_rows_become_one_row_of_arrays():
    row = row_of(ROWS)
    days = [day_number(date(2024, 3, day)) for day in (9, 1, 11)]
    assert row["known_day"] == day_number(date(2024, 1, 1))
    assert (row["day"], row["num_orders"], row["spend_cents"]) == (days, [2, 1, 9], [700, 500, 9999])
    assert (row["level"], row["own_level"]) == ([2, 0, 2], [0, 0, 1])
    assert (row["manual_level"], row["manual_from"]) == ([2], [day_number(date(2024, 3, 1))])
    assert row["manual_until"] == [day_number(date(2024, 3, 15))]
    assert (row["profile_city"], row["profile_size"]) == (["Ulm", "Kiel"], [2.0, None])
    assert row["valid_until"] == [day_number(date(2024, 3, 1)), NEVER_ENDS]
    assert row["breakdown_dimension"] == [0, 0, 1, 2, 2, 2]
    assert row["breakdown_part_of_category"][:2] == [1, 15] and row["breakdown_part_of_hour"][2] == 14
    assert row["breakdown_item"][3] == row["breakdown_item"][4] != row["breakdown_item"][5]


def test_what_the_shop_learned_late_counts_from_then_on():
    learned = date(2024, 3, 5)
    late = profile(date(2024, 2, 1), {"city": "Ulm", "tier": "gold"}, corrected_from={"city": learned, "tier": learned})
    row = row_of({**ROWS, "profiles": [ROWS["profiles"][0], late]})
    assert row["known_profile_city"] == [day_number(learned)] and row["known_profile_size"] == [
        day_number(late["valid_from"])
    ]
    assert (row["manual_from"], row["manual_until"]) == ([day_number(learned)], [None])


def test_the_kernels_answers_are_columns_by_their_names_with_nan_for_null():
    windows = compute_batch(history_batch(rows_from(ROWS), PLAN), PLAN)
    columns = window_columns(windows, PLAN)
    assert {name: values.tolist()[0] for name, values in columns.items() if not np.isnan(values).any()} == {
        "num_orders_sum_7d": 2,
        "num_orders_days_since": 1,
        "products_num_distinct_7d": 2,
        "spend_cents_by_category_1_share_7d": 0.75,
        "num_events_by_hour_top_0_7d": 14,
        "profile_city": 3,
        "tenure_days": 69,
        "level_now": 2,
        "days_in_level": 9,
        "num_level_ups": 1,
        "num_level_downs": 0,
        "best_level": 2,
        # Until the 15th by hand; on the 17th those of the 9th still count.
        "level_if_idle": 0,
        "days_to_review": 1,
        "level_spend_cents_now": 1200,
        "level_spend_cents_carry_over": 700,
        "to_level_1_spend_cents_now": 0,
        "to_level_1_spend_cents_carry_over": 300,
        "to_level_2_spend_cents_now": 3800,
        "to_level_2_spend_cents_carry_over": 4300,
        "to_keep_spend_cents": 4300,
        "weekly_num_orders": [2, 1],
        "weekly_spend_cents": [700, 500],
    }
    assert [name for name, values in columns.items() if np.isnan(values).any()] == [
        "num_orders_gap_mean_7d",
        "profile_size",
    ]


def test_a_member_without_any_rows_but_their_first_day_has_zeros():
    levels = [{"valid_from": date(2024, 1, 1), "level": 0, "own_level": 0}]
    rows = rows_from({"profiles": [profile(date(2024, 1, 1), {}, declared=False)], "levels": levels})
    columns = window_columns(compute_batch(history_batch(rows, PLAN), PLAN), PLAN)
    assert (columns["num_orders_sum_7d"], columns["profile_city"], columns["products_num_distinct_7d"]) == (0, 0, 0)
    assert columns["weekly_spend_cents"].tolist() == [[0, 0]]


def test_who_is_not_known_yet_has_no_row():
    later = {**ROWS, "profiles": [profile(date(2024, 3, 11), {})]}
    assert compute_batch(history_batch(rows_from(later), PLAN), PLAN).num_rows == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-12-31", date(2024, 12, 31)),
        (" 2024-2-3 ", date(2024, 2, 3)),
        ("2024-12-31T23:00:00+01:00", date(2024, 12, 31)),
        ("2024-12-31 soon", date(2024, 12, 31)),
        ("2024-12", date(2024, 12, 1)),
        ("2024", date(2024, 1, 1)),
        ("2024-02-30", None),
        ("31.12.2024", None),
        ("2024-12-31x", None),
        ("", None),
        (None, None),
    ],
)
def test_text_is_read_as_a_date_or_is_none(text: str | None, expected: date | None):
    assert as_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", 2.0),
        (" -1.5e3\t", -1500.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("2d", 2.0),
        ("1_000", None),
        ("1,5", None),
        ("9.3e18", None),
        ("9.2e18", 9.2e18),
        ("NaN", None),
        ("Infinity", None),
        ("1e999", None),
        ("", None),
        (None, None),
    ],
)
def test_text_is_read_as_a_number_or_is_none(text: str | None, expected: float | None):
    assert as_number(text) == expected


def test_rows_that_are_not_given_are_none_and_have_the_tables_types():
    rows = rows_from({})
    assert rows.tiles.num_rows == 0 and rows.tiles.schema.field("spend_cents").type == pa.int64()
    assert rows.profiles.schema.field("attributes").type == pa.map_(pa.string(), pa.string())
