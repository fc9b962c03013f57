"""The report: parsed as HTML, with hostile names, empty lists and unknown numbers."""

import dataclasses
import datetime as dt
import inspect
import math
import pickle
import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation import outcome_plots, plots
from memberlevel_spark.monitoring.judgement import (
    CHANCE_METRICS,
    SPEND_METRICS,
    TENTHS_OF,
    TENTHS_OF_SPEND,
    tenth_dimension,
)
from memberlevel_spark.report import formats
from memberlevel_spark.report.headline import expected_moves, headline, tiles
from memberlevel_spark.report.matured import TENTHS, tenth_rows
from memberlevel_spark.report.model import ROW_KEYS, MaturedMoves
from memberlevel_spark.report.render import SECTIONS, render_report
from memberlevel_spark.report.scoreboard import forecaster_label, score_rows
from memberlevel_spark.report.terminal import accounting_table, reach_table, result_table
from tests.unit.report_sample import many_levels, sample_report

SCRIPT = "<script>alert('x')</script>"
DRAWN: dict[bytes, str] = {}
VOID = {"meta", "link", "br", "path", "use", "rect", "wbr"}


class Page(HTMLParser):
    """The page's elements in order, each with its attributes and the text inside it; unbalanced tags fail."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[list[str]] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()
        assert not self._open, "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append([])
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.elements[self._open.pop()][0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            self.texts[element].append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        rows = zip(self.elements, self.texts, strict=True)
        return [" ".join("".join(texts).split()) for (name, _), texts in rows if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(sample_report())


@pytest.fixture(autouse=True)
def drawn_once(html: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a page takes five seconds: what another test has drawn of the same numbers is not drawn again.

    The page of ``html`` is drawn without it.
    """
    for module in (plots, outcome_plots):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                monkeypatch.setattr(module, name, partial(_drawn, function))


def _drawn(draw: Callable[..., str], *arguments: Any, **named: Any) -> str:
    key = pickle.dumps((draw.__module__, draw.__name__, arguments, named))
    if key not in DRAWN:
        DRAWN[key] = draw(*arguments, **named)
    return DRAWN[key]


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_same_data_gives_the_same_bytes(html: str) -> None:
    assert render_report(sample_report()) == html
    assert len(html.encode()) < 3_000_000


def test_the_page_asks_the_network_for_nothing(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|src=", html)
    references = [value for _, found in page.elements for name, value in found.items() if name.endswith("href")]
    assert references and all(reference.startswith("#") or reference == "data:," for reference in references)
    assert not page.all("script") and not page.all("img") and not page.all("iframe")


def test_the_page_fits_a_phone_and_both_colour_schemes(html: str, page: Page) -> None:
    metas = {found.get("name"): found.get("content") for found in page.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in html


def test_every_figure_says_in_words_what_it_shows(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) == 18 == len(page.text("figcaption"))
    assert all(found["role"] == "img" and len(found["aria-label"]) > 20 for found in drawings)
    labels = [found["aria-label"] for found in drawings]
    assert any(label.startswith("Bar chart of members per level: bronze 600 now and") for label in labels)


def test_every_table_has_a_caption_and_every_heading_cell_a_scope(page: Page) -> None:
    assert len(page.all("table")) == len(page.text("caption")) == 28
    assert all(found.get("scope") in ("col", "row") for found in page.all("th"))
    assert all(page.text("caption"))


def test_headings_and_anchors_are_in_order(page: Page) -> None:
    assert len(page.text("h1")) == 1
    assert page.text("h2") == [section.heading for section in SECTIONS]
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["href"][1:] for found in page.all("a")} <= set(ids)


def test_numbers_are_written_for_people(html: str) -> None:
    assert "1,471,411" in html
    assert re.search(r"\d\.\d\u00a0%", html)
    assert re.search(r"\d{3}\.\d{2}\u00a0USD", html)
    assert "31\u00a0Dec\u00a02017" in html


def test_names_from_the_data_are_escaped_everywhere() -> None:
    data = sample_report()
    mover = {**data.movers_up[0], "member_id": SCRIPT, "reasons": [{"topic": SCRIPT, "effect": 0.1}]}
    monitor = [{"metric": SCRIPT, "slice": SCRIPT, "value": SCRIPT, "level": SCRIPT}]
    hostile = dataclasses.replace(
        data,
        title=SCRIPT,
        shop=SCRIPT,
        currency=SCRIPT,
        level_names=[SCRIPT, *data.level_names[1:]],
        level_metric_name=SCRIPT,
        movers_up=[mover],
        movers_down=[mover],
        tips=[{**data.tips[0], "metric": SCRIPT}],
        nearest=[{**data.nearest[0], "member_id": SCRIPT}],
        benefits=[[SCRIPT]] * 4,
        quality=[{**data.quality[0], "stage": SCRIPT}],
        slices=[{**data.slices[0], "dimension": SCRIPT, "slice": SCRIPT}],
        came_true=[{**data.came_true[0], "model_version": SCRIPT}],
        came_true_tenths=[{**data.came_true_tenths[0], "slice": SCRIPT}],
        moves=dataclasses.replace(data.moves, model_version=SCRIPT),
        gains=[{**data.gains[0], "forecaster": name} for name in ("model", SCRIPT)],
        groups=[{**data.groups[0], "attribute": SCRIPT, "group": SCRIPT}],
        group_differences=[{**data.group_differences[0], "attribute": SCRIPT, "worst_group": SCRIPT}],
        calls=[{**data.calls[0], "attribute": SCRIPT, "rule": SCRIPT}],
        quarantine=[{"source": SCRIPT, "rule": SCRIPT, "rows": 1}],
        monitor=monitor,
        alerts=[{"metric": SCRIPT, "subject": SCRIPT, "level": SCRIPT, "value": 1.0, "threshold": 0.5}],
        drift=[{**data.drift[0], "name": SCRIPT, "level": SCRIPT}],
        changes=[{**data.changes[0], "number": SCRIPT}],
        compared_with=(dt.date(2017, 12, 3), SCRIPT),
        versions={SCRIPT: SCRIPT},
        caveats=[SCRIPT],
        metrics={SCRIPT: {SCRIPT: 0.5}},
    )
    html = render_report(hostile)
    assert "<script" not in html.lower()
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") > 20
    assert all(
        "alert('x')" not in value for _, found in Page(html).elements for value in found if value != "aria-label"
    )


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("metrics", "No forecast was evaluated in this run."),
        ("movers_up", "Nobody is likely to move up."),
        ("movers_down", "Nobody is likely to move down."),
        ("tips", "No advice was made for this date."),
        ("groups", "No protected attribute is named, so nobody is judged by group."),
        ("slices", "The forecast was not judged by parts of the members."),
        ("expected", "No member was scored for this date."),
        ("churn_counts", "Chances of no order: n/a."),
        ("spend_ranges", "Expected spend per member: n/a."),
        ("spend_tenths", "Expected and realised spend: n/a."),
        ("came_true", "Nothing can be judged yet: a forecast is 28 days and more old"),
        ("spend_history", "There is no spend history yet."),
        ("level_history", "There is no level history yet."),
        ("training_curves", "No model was trained in this run."),
        ("quality", "No stage reported its rows."),
        ("quarantine", "No row was set aside"),
        ("changes", "There is no earlier scored date to compare with."),
        ("survival", "Nobody's time on a level is known."),
        ("alerts", "No alert and no warning was raised."),
        ("monitor", "Nothing was monitored in this run."),
        ("drift", "No drift was measured in this run."),
        ("versions", "No versions were recorded."),
        ("caveats", "No caveats were recorded."),
    ],
)
def test_an_empty_list_becomes_a_sentence(field: str, sentence: str, page: Page) -> None:
    empty = Page(render_report(sample_report(**{field: type(getattr(sample_report(), field))()})))
    assert any(sentence in text for text in empty.text("p"))
    assert not any(sentence in text for text in page.text("p"))
    shown = len(empty.all("table")) + len(empty.all("svg"))
    assert shown == 46 - {"caveats": 0, "metrics": 2, "tips": 3, "groups": 4, "survival": 2, "drift": 3}.get(field, 1)


def test_without_points_or_curves_each_figure_is_a_sentence() -> None:
    empty = Page(render_report(sample_report(reliability=[], gains=[])))
    assert len(empty.all("svg")) == 18 - 5
    sentences = " ".join(empty.text("p"))
    assert "The calibration was not measured in this run." in sentences and "Calibration of churn: n/a." in sentences
    for what in ("churn", "moves up", "spend"):
        assert f"Gain curve of {what}: n/a, since there was none to find." in sentences


def test_a_gain_curve_shows_the_model_and_its_best_rival_and_says_their_points() -> None:
    captured = {"model": [0.0, 0.6, 1.0], "run_rate": [0.0, 0.4, 1.0], "bg_nbd": [0.0, 0.5, 1.0], "majority": None}
    gains = [
        {"event": "churn", "forecaster": name, "contacted": [0.0, 0.5, 1.0], "captured": shares}
        for name, shares in captured.items()
    ]
    page = Page(render_report(sample_report(gains=gains)))
    (label,) = [found["aria-label"] for found in page.all("svg") if "Gain curve" in found["aria-label"]]
    assert label.replace(formats.NO_BREAK, " ") == (
        "Gain curve of members without an order. Model: 0.0 % in the first 0.0 %, 60.0 % in the first 50.0 %;"
        " BG/NBD: 0.0 % in the first 0.0 %, 50.0 % in the first 50.0 %."
    )
    nothing = [{**row, "captured": None} for row in gains]
    assert "Gain curve of churn: n/a" in " ".join(Page(render_report(sample_report(gains=nothing))).text("p"))


def test_slices_stand_under_their_dimension_and_what_is_undefined_is_not_available() -> None:
    row = {"dimension": "city", "slice": "Ulm", "members": 1200, "accuracy": 0.861, "persistence_accuracy": 0.83}
    row |= {"log_loss": 0.3333, "upgrade_auc": None, "churn_auc": 0.9, "churn_brier": 0.1, "spend_mae": 71.136}
    small = {**dict.fromkeys(row), "dimension": "city", "slice": "(small)", "members": 4}
    level = {**row, "dimension": "level now", "slice": "gold"}
    page = Page(render_report(sample_report(slices=[row, small, level])))
    told = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    start = told.index("City")
    assert told[start + 1 : start + 3] == [
        "Ulm 1,200 86.1 % 83.0 % 0.333 n/a 0.900 0.100 71.14",
        "(small) 4 n/a n/a n/a n/a n/a n/a n/a",
    ]
    assert told[start + 3 : start + 5] == ["Level now", "gold 1,200 86.1 % 83.0 % 0.333 n/a 0.900 0.100 71.14"]


def test_what_came_true_is_a_row_per_date_and_model_and_earlier_ones_are_folded_away() -> None:
    row = {
        "model_version": "m1",
        "members": 2469,
        "accuracy": 0.8581,
        "persistence_accuracy": 0.826,
        "log_loss": 0.3331,
    }
    row |= {"upgrade_auc": 0.889, "upgrade_ap": None, "downgrade_auc": 0.975, "churn_auc": 0.879, "churn_brier": 0.103}
    row |= {"churn_ece": 0.016, "spend_mae": 71.137, "spend_bias": -3.2}
    dates = [dt.date(2017, 12, 3) - dt.timedelta(7 * week) for week in range(14)]
    page = Page(render_report(sample_report(came_true=[{**row, "as_of_date": date} for date in dates])))
    told = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    assert "3 Dec 2017 m1 2,469 85.8 % 82.6 % 0.333 0.889 n/a 0.975 0.879 0.103 0.016 71.14 -3.20" in told
    (folded,) = [text.replace(formats.NO_BREAK, " ") for text in page.text("details") if "2 earlier ones" in text]
    assert "10 Sep 2017" in folded and "3 Sep 2017" in folded and "17 Sep 2017" not in folded


def test_expected_and_realised_moves_stand_side_by_side_with_the_money_of_those_who_fell() -> None:
    moves = MaturedMoves(
        as_of_date=dt.date(2017, 12, 3),
        model_version="m1",
        expected=[[9.4, 0.6], [1.2, 3.8]],
        realised=[[8, 2], [1, 4]],
        num_fallen=1,
        at_risk_cents=12345,
    )
    two = {"level_names": ["low", "top"], "confusion": [[1, 0], [0, 1]], "migration": [[1, 0], [0, 1]]}
    two |= {
        "level_counts_now": [1, 1],
        "level_counts_expected": [1, 1],
        "level_history": [],
        "tips": [],
        "benefits": [],
        "survival": [],
    }
    page = Page(render_report(sample_report(**two, moves=moves, movers_up=[], movers_down=[], nearest=[])))
    assert any(
        "1 member fell to a lower level; in the 28 days before that date they had spent 123 USD." in text
        for text in (text.replace(formats.NO_BREAK, " ") for text in page.text("p"))
    )
    labels = [found["aria-label"] for found in page.all("svg") if "moves:" in found["aria-label"]]
    assert "Heat map of expected moves: of 10 on low 9 low, 1 top; of 5 on top 1 low, 4 top." in labels
    assert "Heat map of realised moves: of 10 on low 8 low, 2 top; of 5 on top 1 low, 4 top." in labels
    with pytest.raises(DataQualityError, match=r"moves \[2\]"):
        sample_report(moves=moves)


def test_without_moves_each_figure_is_a_sentence_and_tenths_keep_their_order() -> None:
    page = Page(render_report(sample_report(moves=None)))
    sentences = " ".join(page.text("p"))
    assert "Expected moves whose end is known: n/a." in sentences and "Realised moves: n/a." in sentences
    tenths = [
        {"dimension": "tenth of p_up", "slice": place, "members": 1, "metric": metric, "value": value}
        for place, metric, value in [("02", "observed_share", 0.5), ("01", "predicted_share", 0.25)]
    ]
    assert tenth_rows(tenths) == [("01", [0.25, *[None] * 7]), ("02", [None, 0.5, *[None] * 6])]


def test_the_tenths_of_the_report_are_those_of_the_table() -> None:
    assert list(TENTHS) == [tenth_dimension(name) for name in (*TENTHS_OF, TENTHS_OF_SPEND)]
    metrics = {tenth_dimension(name): CHANCE_METRICS for name in TENTHS_OF}
    metrics[tenth_dimension(TENTHS_OF_SPEND)] = SPEND_METRICS
    assert metrics == TENTHS


def test_groups_stand_under_their_attribute_with_what_is_between_them_and_what_a_list_costs() -> None:
    row = {"attribute": "age", "group": "19 to 34", "members": 1200, "accuracy": 0.861, "expected_level": 1.254}
    row |= {"realised_level": 1.2, "log_loss": 0.3333, "ece": 0.0214, "called_share": 0.101, "found_share": 0.5}
    row |= {"false_share": None}
    small = {**dict.fromkeys(row), "attribute": "age", "group": "(small)", "members": 4}
    between = {"attribute": "age", "forecaster": "champion", "accuracy": 0.86, "log_loss": 0.33}
    between |= {"demographic_parity": 0.02, "equalised_odds": None, "worst_group": "19 to 34", "worst_gap": 0.01}
    unsure = {**between, "worst_gap_low": -0.01, "worst_gap_high": 0.03}
    undefined = {**between, "worst_group": None, "worst_gap": None, "worst_gap_low": None, "worst_gap_high": None}
    call = {"attribute": "age", "rule": "one for each group", "called": 120, "called_share": 0.1, "right_share": 0.4}
    call |= {"found_share": 0.55, "found_gap": None}
    other = {**row, "attribute": "sex", "group": "f"}
    data = sample_report(
        groups=[row, small, other],
        group_differences=[unsure, {**undefined, "forecaster": "model"}, {**unsure, "attribute": "sex"}],
        calls=[call],
    )
    page = Page(render_report(data))
    assert [text for text in page.text("h3") if text.startswith("By ")] == ["By age", "By sex"]
    told = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    shown = "19 to 34 1,200 86.1 % 1.25 1.20 0.333 0.021 10.1 % 50.0 % n/a"
    assert told[told.index(shown) + 1] == "(small) 4" + " n/a" * 8
    assert "Present champion 86.0 % 0.330 2.0 % n/a 19 to 34 1.0 % -1.0 % to 3.0 %" in told
    assert "Model 86.0 % 0.330 2.0 % n/a n/a n/a n/a" in told
    assert told.count("One for each group 120 10.0 % 40.0 % 55.0 % n/a") == 1
    labels = [found["aria-label"] for found in page.all("svg") if "mean level by" in found["aria-label"]]
    assert labels == [
        "Dots of the mean level by age: 19 to 34 1.25 expected, 1.20 realised.",
        "Dots of the mean level by sex: f 1.25 expected, 1.20 realised.",
    ]
    nobody = Page(render_report(sample_report(groups=[small], group_differences=[undefined], calls=[])))
    assert "No group is large enough to be drawn." in nobody.text("p")


def test_what_is_expected_is_told_in_the_unit_of_each_quantity() -> None:
    rows = [
        {"quantity": "churn", "total": 512.4, "low": 0.01, "median": 0.125, "high": 0.9},
        {"quantity": "orders", "total": 12345.6, "low": 0.2, "median": 3.14, "high": 11.0},
        {"quantity": "spend_cents", "total": 123456789.0, "low": 0.0, "median": 6543.2, "high": 31000.0},
    ]
    told = [
        text.replace(formats.NO_BREAK, " ") for text in Page(render_report(sample_report(expected=rows))).text("tr")
    ]
    start = next(place for place, text in enumerate(told) if text.startswith("No order"))
    assert told[start : start + 3] == [
        "No order members; the chance of each 512 1.0 % 12.5 % 90.0 %",
        "Orders 12,346 0.2 3.1 11.0",
        "Spend 1,234,568 USD 0.00 USD 65.43 USD 310.00 USD",
    ]


def test_a_metric_with_an_aim_says_it_and_what_few_ask_for_is_folded_away() -> None:
    metrics = {"model": {"spend_coverage_80": 0.7967, "churn_lift_1": 4.5, "churn_lift_10": None, "qwk": 0.9}}
    page = Page(render_report(sample_report(metrics=metrics)))
    told = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    meaning = "share of members whose spend lay between the 10 % and the 90 % forecast"
    assert f"Spend within bounds aim 80 %: {meaning} 79.7 %" in told
    assert any(text.startswith("Churn lift, top 10 %") and text.endswith("n/a") for text in told)
    (folded,) = [text for text in page.text("details") if "2 more metrics" in text]
    assert "Quadratic kappa" in folded and "Spend within bounds" not in folded
    assert "Churn lift, top 1" in folded and "Churn lift, top 10" not in folded.replace(formats.NO_BREAK, " ")
    assert "churn_lift_1 " not in result_table(metrics) and "churn_lift_10" in result_table(metrics)


@pytest.mark.parametrize("num_levels", [2, 12])
def test_any_number_of_levels_is_shown(num_levels: int) -> None:
    many = Page(render_report(many_levels(num_levels)))
    assert {f"Level number {level}" for level in range(num_levels)} <= set(many.text("th"))


def test_unknown_numbers_are_shown_as_not_available() -> None:
    data = sample_report()
    unknown = sample_report(
        metrics={"model": dict.fromkeys(data.metrics["model"]), "persistence": {}},
        movers_up=[{**dict.fromkeys(ROW_KEYS["movers_up"]), "member_id": "m1"}],
        movers_down=[],
        quality=[{**dict.fromkeys(ROW_KEYS["quality"]), "stage": "bronze"}],
        monitor=[dict.fromkeys(ROW_KEYS["monitor"])],
        drift=[],
        alerts=[],
        changes=[],
        survival=[],
        training_curves=[{**dict.fromkeys(ROW_KEYS["training_curves"]), "epoch": 1}],
    )
    rows = [*data.slices, *data.came_true, *data.groups]
    sample_nulls = [value for row in rows for value in row.values()].count(None)
    html = render_report(unknown)
    assert ">None<" not in html and ">nan<" not in html
    cells = Page(html).text("td") + Page(html).text("th")
    # metrics of two forecasters, a mover but for its id, a stage but for its name, all of a watched value
    # and undefined metrics of slices and groups: nobody moves up from the top, a few of long tenure or old age are
    # not judged
    assert cells.count("n/a") == 17 * 2 + 7 + 6 + 4 + sample_nulls


def test_the_headline_compares_with_staying_as_is() -> None:
    data = sample_report(
        level_counts_now=[600, 932, 622, 315],
        level_counts_expected=[603.2, 930.9, 622.6, 312.3],
        migration=[[590, 10, 0, 0], [13, 900, 19, 0], [0, 20, 590, 12], [0, 0, 15, 300]],
        metrics={"model": {"accuracy": 0.8604}, "persistence": {"accuracy": 0.826}},
        expected=[{"quantity": "spend_cents", "total": 123_456.0, "low": 0.0, "median": 0.0, "high": 0.0}],
        spend_history=[(dt.date(2017, 12, 31) - dt.timedelta(7 * week), 25_000) for week in range(5, -1, -1)],
    )
    assert [sentence.replace(formats.NO_BREAK, " ") for sentence in headline(data)] == [
        "In 28 days we expect 312 of 2,469 members to hold platinum (now 315).",
        "About 41 will move up and 48 down; the others keep their level.",
        "Together they are expected to spend 1,235 USD; in the 28 days before it was 1,000 USD.",
        "Tested on 2,469 members, the model is right for 86.0 % of them; "
        "assuming that everyone stays as they are, for 82.6 %.",
    ]
    assert expected_moves(data) == (41, 48)
    assert [tile.value.replace(formats.NO_BREAK, " ") for tile in tiles(data)] == ["2,469", "41", "48", "86.0 %"]


@pytest.mark.parametrize(
    ("metrics", "ending"),
    [
        ({"model": {"accuracy": 0.82}, "persistence": {"accuracy": 0.83}}, "no better than assuming"),
        ({"model": {"accuracy": 0.82}}, "the model is right for 82.0 % of them."),
        ({"model": {"accuracy": None}, "persistence": {"accuracy": 0.8}}, "could not be measured in this run."),
        ({}, "could not be measured in this run."),
    ],
)
def test_the_headline_is_honest_about_a_weak_or_unmeasured_model(metrics: Any, ending: str) -> None:
    assert ending in headline(sample_report(metrics=metrics))[-1].replace(formats.NO_BREAK, " ")


def test_the_headline_compares_spend_only_with_whole_weeks_that_are_all_known() -> None:
    weeks = [(dt.date(2017, 12, 31) - dt.timedelta(7 * back), 25_000) for back in range(4)]
    for changes in ({"horizon_days": 30}, {"spend_history": weeks[1:]}, {"spend_history": [weeks[0], *weeks[2:]]}):
        said = headline(sample_report(**{"spend_history": weeks, **changes}))[2]
        assert said.startswith("Together they are expected to spend") and "before" not in said
    assert "before it was 1,000" in headline(sample_report(spend_history=weeks))[2]
    assert len(headline(sample_report(expected=[]))) == 3


def test_lists_that_do_not_match_the_level_names_are_refused() -> None:
    with pytest.raises(DataQualityError, match=r"A report needs two levels: \['all'\]"):
        sample_report(level_names=["all"])
    with pytest.raises(DataQualityError, match=r"4 level names but other lengths in: level_counts_now \[3\]"):
        sample_report(level_counts_now=[1, 2, 3])
    with pytest.raises(DataQualityError, match=r"migration \[3, 4\]"):
        sample_report(migration=[[0] * 4, [0] * 3, [0] * 4, [0] * 4])
    with pytest.raises(DataQualityError, match=r"survival \[3\]"):
        sample_report(survival=sample_report().survival[:3])
    with pytest.raises(DataQualityError, match=r"level_history \[1\]"):
        sample_report(level_history=[(dt.date(2017, 1, 1), [1])])


def test_rows_that_lack_keys_are_refused_by_name() -> None:
    with pytest.raises(DataQualityError, match="Rows of quarantine lack keys: rows, rule"):
        sample_report(quarantine=[{"source": "orders"}])


def test_report_data_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(sample_report(), "title", "other")  # noqa: B010


def test_the_terminal_table_is_aligned_and_marks_the_best() -> None:
    metrics: dict[str, dict[str, float | None]] = {
        "model": {"accuracy": 0.8604, "log_loss": 0.31, "upgrade_auc": None},
        "boosted_tree": {"accuracy": 0.8601, "log_loss": 0.35, "upgrade_auc": None},
        "persistence": {"accuracy": 0.826, "log_loss": 1.25, "upgrade_auc": None},
    }
    assert result_table(metrics).splitlines() == [
        "metric       better  model    boosted tree    persistence",
        "accuracy     higher  0.860 *         0.860 *        0.826",
        "log_loss     lower   0.310 *         0.350          1.250",
        "upgrade_auc  higher    n/a             n/a            n/a",
        "* best of its row",
    ]
    assert result_table({}) == "No forecast was evaluated."


def test_the_account_of_rows_leaves_out_stages_without_rows() -> None:
    none = {"quarantined": 0, "duplicates": 0, "filtered": 0, "late": 0, "aggregated": 0}
    silver = {"stage": "silver", "rows_in": 12345, "rows_out": 12000, **none, "quarantined": 300, "aggregated": 45}
    assert accounting_table([silver, {"stage": "train", "rows_in": 0, "rows_out": 0, **none}]).splitlines() == [
        "stage       in     out  quarantined  duplicates  filtered  late  folded",
        "silver  12,345  12,000          300           -         -     -      45",
    ]


def test_the_reach_of_each_forecast_is_a_line():
    reach = {"boosted_tree": {"log_loss": 0.3621, "share": 0.905}, "truth": {"log_loss": 0.3, "share": None}}
    assert reach_table(reach).splitlines() == [
        "forecast      log-loss  share of reachable gain",
        "boosted tree     0.362                    0.905",
        "truth            0.300                      n/a",
    ]


def test_an_unexplained_metric_has_no_best_and_an_unknown_forecaster_keeps_its_name() -> None:
    (row,) = score_rows({"model": {"new_metric": 0.1}, "other": {"new_metric": math.nan}})
    assert (row.words.label, row.words.better) == ("new metric", "")
    assert [(cell.text, cell.best) for cell in row.cells] == [("0.100", False), ("n/a", False)]
    assert forecaster_label("two_stage_model") == "Two stage model"


WRITTEN: list[tuple[Callable[..., str], tuple[Any, ...], str]] = [
    (formats.count, (2469.4,), "2,469"),
    (formats.count, (None,), "n/a"),
    (formats.decimal, (1234.5678, 2), "1,234.57"),
    (formats.decimal, (math.nan,), "n/a"),
    (formats.percent, (0.8604,), "86.0 %"),
    (formats.percent, (None,), "n/a"),
    (formats.money, (123_456, "USD"), "1,234.56 USD"),
    (formats.money, (-50, "EUR"), "-0.50 EUR"),
    (formats.money, (123_456, "JPY"), "123,456 JPY"),
    (formats.money, (123_456, "KWD"), "123.456 KWD"),
    (formats.money, (None, "USD"), "n/a"),
    (formats.day, (dt.date(2017, 12, 3),), "3 Dec 2017"),
    (formats.level_name, (1.5, ["low", "mid", "top"]), "top"),
    (formats.level_name, (7, ["low", "top"]), "top"),
    (formats.level_name, (None, ["low"]), "n/a"),
    (formats.free_value, (2469.0,), "2,469"),
    (formats.free_value, (16.53321,), "16.533"),
    (formats.free_value, (0.00001234,), "1.234e-05"),
    (formats.free_value, (True,), "True"),
    (formats.free_value, ("late",), "late"),
    (formats.free_value, (math.nan,), "n/a"),
]


@pytest.mark.parametrize(("write", "arguments", "text"), WRITTEN)
def test_values_are_written_for_readers(write: Callable[..., str], arguments: tuple[Any, ...], text: str) -> None:
    assert write(*arguments).replace(formats.NO_BREAK, " ") == text


def told_rows(**changes: Any) -> list[str]:
    page = Page(render_report(sample_report(**changes)))
    return [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]


def test_alerts_and_warnings_are_told_with_what_they_passed() -> None:
    rows = told_rows()
    assert "spend_sum_91d ▲ alert stability index of a feature 0.310 0.200" in rows
    assert "events/coupons △ warning days since the newest row 4 2" in rows
    sentences = " ".join(Page(render_report(sample_report())).text("p")).replace(formats.NO_BREAK, " ")
    assert "1 alert and 1 warning as of 31 Dec 2017." in sentences


def test_a_long_list_of_watched_values_and_features_that_moved_less_are_folded_away() -> None:
    rows = [{"metric": "stale_days", "slice": f"table {n:02d}", "value": n, "level": "ok"} for n in range(13)]
    page = Page(render_report(sample_report(monitor=rows)))
    assert [text for text in page.text("td") if text.startswith("table ")] == [f"table {n:02d}" for n in range(13)]
    assert "2 features that moved less" in page.text("summary")
    (folded,) = [text for text in page.text("details") if "All 13 watched values" in text]
    assert "table 00" in folded and "table 12" in folded


def test_of_many_alerts_the_first_ten_are_shown_and_the_others_folded_away() -> None:
    alerts = [{**sample_report().alerts[0], "subject": f"number_{place:02d}"} for place in range(13)]
    page = Page(render_report(sample_report(alerts=alerts)))
    assert [text for text in page.text("th") if text.startswith("number_")] == [row["subject"] for row in alerts]
    (folded,) = [text for text in page.text("details") if "3 more alerts and warnings" in text]
    assert "number_09" not in folded and "number_10" in folded and "number_12" in folded
    assert "more alerts" not in " ".join(Page(render_report(sample_report())).text("summary"))


def test_long_names_break_after_underscores_and_slashes_only() -> None:
    html = render_report(sample_report(alerts=[{**sample_report().alerts[0], "subject": "events/a_b<wbr>c"}]))
    assert '<th scope="row">events/<wbr>a_<wbr>b&lt;wbr&gt;c</th>' in html


def test_drift_is_a_row_per_number_with_every_distance_and_what_is_undefined_is_not_available() -> None:
    rows = told_rows()
    assert "p_up ok 0.021 0.040 0.050 0.060" in rows
    assert "spend_sum_91d ▲ alert 0.310 0.220 0.190 0.600" in rows
    assert "num_views_sum_7d n/a n/a n/a n/a n/a" in rows


def test_headline_numbers_stand_beside_those_of_the_last_scored_date() -> None:
    changed = [
        {"number": "members", "before": 2400.0, "now": 2469.0},
        {"number": "up", "before": 41.4, "now": 41.2},
        {"number": "down", "before": 50.0, "now": 41.6},
        {"number": "spend_cents", "before": 100_000.0, "now": 95_000.0},
        {"number": "alerts", "before": None, "now": 3},
    ]
    rows = told_rows(changes=changed)
    start = rows.index("Number 3 Dec 2017 31 Dec 2017 Change")
    assert rows[start + 1 : start + 6] == [
        "Members 2,400 2,469 +69",
        "Expected to move up 41 41 0",
        "Expected to move down 50 42 -8",
        "Expected spend 1,000 USD 950 USD -50 USD",
        "Alerts of the monitoring n/a 3 n/a",
    ]
    told = " ".join(Page(render_report(sample_report())).text("p"))
    assert "Another model, m0old, had scored it." in told
    same = sample_report(compared_with=(dt.date(2017, 12, 3), "2017-12-31-3f9c2a7e"))
    assert "Another model" not in " ".join(Page(render_report(same)).text("p"))


def test_time_on_a_level_is_told_by_its_median_or_by_the_share_that_is_still_there() -> None:
    rows = told_rows()
    assert "bronze 900 400 90" in rows and "platinum 300 130 n/a" in rows
    page = Page(render_report(sample_report()))
    (label,) = [found["aria-label"] for found in page.all("svg") if "Survival curves" in found["aria-label"]]
    assert "bronze half are gone after 90 days" in label
    assert "silver 55.0\u00a0% hold it longer than 300 days" in label
    nobody = {"level": 3, "spells": 0, "ended": 0, "median_days": None, "days": [], "shares": []}
    page = Page(render_report(sample_report(survival=[*sample_report().survival[:3], nobody])))
    (label,) = [found["aria-label"] for found in page.all("svg") if "Survival curves" in found["aria-label"]]
    assert "platinum" not in label and "gold" in label


def test_points_instead_of_money_are_written_as_counts() -> None:
    no_money = {"expected": [], "tips": [], "changes": []}
    html = render_report(sample_report(level_metric_name="points", level_metric_is_money=False, **no_money))
    assert "Counting points now" in html
    assert "USD</td>" not in html


def test_tips_stand_under_their_goal_in_the_unit_of_the_metric_with_the_benefits_at_stake() -> None:
    tip = {"goal": "rise", "target_level": 1, "metric": "num_orders", "members": 9, "likely": 2, "tipped": 6}
    tips = [{**tip, "not_alone": 1, "extra_low": 2, "extra_median": 3}, {**sample_report().tips[0], "goal": "keep"}]
    page = Page(render_report(sample_report(tips=tips, likely=0.6)))
    rows = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    assert "silver orders 9 2 6 2 3 1 free returns" in rows
    assert "silver spend 500 40 455 43.00 USD 98.00 USD 5 free returns" in rows
    captions = page.text("caption")
    assert captions.index("To the next level") < captions.index("To keep the level held")
    without = render_report(sample_report(tips=tips, benefits=[[], [], [], []]))
    assert ">Benefits<" not in without


def test_movers_are_told_with_what_sets_them_apart_and_what_would_tip_them() -> None:
    page = Page(render_report(sample_report()))
    told = [text.replace(formats.NO_BREAK, " ") for text in page.text("tr")]
    assert sum("spend +12.3, what they buy -4.5" in text for text in told) == 20
    assert sum("12.50 USD spend +12.3" in text for text in told) == 10  # of those who may fall
    assert "near2 silver gold 46.0 % 8.20 USD 24.00 USD" in told
