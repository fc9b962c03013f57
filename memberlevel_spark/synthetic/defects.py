"""Every defect by name: where it is put, what happens to it in a pipeline that copes, and how a good line is spoiled.

Defects are added to the good lines, they never replace one, so the good rows are the same with and without them. Lines
that must not count carry order numbers of their own; lines that say again what is known repeat a good one. No Spark.
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

Spoil = Callable[[list[str]], list[str]]
ORDER_NO, LINE, CUSTOMER, ORDERED_AT, SKU, UNITS, PAID, REBATE, CURRENCY = range(9)
QUARANTINED, DUPLICATE, SET_ASIDE = "quarantined", "duplicate", "set_aside"
ACCEPTED, NONE, STOPS = "accepted", "none", "stops"
HUGE_MARK, HUGE_CHARACTERS = "@HUGE@", 10_000_000


@dataclass(frozen=True)
class Defect:
    """``outcome`` is one word for tests; ``expected`` says it to people."""

    source: str
    outcome: str
    expected: str


def _put(column: int, value: str) -> Spoil:
    return lambda cells: [*cells[:column], value, *cells[column + 1 :]]


def _change(column: int, change: Callable[[str], str]) -> Spoil:
    return lambda cells: [*cells[:column], change(cells[column]), *cells[column + 1 :]]


def _full_width(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


# Lines that must not become events; they get an order number of their own.
SPOILED_ORDERS: dict[str, Spoil] = {
    "wrong_type": _put(UNITS, "many"),
    "too_few_fields": lambda cells: cells[:-3],
    "too_many_fields": lambda cells: [*cells, "x", "y"],
    "quoted_newline": _put(SKU, '"S00\n00001"'),
    "ts_future": _put(ORDERED_AT, "2093-05-05 10:00:00"),
    "ts_1970": _put(ORDERED_AT, "1970-01-01 00:00:00"),
    "ts_year_1": _put(ORDERED_AT, "0001-01-01 00:00:00"),
    "ts_year_9999": _put(ORDERED_AT, "9999-12-31 23:59:59"),
    "nan_amount": _put(PAID, "NaN"),
    "infinite_amount": _put(PAID, "Infinity"),
    "overflow_amount": _put(PAID, "9" * 40 + ".00"),
    "negative_amount": _put(PAID, "-3.00"),
    "unknown_currency": _put(CURRENCY, "ZZZ"),
    "null_member": _put(CUSTOMER, ""),
}
# Lines that repeat a good one, spelled or filled in otherwise; the amount stays, so either of the two may be kept.
REPEATED_ORDERS: dict[str, Spoil] = {
    "same_id_other_payload": _change(UNITS, lambda units: str(int(units) + 1)),
    "member_nfd": _change(CUSTOMER, lambda name: unicodedata.normalize("NFD", name)),
    "member_full_width": _change(CUSTOMER, _full_width),
    "member_with_nul": _change(CUSTOMER, lambda name: f"{name}\0"),
    "member_trailing_space": _change(CUSTOMER, lambda name: f"{name} "),
}
# Files of their own whose columns are not the usual ones; their rows repeat good ones.
ODD_FILES: dict[str, Spoil] = {
    "missing_column": lambda cells: [*cells[:REBATE], *cells[REBATE + 1 :]],
    "extra_column": lambda cells: [*cells, "gift" if cells[0] == "order_no" else "no"],
    "renamed_column": lambda cells: ["client" if cell == "customer" else cell for cell in cells],
}
# Clicks, each with an id of its own; what a spoiled click gets replaced, None: left out.
SPOILED_CLICKS: dict[str, dict[str, object]] = {
    "no_id": {"id": None},
    "unknown_event_type": {"event": "teleport"},
    "unknown_product": {"sku": "S-unlisted"},
    "huge_string": {"event": "review", "rating": 1, "text": HUGE_MARK},
    "late_3_days": {},
    "truncated_json": {},
    "dst_gap": {},
    "dst_fold": {},
}
SPOILED_REFUNDS = ("refund_before_purchase", "refund_beyond_purchase")

DEFECTS: dict[str, Defect] = {
    "wrong_type": Defect("orders", QUARANTINED, "units is a word"),
    "too_few_fields": Defect("orders", QUARANTINED, "the line has 6 of 9 fields"),
    "too_many_fields": Defect("orders", QUARANTINED, "the line has 11 of 9 fields"),
    "quoted_newline": Defect("orders", QUARANTINED, "a line break inside quotes: two broken lines each"),
    "ts_future": Defect("orders", QUARANTINED, "ordered after the end of the data"),
    "ts_1970": Defect("orders", QUARANTINED, "a clock at zero"),
    "ts_year_1": Defect("orders", QUARANTINED, "outside what timestamps hold"),
    "ts_year_9999": Defect("orders", QUARANTINED, "outside what timestamps hold"),
    "nan_amount": Defect("orders", QUARANTINED, "not a number"),
    "infinite_amount": Defect("orders", QUARANTINED, "not a number"),
    "overflow_amount": Defect("orders", QUARANTINED, "40 digits"),
    "negative_amount": Defect("orders", QUARANTINED, "an order below zero"),
    "unknown_currency": Defect("orders", QUARANTINED, "ZZZ is no currency"),
    "null_member": Defect("orders", QUARANTINED, "an order of nobody"),
    "same_id_other_payload": Defect("orders", SET_ASIDE, "one of the two is kept, whatever the order of the files"),
    "member_nfd": Defect("orders", DUPLICATE, "the same member, decomposed letters"),
    "member_full_width": Defect("orders", SET_ASIDE, "full-width letters: another spelling of a known order line"),
    "member_with_nul": Defect("orders", SET_ASIDE, "a NUL in the id: another spelling of a known order line"),
    "member_trailing_space": Defect("orders", DUPLICATE, "the same member, a space behind"),
    "missing_column": Defect("orders", SET_ASIDE, "no column may shift into another's place"),
    "extra_column": Defect("orders", SET_ASIDE, "no column may shift into another's place"),
    "renamed_column": Defect("orders", SET_ASIDE, "no column may shift into another's place"),
    "refund_before_purchase": Defect("refunds", ACCEPTED, "it waits for its order, a cancelled one; counts nothing"),
    "refund_beyond_purchase": Defect("refunds", ACCEPTED, "all the money was back already; counts nothing"),
    "truncated_json": Defect("clicks", QUARANTINED, "the line ends in the middle"),
    "no_id": Defect("clicks", QUARANTINED, "an event without an id"),
    "late_3_days": Defect("clicks", ACCEPTED, "delivered three days later; counts on the day it happened"),
    "dst_gap": Defect("clicks", ACCEPTED, "a local time that did not exist, moved by the gap"),
    "dst_fold": Defect("clicks", ACCEPTED, "a local time that came twice; the first is taken"),
    "unknown_event_type": Defect("clicks", QUARANTINED, "a word the shop never used"),
    "unknown_product": Defect("clicks", ACCEPTED, "a product of no known category"),
    "missing_zone": Defect("activities", ACCEPTED, "no zone where others have one; the source's zone is taken"),
    "huge_string": Defect("clicks", ACCEPTED, "a text of 10 MB is cut, and stops nothing"),
    "giant_member": Defect("clicks", ACCEPTED, "one more member with all these clicks"),
    "empty_day": Defect("clicks", NONE, "a file of 0 bytes"),
    "replayed_file": Defect("orders", DUPLICATE, "a day's order lines come a second time"),
    "shuffled_file": Defect("clicks", NONE, "the same lines in another order"),
    "truncated_file": Defect("clicks", STOPS, "a gzip file cut off in the middle must not pass unseen"),
}


def spoiled_click(name: str, click: dict[str, object], new_id: str, at: str | None) -> str:
    """One spoiled click as a line; ``at`` replaces the time where it is given."""
    row = {**click, "id": new_id, **SPOILED_CLICKS[name]}
    if at:
        row |= {"at": at, "received_at": at}
    line = json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False)
    return line[: len(line) // 2] if name == "truncated_json" else line
