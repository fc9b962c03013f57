"""Names, meanings and nulls follow from a declaration; a published feature keeps its meaning; the catalogue."""

import dataclasses

import pytest

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.features import feature as declaration
from memberlevel_spark.features.catalogue import catalogue
from memberlevel_spark.features.feature import AS_OF, Feature, check_published, digests, require_distinct_names
from memberlevel_spark.features.meanings import AGGREGATES

CENTS = Feature("spend_cents", "sum", window_days=28)


@pytest.mark.parametrize(
    ("feature", "name", "unit"),
    [
        (CENTS, "spend_cents_sum_28d", "cents"),
        (Feature("spend_cents", "sum"), "spend_cents_sum", "cents"),
        (Feature("spend_cents", "max", window_days=91), "spend_cents_max_91d", "cents"),
        (Feature("num_cart_adds", "count", window_days=7), "num_cart_adds_count_7d", "days"),
        (Feature("points", "mean", window_days=7), "points_mean_7d", "points per active day"),
        (
            Feature("spend_cents", "window_share", window_days=28, over_days=91),
            "spend_cents_sum_28d_share_of_91d",
            "share",
        ),
        (Feature("spend_cents", "trend", window_days=91), "spend_cents_trend_91d", "cents per day"),
        (Feature("num_orders", "gap_mean", window_days=182), "num_orders_gap_mean_182d", "days"),
        (Feature("num_orders", "days_since"), "num_orders_days_since", "days"),
        (Feature("spend_cents", "lag_sum", window_days=7, part=3), "spend_cents_lag_3_sum_7d", "cents"),
        (
            Feature("discount_cents", "share", window_days=91, of=("discount_cents", "spend_cents")),
            "discount_cents_share_of_discount_cents_and_spend_cents_91d",
            "share",
        ),
        (
            Feature("num_orders", "shortfall", window_days=91, of=("num_cart_sessions",)),
            "num_orders_shortfall_of_num_cart_sessions_91d",
            "share",
        ),
        (
            Feature("num_views", "ratio", window_days=28, plus=("num_searches",), of=("num_cart_adds",)),
            "num_views_and_num_searches_per_num_cart_adds_28d",
            "views per cart adds",
        ),
        (Feature("num_orders", "weekday_share", window_days=91, part=6), "num_orders_sunday_share_91d", "share"),
        (Feature("num_orders", "streak_weeks", window_days=91), "num_orders_streak_weeks_91d", "weeks"),
        (
            Feature("spend_cents", "repeat_mean", of=("num_orders",)),
            "spend_cents_mean_per_repeat_day_of_num_orders",
            "cents per active day",
        ),
        (Feature("product_id", "num_distinct", window_days=91), "product_id_num_distinct_91d", "items"),
        (Feature("category", "part_share", window_days=91, part=4), "category_4_share_91d", "share"),
        (Feature(AS_OF, "weekday"), "as_of_date_weekday", "weekday"),
    ],
    ids=lambda given: given.name if isinstance(given, Feature) else "",
)
def test_name_and_unit_follow_from_the_declaration(feature: Feature, name: str, unit: str):
    assert (feature.name, feature.unit) == (name, unit)


def test_the_meaning_is_a_sentence_that_names_measures_and_window():
    share = Feature("discount_cents", "share", window_days=91, of=("discount_cents", "spend_cents"))
    assert share.meaning == (
        "Sum of discount_cents as a share of the sum of discount_cents plus spend_cents, kept within 0 and 1, over the"
        " 91 days that end with the as-of date."
    )
    sunday = Feature("num_orders", "weekday_share", part=6)
    assert sunday.meaning == "Share of positive num_orders on sundays in all days up to the as-of date."
    assert Feature("points", "last").meaning.startswith("Points on the last day on which it was not 0")


def test_never_is_the_length_of_the_window_or_two_years_and_sums_are_never_null():
    assert Feature("num_orders", "days_since", window_days=91).when_null == 91
    assert Feature("num_orders", "days_since").when_null == 730
    assert Feature("category", "top", part=0).when_null == -1
    assert (CENTS.nullable, CENTS.when_null) == (False, 0)
    assert Feature("spend_cents", "std").nullable


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"measure": "points", "aggregate": "sum", "of": ("num_orders",)}, "of is not taken"),
        ({"measure": "points", "aggregate": "ratio"}, "of is needed"),
        ({"measure": "points", "aggregate": "sum", "plus": ("num_orders",)}, "plus is not taken"),
        ({"measure": "points", "aggregate": "weekday_share", "part": 7}, "part 7 is out of range"),
        ({"measure": "points", "aggregate": "weekday"}, "as_of_date is the measure of the calendar"),
        ({"measure": AS_OF, "aggregate": "sum"}, "as_of_date is the measure of the calendar"),
        ({"measure": "points", "aggregate": "trend"}, "window_days is needed"),
        ({"measure": AS_OF, "aggregate": "month", "window_days": 7}, "window_days is not taken"),
        ({"measure": "points", "aggregate": "trend", "window_days": 1}, "one day has no slope"),
        ({"measure": "points", "aggregate": "sum", "window_days": 0}, "it reaches 0 days back, of 1 to 3660"),
        ({"measure": "points", "aggregate": "sum", "window_days": 3661}, "it reaches 3661 days back"),
        ({"measure": "points", "aggregate": "lag_sum", "window_days": 7, "part": 522}, "it reaches 3661 days back"),
        ({"measure": "points", "aggregate": "streak_weeks", "window_days": 30}, "30 is not a number of whole weeks"),
        (
            {"measure": "points", "aggregate": "window_share", "window_days": 7, "over_days": 7},
            "over_days 7 is not longer than window_days",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_its_aggregate_is_refused(fields: dict, problem: str):
    with pytest.raises(ConfigError, match=rf"the declaration of \w+ \w+ does not fit: .*{problem}.* says what"):
        Feature(**fields)


def test_an_unknown_aggregate_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown aggregate: median. Use one of: sum, count"):
        Feature("spend_cents", "median")


def test_two_declarations_of_one_name_are_refused():
    require_distinct_names([CENTS, Feature("spend_cents", "sum")])
    with pytest.raises(ConfigError, match=r"features declared twice: spend_cents_sum_28d. Declare each once"):
        require_distinct_names([CENTS, Feature("spend_cents", "sum", window_days=28)])


def test_a_published_feature_keeps_its_digest_and_new_ones_are_free():
    published = {"gone_sum_7d": "0", **digests([CENTS])}
    assert published["spend_cents_sum_28d"] == "a117c53d5f01a859"
    check_published([CENTS, Feature("points", "sum")], published)


def test_a_new_version_of_an_aggregate_changes_the_digest_and_is_refused(monkeypatch: pytest.MonkeyPatch):
    published = digests([CENTS, Feature("points", "last")])
    newer = {**AGGREGATES, "sum": dataclasses.replace(AGGREGATES["sum"], version=2)}
    monkeypatch.setattr(declaration, "AGGREGATES", newer)
    check_published([Feature("points", "last")], published)
    with pytest.raises(ConfigError, match=r"published features changed their meaning: spend_cents_sum_28d. Declare"):
        check_published([CENTS, Feature("points", "last")], published)


def test_every_declared_field_is_in_the_digest():
    of = Feature("num_orders", "ratio", of=("num_views", "num_searches"))
    # The same name, though another numerator.
    assert Feature("num_orders", "ratio", of=("num_views_and_num_searches",)).name == of.name
    assert Feature("num_orders", "ratio", of=("num_views_and_num_searches",)).digest != of.digest


def test_the_catalogue_is_one_table_per_measure_whatever_the_order_of_declaration():
    declared = [
        Feature("spend_cents", "sum", window_days=91),
        Feature(AS_OF, "month"),
        CENTS,
        Feature("spend_cents", "last"),
    ]
    page = catalogue(declared)
    assert page == catalogue(declared[::-1])
    assert page == (
        "# Features\n\n"
        "## as_of_date\n\n"
        "| feature | meaning | unit | window | when null |\n|---|---|---|---|---|\n"
        "| `as_of_date_month` | Month of the as-of date, 1 for January. | month | the as-of date | never null |\n\n"
        "## spend_cents\n\n"
        "| feature | meaning | unit | window | when null |\n|---|---|---|---|---|\n"
        "| `spend_cents_last` | Spend_cents on the last day on which it was not 0, in all days up to the as-of date."
        " | cents | all days | 0 |\n"
        "| `spend_cents_sum_28d` | Sum of spend_cents over the 28 days that end with the as-of date."
        " | cents | 28 days | never null |\n"
        "| `spend_cents_sum_91d` | Sum of spend_cents over the 91 days that end with the as-of date."
        " | cents | 91 days | never null |\n"
    )
