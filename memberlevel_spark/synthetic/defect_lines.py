"""The lines that carry defects, made from the good lines of the first members, few enough for one machine.

Out: rows of LINES (source, file, part, position, line), and further files with a header of their own. No Spark.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.synthetic import text
from memberlevel_spark.synthetic.defects import (
    DEFECTS,
    ODD_FILES,
    ORDER_NO,
    REPEATED_ORDERS,
    SPOILED_CLICKS,
    SPOILED_ORDERS,
    SPOILED_REFUNDS,
    spoiled_click,
)
from memberlevel_spark.synthetic.draws import Purpose, child, root_key
from memberlevel_spark.synthetic.files import HEADERS, file_names, lines, member_lines
from memberlevel_spark.synthetic.members import REGIONS, Ints
from memberlevel_spark.synthetic.plan import DAY_SECONDS, WorldPlan

Row = tuple[str, str, int, int, str]
LATE_DAYS = 3
# Nothing is late on the last days: the file it would come in is never written.
LATEST_VICTIM_DAYS = 7
HEADER_POSITION = -1
EARLY_DAYS = 2
VICTIMS_AT_ONCE = 100
# Only two regions of five have ids that can be decomposed.
VICTIMS_NEEDED = {"member_nfd": 5}


def counts_of(plan: WorldPlan) -> dict[str, int]:
    """The defects that are on, with their numbers, in the order of the catalogue."""
    knobs = plan.world.defects.model_dump()
    return {name: knobs[name] for name in DEFECTS if knobs[name]}


def defect_lines(plan: WorldPlan) -> list[Row]:
    """The lines of every defect that is a matter of lines.

    Errors: ConfigError when the world is too small to make so many from.
    """
    makers: dict[str, Callable[[str, list[Row]], list[Row]]] = {
        **dict.fromkeys([*SPOILED_ORDERS, *REPEATED_ORDERS], _order_rows),
        **dict.fromkeys(ODD_FILES, _odd_file),
        **dict.fromkeys(SPOILED_CLICKS, partial(_click_rows, plan)),
        **dict.fromkeys(SPOILED_REFUNDS, _refund_rows),
        "missing_zone": _without_zone,
    }
    wanted = {name: number for name, number in counts_of(plan).items() if name in makers}
    if not wanted:
        return []
    totals = Counter[str]()
    for name, number in wanted.items():
        totals[DEFECTS[name].source] += number * VICTIMS_NEEDED.get(name, 1)
    good = _good_lines(plan, totals)
    # Each defect has good lines of its own, so that no two meet in one row.
    taken = {name: _taken(name, good[DEFECTS[name].source], number) for name, number in wanted.items()}
    short = [name for name, number in wanted.items() if len(taken[name]) < number]
    if short:
        raise ConfigError(
            f"the world has too few good lines to spoil: {first_five(short)}, {plan.world.num_members} members."
            " Lower world.defects or raise world.num_members."
        )
    return [row for name, rows in taken.items() for row in makers[name](name, rows)]


def _taken(name: str, rows: list[Row], number: int) -> list[Row]:
    """The first good lines that a defect can be made from; they are gone from ``rows`` then."""
    fitting = [row for row in rows if name != "member_nfd" or not row[4].isascii()][:number]
    for row in fitting:
        rows.remove(row)
    return fitting


def giant_lines(plan: WorldPlan, numbers: Ints) -> Iterator[pa.RecordBatch]:
    """Clicks of one further member, evenly over the days; ``numbers`` are those of the clicks."""
    key = child(root_key(plan.seed, Purpose.DEFECT), numbers)
    day, second = numbers % plan.num_days, 30_000 + numbers % 40_000
    name = f"{REGIONS[0]}{plan.world.num_members:09d}"
    columns = {
        "event": pa.array(["product_view"] * len(numbers)),
        "id": text.hex_ids("g", key),
        "cookie": pa.array(["cgiant"] * len(numbers)),
        "user": pa.array([name] * len(numbers)),
        "at": text.local_times(plan, day, second, separator="T"),
        "received_at": text.local_times(plan, day, second, separator="T"),
        "sku": text.glued("S", text.numbers_text(numbers % plan.world.catalogue.num_products, 7)),
        "channel": pa.array(["web"] * len(numbers)),
    }
    member = np.full(len(numbers), plan.world.num_members)
    yield lines(plan, "clicks", member, (day, second), text.json_lines(columns))


def clock_change(plan: WorldPlan, *, gap: bool) -> datetime:
    """A local time that did not exist (a gap), or came twice. Errors: ConfigError when the zone had none."""
    zone = ZoneInfo(plan.zone)
    for half_hour in range(plan.num_days * 48):
        local = datetime.combine(plan.first_day, time(0, 15)) + timedelta(minutes=30 * half_hour)
        first, second = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        # PEP 495: in a gap the offset before the change comes first, which is the smaller one.
        if first != second and (first < second) == gap:  # type: ignore[operator]
            return local
    raise ConfigError(
        f"no clock changes in the world's days: {plan.zone} from {plan.first_day}, {plan.num_days} days."
        " Leave world.defects.dst_gap and dst_fold at 0, or take another zone."
    )


def _good_lines(plan: WorldPlan, totals: Mapping[str, int]) -> dict[str, list[Row]]:
    """At least as many lines of each source as defects are made from; fewer only where there are no more members."""
    found: dict[str, list[Row]] = {source: [] for source in totals}
    latest = (plan.num_days - LATEST_VICTIM_DAYS) * DAY_SECONDS
    for start in range(0, plan.world.num_members, VICTIMS_AT_ONCE):
        numbers = np.arange(start, min(start + VICTIMS_AT_ONCE, plan.world.num_members))
        for batch in member_lines(plan, numbers):
            rows = [tuple(row.values()) for row in batch.to_pylist()]
            if rows and rows[0][0] in found:
                found[rows[0][0]] += [row for row in rows if row[3] < latest and _is_usable(row)]
        if all(len(found[source]) >= number for source, number in totals.items()):
            break
    return found


def _is_usable(row: Row) -> bool:
    """Guests' clicks are nobody's, whatever else is wrong with them; refunds are those of cancelled orders."""
    source, *_, line = row
    return {"clicks": '"user"' in line, "refunds": line.endswith("cancellation")}.get(source, True)


def _order_rows(name: str, good: list[Row]) -> list[Row]:
    rows = []
    for place, (source, file, part, position, line) in enumerate(good):
        cells = line.split(",")
        if name in SPOILED_ORDERS:
            cells = SPOILED_ORDERS[name]([f"X-{name}-{place}", *cells[ORDER_NO + 1 :]])
        else:
            cells = REPEATED_ORDERS[name](cells)
        rows.append((source, file, part, position, ",".join(cells)))
    return rows


def _odd_file(name: str, good: list[Row]) -> list[Row]:
    if not good:
        return []
    spoil, file = ODD_FILES[name], f"{good[0][1]}-{name}"
    rows = [(source, file, 0, position, ",".join(spoil(line.split(",")))) for source, _, _, position, line in good]
    return [("orders", file, 0, HEADER_POSITION, ",".join(spoil(HEADERS["orders"].split(",")))), *rows]


def _click_rows(plan: WorldPlan, name: str, good: list[Row]) -> list[Row]:
    rows, at = [], None
    if name in ("dst_gap", "dst_fold"):
        at = clock_change(plan, gap=name == "dst_gap").isoformat()
    for place, (source, file, part, position, line) in enumerate(good):
        click = json.loads(line)
        if name == "late_3_days":
            late = datetime.fromisoformat(click["received_at"]) + timedelta(days=LATE_DAYS)
            click["received_at"] = late.isoformat()
            position += LATE_DAYS * DAY_SECONDS
            file = file_names(plan)[position // DAY_SECONDS]
        rows.append((source, file, part, position, spoiled_click(name, click, f"x-{name}-{place}", at)))
    return rows


def _without_zone(name: str, good: list[Row]) -> list[Row]:
    rows = []
    for place, (source, file, part, position, line) in enumerate(good):
        row = {**json.loads(line), "id": f"x-{name}-{place}"}
        row["at"] = datetime.fromisoformat(row["at"]).astimezone(UTC).replace(tzinfo=None).isoformat()
        rows.append((source, file, part, position, json.dumps(row, ensure_ascii=False)))
    return rows


def _refund_rows(name: str, good: list[Row]) -> list[Row]:
    """Further refunds of cancelled orders, whose money is back already, so that they change nobody's spend."""
    rows: list[Row] = []
    for place, (_, file, part, position, line) in enumerate(good):
        _, order_no, customer, at, _, currency, _ = line.split(",")
        before = name == "refund_before_purchase"
        moment = datetime.fromisoformat(at) + (timedelta(days=-EARLY_DAYS) if before else timedelta(hours=1))
        amount = "5" if before else "99999"
        cells = [f"X-{name}-{place}", order_no, customer, moment.isoformat(" "), amount, currency, "return"]
        rows.append(("refunds", file, part, position, ",".join(cells)))
    return rows
