"""The figures: well-formed, repeatable, readable for two and for twelve levels."""

import datetime as dt
import re
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation import outcome_plots, plots
from memberlevel_spark.evaluation.comparison import CurvePoint, Result
from memberlevel_spark.evaluation.plot_style import INK, compact, legend_columns, level_colours, short

SVG = "{http://www.w3.org/2000/svg}"
START = dt.date(2017, 1, 1)


def figures(num_levels: int, *, num_dates: int = 9) -> dict[str, Callable[[], str]]:
    names = [f"level {level}" for level in range(num_levels)]
    counts = [1200.0 + 10 * level for level in range(num_levels)]
    matrix = (np.eye(num_levels) * 1000 + np.arange(num_levels)).tolist()
    dates = [START + dt.timedelta(7 * week) for week in range(num_dates)]
    points = [{"event": "moves_up", "confidence": 0.1, "observed": 0.2, "count": 5}]
    points += [{"confidence": 0.9, "observed": 0.8, "count": 50}]
    tenths = [{"expected": 10.0 * n, "realised": 9.0, "low": 0.0, "high": 30.0 * n} for n in range(1, num_dates + 1)]
    groups = [{"group": "old", "expected_level": None, "realised_level": None}]
    groups += [{"group": "young", "expected_level": 1.2, "realised_level": 1.1}]
    curves = [
        {"epoch": epoch, "train_log_loss": 1 / epoch, "validation_log_loss": None, "validation_accuracy": 0.8}
        for epoch in range(1, num_dates + 1)
    ]
    return {
        "distribution": lambda: plots.level_distribution(names, counts, counts_expected_K=counts, horizon_days=28),
        "migration": lambda: plots.migration_heat_map(names, matrix),
        "confusion": lambda: plots.confusion_heat_map(names, matrix),
        "calibration": lambda: plots.calibration_curve(points),
        "spend": lambda: plots.spend_history([(date, 1e5 + date.day) for date in dates], currency="EUR"),
        "levels": lambda: plots.level_history([(date, counts) for date in dates], names),
        "training": lambda: plots.training_curves(curves),
        "churn": lambda: plots.calibration_curve([{**points[0], "event": "churns"}], name="churn-calibration"),
        "gains": lambda: outcome_plots.gain_curves("churn", {"Model": ([0, 0.5, 1], [0, 0.8, 1])}, found="share"),
        "tenths": lambda: outcome_plots.spend_by_tenths(tenths, currency="EUR"),
        "chances": lambda: outcome_plots.chance_histogram([5, 0, 3]),
        "ranges": lambda: outcome_plots.spend_ranges(tenths, currency="EUR"),
        "groups": lambda: outcome_plots.group_levels("age", groups[-num_dates:]),
    }


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("num_levels", [2, 12])
@pytest.mark.parametrize("name", figures(2))
def test_the_same_data_gives_the_same_bytes(name: str, num_levels: int) -> None:
    draw = figures(num_levels)[name]
    first = draw()
    assert first == draw()
    assert ElementTree.fromstring(first).tag == f"{SVG}svg"


@pytest.mark.parametrize("name", figures(2))
def test_a_machines_own_matplotlib_settings_change_nothing_and_are_left_alone(name: str) -> None:
    expected = figures(3)[name]()
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "ytick.major.pad": 30, "legend.fontsize": 30}):
        assert figures(3)[name]() == expected
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("name", figures(2))
def test_a_single_date_bin_or_epoch_is_drawn(name: str) -> None:
    assert texts(figures(2, num_dates=1)[name]())


@pytest.mark.parametrize("name", figures(2))
def test_a_figure_asks_for_nothing_and_follows_the_pages_ink(name: str) -> None:
    svg = figures(4)[name]()
    assert "currentColor" in svg and INK not in svg
    namespaces = re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)
    assert "http" not in namespaces and "<style" not in namespaces and "font-family" not in namespaces
    assert all(
        reference.startswith("#") for reference in re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)[0] if reference
    )


def test_the_learning_curve_is_a_png_of_the_same_bytes_with_and_without_moves_up() -> None:
    points = [
        CurvePoint(share, 80, 400, Result(START, name, seed, {"log_loss": 0.5 - share / 10, "upgrade_auc": auc}, None))
        for share in (0.5, 1.0)
        for name, auc in (("model", 0.8), ("boosted_tree", None))
        for seed in (1, 2)
    ]
    drawn = outcome_plots.learning_curve_png(points)
    assert drawn.startswith(b"\x89PNG") and drawn == outcome_plots.learning_curve_png(points)
    assert drawn != outcome_plots.learning_curve_png(points[:-1])


def test_two_figures_on_one_page_share_no_id() -> None:
    ids = [set(re.findall(r'id="([^"]*)"', draw())) for draw in figures(4).values()]
    assert sum(map(len, ids)) == len(set().union(*ids)) > 0


@pytest.mark.parametrize("num_levels", [2, 12])
def test_every_level_is_named_where_levels_are_drawn(num_levels: int) -> None:
    names = {f"level {level}" for level in range(num_levels)}
    for name in ("distribution", "migration", "confusion", "levels"):
        assert names <= set(texts(figures(num_levels)[name]()))


def test_the_distribution_shows_both_counts_of_a_level() -> None:
    svg = plots.level_distribution(["low", "high"], [2000, 469], counts_expected_K=[1990.4, 478.6], horizon_days=14)
    assert {"2,000", "469", "1,990", "479", "now", "in 14 days"} <= set(texts(svg))


def test_heat_maps_show_counts_and_say_when_an_expected_count_is_less_than_one() -> None:
    shown = texts(plots.migration_heat_map(["low", "high"], [[12_345.0, 0.3], [0.0, 950.0]]))
    assert {"12.3k", "<1", "0", "950"} <= set(shown)


def test_names_are_drawn_as_text_whatever_they_contain() -> None:
    names = ["<script>alert(1)</script>", "$$VIP$$", "白金 & 銀"]
    svg = plots.migration_heat_map(names, np.eye(3).tolist())
    assert "<script" not in svg
    assert {"$$VIP$$", "白金 & 銀", "<script…cript>"} <= set(texts(svg))


def test_refunds_put_the_spend_axis_below_zero_and_no_refund_keeps_it_at_zero() -> None:
    days = [START, START + dt.timedelta(1)]
    below, above = (
        plots.spend_history(list(zip(days, spend, strict=True)), currency="EUR") for spend in ([-50, 90], [50, 90])
    )
    assert any(text.startswith("−") or text.startswith("-") for text in texts(below))
    assert not any(text.startswith(("−", "-")) for text in texts(above))


@pytest.mark.parametrize("num_levels", range(2, 13))
def test_level_colours_differ_and_grow_lighter_with_the_level(num_levels: int) -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    shades = [lightness(colour) for colour in level_colours(num_levels)]
    assert all(lighter - darker > 5 for darker, lighter in pairwise(shades))


def test_nothing_to_draw_is_refused() -> None:
    empty: dict[str, Callable[[], str]] = {
        "level_distribution": lambda: plots.level_distribution([], [], counts_expected_K=[], horizon_days=28),
        "migration_heat_map": lambda: plots.migration_heat_map([], []),
        "confusion_heat_map": lambda: plots.confusion_heat_map([], []),
        "calibration_curve": lambda: plots.calibration_curve([]),
        "spend_history": lambda: plots.spend_history([], currency="EUR"),
        "level_history": lambda: plots.level_history([], []),
        "training_curves": lambda: plots.training_curves([]),
        "gain_curves": lambda: outcome_plots.gain_curves("churn", {}, found="share"),
        "spend_by_tenths": lambda: outcome_plots.spend_by_tenths([], currency="EUR"),
        "chance_histogram": lambda: outcome_plots.chance_histogram([]),
        "spend_ranges": lambda: outcome_plots.spend_ranges([], currency="EUR"),
        "group_levels": lambda: outcome_plots.group_levels("age", []),
    }
    for name, draw in empty.items():
        with pytest.raises(DataQualityError, match=f"Nothing to draw: {name} is empty"):
            draw()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.2"),
        (950, "950"),
        (9_870, "9,870"),
        (12_345, "12.3k"),
        (90_000, "90k"),
        (99_951, "100k"),
        (4_500_000, "4.5M"),
        (2_000_000, "2M"),
        (-12_345, "-12.3k"),
    ],
)
def test_compact_numbers_fit_an_axis(value: float, text: str) -> None:
    assert compact(value) == text


def test_long_names_keep_start_and_end() -> None:
    assert short("platinum") == "platinum"
    assert short("Level number 11") == "Level n…ber 11"
    assert len(short("x" * 200)) == 14


def test_long_names_get_fewer_legend_columns() -> None:
    assert legend_columns(["gold", "silver"]) == 2
    assert legend_columns(["bronze", "silver", "gold", "platinum"] * 3) == 4
    assert legend_columns(["a very long level name"] * 12) == 2
