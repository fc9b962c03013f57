"""Protected groups on the small shop: what is not read, what is judged, whom to call, rows weighed by groups."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.report import call_list

pytestmark = pytest.mark.e2e
TEST_DATE, LAST_DATE = "2024-09-28", "2024-10-26"
LARGE = ("40 or more", "under 40")


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop after a full run, to be changed."""
    own = tmp_path_factory.mktemp("fair") / shop.name
    shutil.copytree(shop, own)
    return own


@pytest.fixture
def job(own_shop: Path, small_shop: Path) -> Callable[..., int]:
    def run(name: str, *settings: str) -> int:
        given = [f"output_dir={own_shop.parent}", *settings]
        return run_job(name, ["--config", str(small_shop), *(part for each in given for part in ("--set", each))])

    return run


@pytest.fixture(scope="module")
def fairness(own_shop: Path) -> dict[str, Any]:
    (path,) = own_shop.glob("runs/train-*/evaluation.json")
    told: dict[str, Any] = json.loads(path.read_text())["fairness"]
    return told


@pytest.fixture(scope="module")
def scored(spark: SparkSession, own_shop: Path) -> pd.DataFrame:
    """Every score beside the age that the member's profile says."""
    read = {name: spark.read.format("delta").load(str(own_shop / "tables" / name)) for name in TABLES}
    labels = read["member_labels"].select("member_id", "as_of_date", "target_level")
    ages = read["members"].where("declared").selectExpr("member_id", "attributes['age'] as age")
    scores = read["member_scores"].select("member_id", "as_of_date", "level_now", "level_predicted", "p_up")
    rows = scores.join(labels, ["member_id", "as_of_date"], "left").join(ages, "member_id").toPandas()
    return rows.assign(as_of_date=rows["as_of_date"].astype(str))


TABLES = ("member_scores", "member_labels", "members")


def test_the_model_does_not_read_what_is_protected(own_shop: Path) -> None:
    encoder = Encoder.from_json(json.loads((own_shop / "runs/examples/encoder.json").read_text())["encoder"])
    assert [name for name in encoder.names if "profile" in name] == [f"profile_city_is_{index}" for index in (1, 2, 3)]


def test_groups_are_judged_by_what_was_forecast_of_their_members(
    fairness: dict[str, Any], scored: pd.DataFrame
) -> None:
    assert [(row["attribute"], row["group"], row["members"]) for row in fairness["groups"]] == [
        ("age", "40 or more", 60),
        ("age", "under 40", 60),
        ("age", "(small)", 30),
    ]
    test = scored[scored["as_of_date"] == TEST_DATE]
    called = test["p_up"] >= test["p_up"].nlargest(15).min()
    for row in fairness["groups"][:2]:
        own = test[test["age"] == row["group"]]
        moved = own["target_level"] > own["level_now"]
        assert row["accuracy"] == pytest.approx((own["level_predicted"] == own["target_level"]).mean())
        assert row["realised_level"] == pytest.approx(own["target_level"].mean())
        assert row["called_share"] == pytest.approx(called[own.index].mean())
        assert row["found_share"] == pytest.approx(called[own.index][moved].mean())
    (between,) = fairness["differences"]
    shares = [row["called_share"] for row in fairness["groups"][:2]]
    assert between["demographic_parity"] == pytest.approx(abs(shares[0] - shares[1]))
    assert between["worst_gap_low"] <= between["worst_gap"] <= between["worst_gap_high"]


def test_the_report_tells_the_groups(own_shop: Path) -> None:
    html = (own_shop / "report.html").read_text()
    assert "Is it as good for every group?" in html and "Dots of the mean level by age: 40 or more" in html
    assert "One for each group" in html


def test_who_reaches_the_threshold_of_the_own_group_is_called(
    job: Callable[..., int], own_shop: Path, fairness: dict[str, Any], scored: pd.DataFrame
) -> None:
    assert job("call_list") == 0
    with (own_shop / "call_list.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    thresholds = fairness["thresholds"]
    assert thresholds["attribute"] == "age" and set(thresholds["by_group"]) <= set(LARGE)
    last = scored[scored["as_of_date"] == LAST_DATE]
    limit = last["age"].map(thresholds["by_group"]).fillna(thresholds["common"])
    expected = last[(last["p_up"] >= limit) & (last["p_up"] > 0)].sort_values(
        ["p_up", "member_id"], ascending=[False, True]
    )
    assert [row["member_id"] for row in rows] == expected["member_id"].to_list() and rows
    assert list(rows[0]) == ["member_id", "as_of_date", "level_now", "p_up"]
    assert float(rows[0]["p_up"]) == expected["p_up"].iloc[0]


def test_without_groups_a_share_of_the_members_is_called(
    job: Callable[..., int], own_shop: Path, scored: pd.DataFrame
) -> None:
    assert job("call_list", "evaluation.call_by=null", f"timeline.score=[{TEST_DATE}]") == 0
    with (own_shop / "call_list.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    likeliest = scored[scored["as_of_date"] == TEST_DATE].nlargest(15, "p_up", keep="all")
    assert {row["member_id"] for row in rows} == set(likeliest["member_id"])
    assert {row["as_of_date"] for row in rows} == {TEST_DATE}


def test_a_list_by_thresholds_of_another_model_or_of_a_date_without_scores_is_refused(
    job: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(call_list, "own_version", lambda run: "mother")
    assert job("call_list") == 4
    assert "the thresholds of age are of another model: mother, the champion is m" in capsys.readouterr().err
    assert job("call_list", "timeline.score=[2024-10-05]") == 4
    assert "the champion has no scores as of 2024-10-05" in capsys.readouterr().err


def test_rows_weighed_by_groups_are_learned_from(job: Callable[..., int], spark: SparkSession, own_shop: Path) -> None:
    """The groups of 60 members have a number each, the 15 of the third are small, and 15 do not say."""
    settings = ("training.reweighing=age", "training.max_epochs=1", "model.calibration=[]")
    assert job("examples", *settings) == 0
    examples = spark.read.format("delta").load(str(own_shop / "tables" / "examples"))
    members = examples.groupBy("group_age").agg({"member_id": "count", "as_of_date": "max"}).collect()
    dates = examples.select("as_of_date").distinct().count()
    assert {row["group_age"][0]: row["count(member_id)"] // dates for row in members} == {0: 60, 1: 60, 2: 15, 3: 15}
    assert job("train", *settings) == 0
    (path,) = [each for each in own_shop.glob("runs/train-*/curves.json") if len(json.loads(each.read_text())) == 1]
    assert json.loads(path.read_text())[0]["train_log_loss"] > 0
