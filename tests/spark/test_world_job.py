"""The job world: files and truth tables of a few hundred members, the same for any number of tasks."""

import gzip
import json
import unicodedata
from collections import Counter
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.run import Run
from memberlevel_spark.synthetic.contracts import TRUTH_LEVELS, TRUTH_MEMBERS, TRUTHS
from memberlevel_spark.synthetic.defects import DEFECTS, DUPLICATE, NONE
from memberlevel_spark.synthetic.delivery import deliver
from memberlevel_spark.synthetic.frames import by_member, replayed_days, shop_lines, shuffled_files
from memberlevel_spark.synthetic.plan import plan_of
from memberlevel_spark.synthetic.truth_rows import level_truth, member_truth
from tests.made_world import ALL_DEFECTS, NUM_MEMBERS, OF_EACH, csv_rows, files, lines, world_plan

pytestmark = pytest.mark.spark


def rows_of(frame: DataFrame) -> list[str]:
    return sorted(str(row) for row in frame.collect())


@pytest.mark.parametrize(("contract", "make"), [(TRUTH_LEVELS, level_truth), (TRUTH_MEMBERS, member_truth)])
def test_truth_does_not_depend_on_partitions_or_batches(spark: SparkSession, clean_world: Run, contract, make):
    plan = world_plan(num_members=NUM_MEMBERS, tasks=3, members_at_once=50)
    pieces = rows_of(by_member(spark, plan, make, contract.schema))
    assert len(pieces) >= NUM_MEMBERS and rows_of(clean_world.tables.read(contract.name)) == pieces


def test_files_are_the_same_bytes_for_any_number_of_tasks_and_are_left_alone_then(
    spark: SparkSession, clean_world: Run
):
    before = files(clean_world)
    times = {path: path.stat().st_mtime_ns for path in (clean_world.shop_dir / "raw").rglob("*.jsonl")}
    plan = world_plan(num_members=NUM_MEMBERS, tasks=3, members_at_once=50)
    assert deliver(plan, shop_lines(spark, plan), clean_world.shop_dir) == len(before)
    assert files(clean_world) == before and len(before) > 70
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_smaller_world_is_a_part_of_a_larger_one(spark: SparkSession, clean_world: Run):
    orders = shop_lines(spark, world_plan(num_members=20)).where("source = 'orders' and position >= 0")
    few = {row.line.encode() for row in orders.collect()}
    assert few < set(lines(clean_world, "orders"))


def test_each_source_is_delivered_by_month_in_the_order_of_time(clean_world: Run):
    names = set(files(clean_world))
    for source, ending in {"clicks": "jsonl", "orders": "csv", "refunds": "csv", "activities": "jsonl"}.items():
        assert {f"{source}/2024-{month:02d}.{ending}" for month in range(1, 13)} <= names
    assert {"products/all.csv", "rates/all.csv", "profiles/2024-01.jsonl", "devices/2024-01.jsonl"} <= names
    may = (clean_world.shop_dir / "raw" / "clicks" / "2024-05.jsonl").read_text(encoding="utf-8").splitlines()
    received = [json.loads(line)["received_at"] for line in may]
    assert received == sorted(received) and received[0][:7] == received[-1][:7] == "2024-05"
    july = (clean_world.shop_dir / "raw" / "activities" / "2024-07.jsonl").read_text(encoding="utf-8").splitlines()
    hours = [json.loads(line)["at"][11:] for line in july]
    # From 07:30 to 22:31 in Berlin, which is two hours ahead of UTC in summer.
    assert min(hours) >= "05:30" and "19:30" < max(hours) < "20:32" and all(hour.endswith("Z") for hour in hours)
    assert (clean_world.shop_dir / "raw" / "orders" / "2024-05.csv").read_text().startswith("order_no,line,customer,")


def test_files_by_day_and_in_parts(spark: SparkSession, tmp_path: Path):
    plan = world_plan(num_members=600, files="day", parts=2)
    first_days = shop_lines(spark, plan).where("source in ('clicks', 'orders') and file <= '2024-01-05'")
    assert deliver(plan, first_days, tmp_path) == 2 * 2 * 5
    names = {path.relative_to(tmp_path / "raw").as_posix() for path in (tmp_path / "raw").rglob("*.*")}
    assert {"orders/2024-01-05-part00000.csv", "orders/2024-01-05-part00001.csv"} <= names
    assert "clicks/2024-01-01-part00001.jsonl" in names


def test_other_files_than_those_read_already_are_refused(spark: SparkSession, tmp_path: Path):
    def days_of(number: int) -> DataFrame:
        return shop_lines(spark, world_plan(num_members=5)).where(f"source = 'clicks' and position < 86400 * {number}")

    plan, clicks = world_plan(num_members=5), tmp_path / "raw" / "clicks"
    deliver(plan, days_of(40), tmp_path)
    (tmp_path / "checkpoints").mkdir()
    before = {path: path.read_bytes() for path in clicks.iterdir()}
    assert deliver(plan, days_of(40), tmp_path) == len(before) == 2
    with pytest.raises(ConfigError, match=r"read this shop's files already.*: clicks/2024-02\.jsonl, clicks/2024-03"):
        deliver(plan, days_of(70), tmp_path)
    assert {path: path.read_bytes() for path in clicks.iterdir()} == before


def test_truth_tables_follow_their_contracts(clean_world: Run):
    for contract in TRUTHS:
        rows = clean_world.tables.read(contract.name).collect()
        assert len({tuple(row[name] for name in contract.key) for row in rows}) == len(rows)
    levels = clean_world.tables.read("truth_levels").collect()
    assert {row.as_of_date for row in levels} == {date(2024, 12, 10), date(2025, 1, 7), date(2025, 2, 4)}
    assert len(levels) == 3 * NUM_MEMBERS
    for row in levels:
        assert sum(row.p_level) == pytest.approx(1)
        assert row.p_up == pytest.approx(sum(row.p_level[row.level_now + 1 :]))
        assert row.p_down == pytest.approx(sum(row.p_level[: row.level_now]))
    campaigns = {row.campaign: row for row in clean_world.tables.read("truth_campaigns").collect()}
    assert campaigns["black_week"].uplift == 1.8 and campaigns["black_week"].last_day == date(2024, 12, 1)
    assert clean_world.tables.read("truth_defects").count() == 0
    members = clean_world.tables.read("truth_members").collect()
    assert len(members) == NUM_MEMBERS and sum(row.num_orders for row in members) > 2000
    assert any(row.left_date for row in members) and any("spring" in row.treated for row in members)


def test_the_levels_of_the_truth_are_those_of_the_files(clean_world: Run):
    """Read like a shop's accountant: every line in its currency at the day's rate, refunds on their own day."""
    rates = {(row["day"], row["currency"]): Decimal(row["rate"]) for row in csv_rows(clean_world, "rates")}
    by_member: dict[str, list[tuple[date, int]]] = {}
    for source, at, amount, sign in (("orders", "ordered_at", "paid", 1), ("refunds", "at", "amount", -1)):
        for row in csv_rows(clean_world, source):
            rate = rates.get((row[at][:10], row["currency"]), Decimal(1))
            cents = (Decimal(row[amount]) * rate * 100).quantize(Decimal(1), ROUND_HALF_UP)
            by_member.setdefault(row["customer"], []).append((date.fromisoformat(row[at][:10]), sign * int(cents)))
    assert {currency for _, currency in rates} == {"JPY", "KWD"} and len(by_member) > 200
    config = clean_world.config
    rules = LevelRules.of(config.levels, ("spend_cents",))
    for row in clean_world.tables.read("truth_levels").collect():
        first = row.as_of_date - timedelta(days=rules.window_days)
        changes = by_member.get(row.member_id, [])
        assert (
            rules.reached({"spend_cents": sum(cents for day, cents in changes if first < day <= row.as_of_date)})
            == row.level_now
        )


def test_refunds_name_an_order_and_stay_below_it(clean_world: Run):
    paid: Counter[str] = Counter()
    for row in csv_rows(clean_world, "orders"):
        paid[row["order_no"]] += int(Decimal(row["paid"]) * 1000)
    refunds = csv_rows(clean_world, "refunds")
    assert len(refunds) > 50 and {row["kind"] for row in refunds} == {"return", "cancellation"}
    for row in refunds:
        if row["currency"] == "EUR":
            assert 0 < int(Decimal(row["amount"]) * 1000) <= paid[row["order_no"]]


def test_defects_leave_the_good_rows_alone_and_are_as_many_as_the_manifest_says(clean_world: Run, spoiled_world: Run):
    manifest = {row.defect: row for row in spoiled_world.tables.read("truth_defects").collect()}
    assert set(manifest) == set(ALL_DEFECTS)
    extra_rows: Counter[str] = Counter()
    for row in manifest.values():
        extra_rows[row.source] += row.num_rows
        assert row.num_rows == 0 if row.outcome == NONE else row.num_rows >= OF_EACH
    for source in ("clicks", "orders", "refunds", "activities", "profiles", "devices", "products", "rates"):
        good, found = lines(clean_world, source), lines(spoiled_world, source)
        assert not good - found, source
        assert (found - good).total() == extra_rows[source], source


def test_truth_does_not_depend_on_the_defects(clean_world: Run, spoiled_world: Run):
    for name in ("truth_levels", "truth_members"):
        assert rows_of(clean_world.tables.read(name)) == rows_of(spoiled_world.tables.read(name))


def test_each_defect_is_what_it_is_called(clean_world: Run, spoiled_world: Run):
    text = {
        source: [line.decode() for line in lines(spoiled_world, source)] for source in ("orders", "clicks", "refunds")
    }
    good = {line.decode() for line in lines(clean_world, "orders")}
    assert sum(",many," in line for line in text["orders"]) == OF_EACH
    assert sum(line.count(",") == 5 and line.startswith("X-too_few") for line in text["orders"]) == OF_EACH
    assert sum(line.count(",") == 10 for line in text["orders"]) == OF_EACH
    assert sum('"S00' in line for line in text["orders"]) == OF_EACH
    for year in ("0001", "1970", "2093", "9999"):
        assert sum(f",{year}-" in line for line in text["orders"]) == OF_EACH
    assert sum("\0" in line for line in text["orders"]) == OF_EACH
    assert sum("０" in line for line in text["orders"]) == OF_EACH
    # Full-width letters, NUL and decomposed ones come back to a good line; NFKC alone leaves the NUL.
    twins = [line for line in text["orders"] if line not in good and line[0] != "X" and " ," not in line]
    plain = [unicodedata.normalize("NFKC", line).replace("\0", "") for line in twins]
    assert sum(line in good for line in plain) == 3 * OF_EACH
    repeated = [line for line in text["orders"] if " ," in line]
    assert len(repeated) == OF_EACH and all(line.replace(" ,", ",") in good for line in repeated)
    spoilt = [json.loads(line) for line in text["clicks"] if line.endswith("}") and '"x-' in line]
    late = [row for row in spoilt if row["id"].startswith("x-late")]
    assert len(late) == OF_EACH
    for row in late:
        at, received = (date.fromisoformat(row[name][:10]) for name in ("at", "received_at"))
        assert received == at + timedelta(days=3)
    assert sum(row["at"].startswith("2024-03-31T02:15") for row in spoilt) == OF_EACH
    assert sum(row["at"].startswith("2024-10-27T02:15") for row in spoilt) == OF_EACH
    assert sum(not line.endswith("}") for line in text["clicks"]) == OF_EACH
    assert sum('"id"' not in line for line in text["clicks"] if line.endswith("}")) == OF_EACH
    assert all("user" in row for row in spoilt)


def test_whole_files_are_empty_replayed_or_in_disorder(clean_world: Run, spoiled_world: Run):
    plan, found, before = plan_of(spoiled_world.config), files(spoiled_world), files(clean_world)
    assert found["clicks/2025-02-04-empty-1.jsonl"] == b""
    for day in replayed_days(plan):
        again = found[f"orders/{plan.date_of(day)}-again.csv"].splitlines()[1:]
        month = before[f"orders/{plan.date_of(day).isoformat()[:7]}.csv"].splitlines()
        assert len(again) > 2 and again == [line for line in month if f" {plan.date_of(day)}"[1:].encode() in line]
    for name in shuffled_files(plan):
        was, now = (content[f"clicks/{name}.jsonl"].splitlines() for content in (before, found))
        kept = [line for line in now if line in set(was)]
        assert kept != was and sorted(kept) == sorted(was)
    headers = {name: content.splitlines()[0] for name, content in found.items() if name.startswith("orders/")}
    assert b"rebate" not in headers["orders/2024-01-missing_column.csv"]
    assert headers["orders/2024-01-extra_column.csv"].endswith(b",gift")
    assert b",client," in headers["orders/2024-01-renamed_column.csv"]


def test_a_huge_text_and_a_giant_member_are_among_the_clicks(spoiled_world: Run):
    clicks = b"".join(content for name, content in files(spoiled_world).items() if name.startswith("clicks/"))
    assert clicks.count(b"cgiant") == 4_000 and b"x" * 10_000_000 in clicks
    manifest = {row.defect: row.num_rows for row in spoiled_world.tables.read("truth_defects").collect()}
    assert manifest["huge_string"] == 2 and manifest["giant_member"] == 4_000


def test_a_huge_text_is_no_part_of_the_plan(spark: SparkSession, capsys: pytest.CaptureFixture[str]):
    shop_lines(spark, world_plan(num_members=30, defects={"huge_string": 1})).explain(mode="extended")
    shown = capsys.readouterr().out
    assert "repeat(x" in shown and len(shown) < 100_000


def test_a_file_is_cut_off_and_files_of_an_earlier_world_are_gone(spark: SparkSession, tmp_path: Path):
    def odd_files_of(**defects: int) -> set[str]:
        plan = world_plan(num_members=20, defects=defects)
        deliver(plan, shop_lines(spark, plan).where("source in ('clicks', 'orders')"), tmp_path)
        return {path.name for path in (tmp_path / "raw").rglob("*.*") if len(path.name) > len("2024-05.jsonl")}

    odd = odd_files_of(empty_day=1, replayed_file=1, truncated_file=1)
    assert odd == {"2025-02-04-empty-0.jsonl", "2024-07-19-again.csv", "2025-02-04-cut.jsonl.gz"}
    with pytest.raises(EOFError), gzip.open(tmp_path / "raw" / "clicks" / "2025-02-04-cut.jsonl.gz") as cut:
        cut.read()
    assert odd_files_of() == set()


def test_the_catalogue_of_defects_speaks_of_known_sources():
    assert {defect.source for defect in DEFECTS.values()} <= {"clicks", "orders", "refunds", "activities"}
    assert DEFECTS["replayed_file"].outcome == DUPLICATE
