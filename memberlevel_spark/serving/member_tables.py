"""The rows of one member out of the tables' live files, read by pyarrow.

Two ways with one answer: ``scan`` reads through the files for one member and keeps nothing, for a single question;
``HeldTables`` reads them once, sorted by member, and finds a member by bisection, for a process that is asked often.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memberlevel_spark.delta_log import LiveFile, Snapshot, latest_version, read_snapshot
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.features.breakdowns import declared_breakdowns
from memberlevel_spark.features.point_in_time import configured_features, configured_measures
from memberlevel_spark.levels.stage import level_rules
from memberlevel_spark.run import Shop
from memberlevel_spark.schemas import BREAKDOWN_MEASURES, MEMBER_LEVELS
from memberlevel_spark.serving.member_rows import READ, MemberRows

SCORES = "member_scores"
MEMBER = "member_id"


@dataclass(frozen=True)
class LiveTables:
    """The Delta tables of one shop as their logs have them now."""

    root: Path

    def exists(self, name: str) -> bool:
        """Whether the table has at least one commit."""
        return latest_version(self.root / name) is not None

    def version(self, name: str) -> int:
        """The latest version. Errors: ArtefactError when the table is missing or its log is damaged."""
        return read_snapshot(self.root / name).version

    def snapshot(self, name: str) -> Snapshot:
        """The latest version with its files. Errors: as for ``version``."""
        return read_snapshot(self.root / name)


def live_tables(shop: Shop) -> LiveTables:
    """The tables of a shop."""
    return LiveTables((shop.shop_dir / "tables").absolute())


def columns_read(shop: Shop) -> dict[str, tuple[str, ...]]:
    """The columns that the shop's features are made of, by field of ``MemberRows``; breakdowns only where some are."""
    breakdowns = declared_breakdowns(configured_features(shop.config))
    spread = {breakdown.measure for breakdown in breakdowns if breakdown.measure}
    used = {
        "tiles": ("day", *configured_measures(shop.config)),
        "breakdowns": ("day", "dimension", "value", *(name for name in BREAKDOWN_MEASURES if name in spread)),
    }
    fields = [field for field in READ if field != "breakdowns" or breakdowns]
    return {field: used.get(field, tuple(READ[field][1].names)) for field in fields}


def versions(shop: Shop) -> dict[str, int | None]:
    """The latest version of each table that is read, by name: one look into a folder each; None: it is missing."""
    tables = live_tables(shop)
    return {name: latest_version(tables.root / name) for name in _names(shop)}


def scan(shop: Shop, member_id: str) -> MemberRows | None:
    """The rows of one member; None when the shop does not know the member.

    Errors: ArtefactError when a table is missing or damaged, or has no levels by the present rules.
    """
    own = pc.field(MEMBER) == member_id
    return _found({field: _read(shop, field, names, own) for field, names in columns_read(shop).items()})


class HeldTables:
    """All members' rows in memory, as of ``versions``; a copy of the columns that are read."""

    def __init__(self, shop: Shop) -> None:
        """Errors: as for ``scan``."""
        self.versions = versions(shop)
        read = {field: _read(shop, field, (MEMBER, *names)) for field, names in columns_read(shop).items()}
        self._by_member = {field: _ByMember.of(table) for field, table in read.items()}

    def find(self, member_id: str) -> MemberRows | None:
        """The rows of one member; None when the shop does not know the member."""
        return _found({field: table.find(member_id) for field, table in self._by_member.items()})


@dataclass(frozen=True)
class _ByMember:
    """Rows sorted by member: those of ``ids[i]``, ascending, begin at ``first[i]`` and end where the next begin."""

    ids: pa.Array
    first: NDArray[np.int64]
    rows: pa.Table

    @classmethod
    def of(cls, table: pa.Table) -> "_ByMember":
        in_order = table.sort_by(MEMBER).combine_chunks()
        ids = in_order[MEMBER].combine_chunks()
        begins_R = np.ones(len(ids), dtype=bool)
        begins_R[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        first = np.flatnonzero(begins_R)
        return cls(ids.take(pa.array(first)), np.append(first, len(ids)), in_order.drop_columns([MEMBER]))

    def find(self, member_id: str) -> pa.Table:
        place = bisect_left(self.ids, member_id, key=lambda each: each.as_py())
        if place == len(self.ids) or self.ids[place].as_py() != member_id:
            return self.rows.slice(0, 0)
        return self.rows.slice(self.first[place], self.first[place + 1] - self.first[place])


def ledger_version(shop: Shop) -> int | None:
    """The latest version of the ledger; None where nothing was ever scored."""
    return latest_version(live_tables(shop).root / SCORES)


def latest_scored(shop: Shop) -> date:
    """The last as-of date in the ledger, by what its log says of the files. Errors: ArtefactError where nothing is."""
    tables = live_tables(shop)
    files = tables.snapshot(SCORES).files if tables.exists(SCORES) else ()
    found = [_largest(file, "as_of_date") for file in files]
    dates = [day for day in found if day is not None]
    if not dates:
        raise ArtefactError(
            f"nothing has been scored yet: {tables.root / SCORES}. Run the stage score, or give a date."
        )
    return max(dates)


def _largest(file: LiveFile, column: str) -> date | None:
    if column in file.largest:
        return date.fromisoformat(file.largest[column])
    day: date | None = pc.max(ds.dataset(file.path).to_table(columns=[column])[column]).as_py()
    return day


def _names(shop: Shop) -> list[str]:
    return [READ[field][0].name for field in columns_read(shop)]


def _read(shop: Shop, field: str, names: Sequence[str], condition: pc.Expression | None = None) -> pa.Table:
    contract, kinds = READ[field]
    files = live_tables(shop).snapshot(contract.name).files
    if contract is MEMBER_LEVELS:
        rules = level_rules(shop)
        files = tuple(file for file in files if file.partition["rules_version"] == rules.version)
        if not files:
            raise ArtefactError(
                f"member_levels holds no levels by the present rules: {rules.version}. Run the stage levels."
            )
    schema = pa.schema([(name, pa.string() if name == MEMBER else kinds.field(name).type) for name in names])
    if not files:
        return schema.empty_table()
    try:
        rows = ds.dataset([file.path for file in files]).to_table(columns=schema.names, filter=condition)
    except (OSError, pa.ArrowException) as problem:
        raise ArtefactError(
            f"a file of a table is missing or damaged: {contract.name} ({str(problem).splitlines()[0]}). Restore it, or"
            " run the stage that makes the table again."
        ) from None
    return rows.cast(schema)


def _found(rows: dict[str, pa.Table]) -> MemberRows | None:
    none = {field: schema.empty_table() for field, (_, schema) in READ.items()}
    return MemberRows(**{**none, **rows}) if rows["profiles"].num_rows else None
