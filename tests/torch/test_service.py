"""The service over tables and bundles that are written by hand: who is found, what is refused, what is taken anew."""

import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError, UnknownMemberError
from memberlevel_spark.examples.event_inputs import EventInputs
from memberlevel_spark.registry.champion import CHAMPION, load_champion, registry_dir
from memberlevel_spark.run import Shop
from memberlevel_spark.serving.member_tables import HeldTables, latest_scored, scan
from memberlevel_spark.serving.requests import Question
from memberlevel_spark.serving.scorer import Scorer
from memberlevel_spark.serving.service import Service
from tests.served_shop import (
    LAST_DAY,
    MEMBERS,
    SCORED,
    publish_model,
    served_config,
    write_delta,
    write_scores,
    write_tables,
)

pytestmark = pytest.mark.torch

AT_ONCE = "serving.refresh_seconds=0.000001"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    config = served_config(tmp_path, AT_ONCE)
    write_tables(config)
    publish_model(config, seed=1)
    return Shop(config)


def of(member_id: str, **more: object) -> Question:
    return Question.model_validate({"member_id": member_id, **more})


def test_a_member_is_forecast_as_of_the_date_scored_last_or_the_one_asked_for(shop: Shop):
    service = Service(shop)
    answer = service.score(of("c"))
    assert (answer["as_of_date"], answer["level_now"], answer["model_version"]) == (SCORED, 1, service.model_version)
    assert sum(answer["p_level"]) == pytest.approx(1) and answer["level_names"] == [
        "bronze",
        "silver",
        "gold",
        "platinum",
    ]
    early = service.score(of("c", as_of="2017-01-20"))
    assert (early["as_of_date"], early["level_now"]) == (date(2017, 1, 20), 0)
    assert early["p_level"] != answer["p_level"]


def test_rows_that_are_given_are_answered_as_those_of_the_tables(shop: Shop):
    service, rows = Service(shop), scan(shop, "d")
    assert rows is not None
    given = {
        "known_from": "2017-01-01",
        "tiles": [{**tile, "day": str(tile["day"])} for tile in rows.tiles.to_pylist()],
        "levels": [{**stretch, "valid_from": str(stretch["valid_from"])} for stretch in rows.levels.to_pylist()],
    }
    asked = Question.model_validate({"member": given, "as_of": str(SCORED)})
    assert service.score(asked) == service.score(of("d"))
    assert service.explain(asked) == service.explain(of("d"))


def test_an_explanation_is_the_forecast_with_reasons_and_what_would_tip_the_member(shop: Shop):
    service = Service(shop)
    told = service.explain(of("d"))
    assert {name: told[name] for name in service.score(of("d"))} == service.score(of("d"))
    assert set(told["reasons"]) >= {"p_up", "typical_p_up", "reasons_up", "unexplained_p_buy"}
    assert [(row["goal"], row["target_level"], row["metric"]) for row in told["advice"]] == [
        ("rise", 3, "spend_cents"),
        ("keep", 2, "spend_cents"),
    ]


@pytest.mark.parametrize("member", MEMBERS)
def test_tables_in_memory_and_on_disk_have_the_same_rows(shop: Shop, member: str):
    held, read = HeldTables(shop).find(member), scan(shop, member)
    assert held is not None and read is not None
    for field in ("profiles", "tiles", "levels"):
        ours, theirs = (getattr(rows, field).to_pylist() for rows in (held, read))
        assert sorted(ours, key=str) == sorted(theirs, key=str), field
    assert held.tiles.num_rows == 5 * MEMBERS.index(member)


def test_nobody_is_found_under_an_id_beside_or_between_those_of_members(shop: Shop):
    held = HeldTables(shop)
    for stranger in ("", "A", "aa", "f", "z"):
        assert held.find(stranger) is None and scan(shop, stranger) is None
    with pytest.raises(
        UnknownMemberError, match=r"the tables know no such member: the given id\. Check it as the source"
    ):
        Service(shop).score(of("nobody"))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (of("e", as_of="2017-11-30"), "the member was not known, or held no level, on the as-of date: 2017-11-30"),
        (of("a", as_of="2018-01-01"), r"after the end of the data: 2018-01-01 \(data reaches 2017-12-31\)"),
    ],
)
def test_dates_that_cannot_be_answered_are_refused(shop: Shop, question: Question, message: str):
    with pytest.raises(DataQualityError, match=message):
        Service(shop).score(question)


def given(**more: object) -> Question:
    member = {"known_from": "2018-03-01", "tiles": [], "levels": [{"valid_from": "2018-03-01", "level": 1}], **more}
    return Question.model_validate({"member": member, "as_of": "2018-03-04"})


def test_given_rows_may_go_beyond_the_tables_but_not_beyond_the_programme(shop: Shop):
    service = Service(shop)
    assert service.score(given())["level_now"] == 1
    with pytest.raises(
        DataQualityError, match=r"levels that the programme has not: 4. Use 0 \(bronze\) to 3 \(platinum\)"
    ):
        service.score(given(levels=[{"valid_from": "2018-03-01", "level": 4}]))
    with pytest.raises(DataQualityError, match="levels that the programme has not: 9"):
        service.score(given(levels=[{"valid_from": "2018-03-01", "level": 1, "own_level": 9}]))
    with pytest.raises(DataQualityError, match="a member has two tiles of one day"):
        service.score(given(tiles=[{"day": "2018-03-02"}] * 2))


def test_rows_that_features_are_made_of_must_be_given_if_only_as_none(tmp_path: Path):
    more = "features.more=[{measure: products, aggregate: num_distinct, window_days: 28}]"
    config = served_config(tmp_path, AT_ONCE, "features.profile={household_size: number}", more)
    publish_model(config, seed=1)
    service = Service(Shop(config))
    with pytest.raises(DataQualityError, match=r"are not given: breakdowns, profiles\. Give them; \[\] says"):
        service.score(given())
    assert service.score(given(profiles=[], breakdowns=[]))["level_now"] == 1


def test_levels_by_hand_must_be_those_of_the_programme(tmp_path: Path):
    by_hand = "levels.manual={level: tier, until: tier_until}"
    config = served_config(tmp_path, AT_ONCE, by_hand)
    publish_model(config, seed=1)
    service = Service(Shop(config))

    def shown(**attributes: str) -> int:
        profiles = [{"valid_from": "2018-03-02", "attributes": attributes}]
        level: int = service.score(given(profiles=profiles))["level_now"]
        return level

    # The level shown is that of the given stretches; what a profile gives decides what happens next.
    assert shown(tier="gold", tier_until="2018-12-31") == 1
    for attributes in ({"tier": "diamond"}, {"tier": "gold", "tier_until": "soon"}):
        with pytest.raises(DataQualityError, match=r"attributes tier and tier_until\. Use one of bronze, silver, gold"):
            shown(**attributes)


def test_a_new_champion_is_taken_and_a_damaged_one_is_not(shop: Shop):
    service, config = Service(shop), shop.config
    first = service.model_version
    answer = service.score(of("d"))
    second = publish_model(config, seed=2)
    assert service.model_version == second != first
    assert service.score(of("d"))["p_level"] != answer["p_level"]
    third = publish_model(config, seed=3)
    weights = registry_dir(shop) / third / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert service.model_version == second and service.score(of("d"))["model_version"] == second
    is_able, told = service.health()
    assert is_able and told["status"] == "degraded" and "a model bundle is damaged" in told["problems"][0]


def test_without_a_champion_nothing_is_answered_until_there_is_one(shop: Shop):
    (registry_dir(shop) / f"{CHAMPION}.json").unlink()
    service = Service(shop)
    service.warm_up()
    with pytest.raises(ArtefactError, match="there is no champion to score with"):
        service.score(of("a"))
    is_able, told = service.health()
    assert not is_able and (told["status"], told["model_version"], told["loaded_since"]) == ("unavailable", None, None)
    version = publish_model(shop.config, seed=4)
    assert service.score(of("a"))["model_version"] == version
    is_able, told = service.health()
    assert is_able and told["status"] == "ok" and told["model_version"] == version
    assert told["tables"] == {"members": 0, "member_days": 0, "member_levels": 0} and told["loaded_since"]


def test_new_rows_of_the_tables_are_taken(shop: Shop):
    service = Service(shop)
    before = service.score(of("a", as_of=str(LAST_DAY)))
    tiles = [{"member_id": "a", "day": LAST_DAY, "num_orders": 1, "spend_cents": 30_000}]
    write_delta(shop.config, "tiles", tiles, version=1)
    after = service.score(of("a", as_of=str(LAST_DAY)))
    assert after["p_level"] != before["p_level"] and service.health()[1]["tables"]["member_days"] == 1
    with pytest.raises(UnknownMemberError):
        write_delta(shop.config, "profiles", [], version=1)
        service.score(of("a"))


def test_members_are_only_asked_for_the_tables_when_their_rows_are_not_given(shop: Shop):
    shutil.rmtree(shop.shop_dir / "tables")
    service = Service(shop)
    service.warm_up()
    assert service.score(given())["level_now"] == 1
    with pytest.raises(ArtefactError, match=r"nothing has been scored yet: .*Run the stage score, or give a date"):
        service.score(of("a"))
    with pytest.raises(ArtefactError, match="a table is missing: members"):
        service.score(of("a", as_of=str(SCORED)))
    assert service.health()[1]["problems"] == [str(service._members.problem)]


def test_levels_by_other_rules_are_no_levels(shop: Shop):
    other = Shop(served_config(shop.config.output_dir, "levels.window_days=90"))
    with pytest.raises(ArtefactError, match="member_levels holds no levels by the present rules"):
        scan(other, "a")


def test_a_damaged_file_is_named(shop: Shop):
    folder = shop.shop_dir / "tables" / "member_days"
    (folder / "v0-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match="a file of a table is missing or damaged: member_days"):
        scan(shop, "a")


def test_the_date_scored_last_is_read_from_the_files_where_the_log_does_not_tell(shop: Shop):
    write_scores(shop.config, date(2017, 12, 3), date(2017, 12, 10), date(2017, 11, 5))
    assert latest_scored(shop) == date(2017, 12, 10)
    folder = shop.shop_dir / "tables" / "member_scores"
    pq.write_table(pa.table({"as_of_date": [date(2017, 12, 17), date(2017, 12, 16)]}), folder / "x.parquet")
    log = folder / "_delta_log" / f"{1:020d}.json"
    log.write_text(json.dumps({"add": {"path": "x.parquet", "partitionValues": {}}}))
    assert latest_scored(shop) == date(2017, 12, 17)


def test_a_model_that_reads_single_events_is_refused(tmp_path: Path):
    config = served_config(tmp_path)
    version = publish_model(config, seed=1, events=EventInputs(2, (8, 4, 3, 9, 25, 8), "v1"))
    with pytest.raises(
        ConfigError, match=f"the champion reads single events, which are only answered in bulk: {version}"
    ):
        Scorer.of(Shop(config), load_champion(Shop(config)))


def test_features_that_mean_something_else_than_the_models_are_refused(shop: Shop):
    fewer = Shop(served_config(shop.config.output_dir, "features.windows_days=[7]"))
    rows, scorer = scan(fewer, "a"), Scorer.of(fewer, load_champion(fewer))
    assert rows is not None
    with pytest.raises(ArtefactError, match="features the model was trained on are missing: num_orders_count_28d"):
        scorer.encode(rows, SCORED)
