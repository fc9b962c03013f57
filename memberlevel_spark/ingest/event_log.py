"""Writing ``events``: a whole log in one go, or the days that new rows touch."""

from dataclasses import dataclass, field
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.ingest.identifiers import Pseudonyms
from memberlevel_spark.ingest.identity import links_by_device
from memberlevel_spark.ingest.increment import changed_orders, keyed, same_events, touched_days
from memberlevel_spark.ingest.refunds import CANCELLATION, REFUND, refunded_keys
from memberlevel_spark.ingest.repeats import count_repeats, repeated_keys
from memberlevel_spark.ingest.silver import (
    BASE,
    Special,
    Visits,
    build_events,
    pseudonymised,
    reopened,
    settled,
    typed_events,
)
from memberlevel_spark.ingest.sources import Bronze, Part, possible_types, shop_types
from memberlevel_spark.ingest.visits import BROWSING
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import EVENTS
from memberlevel_spark.tables import DAYS_STAMP, DeltaTables, Written

# Above it a set of keys is joined by shuffling instead of being sent to every task.
MAX_BROADCAST_KEYS = 5_000_000
MAX_BROADCAST_LINKS = 500_000  # devices with their links


@dataclass
class EventLog:
    """One run's work on ``events``; ``days`` are those rewritten (None: all), ``added`` the net number of new rows."""

    run: Run
    pseudonyms: Pseudonyms
    bronze: Bronze
    whole: bool
    days: tuple[date, ...] | None = None
    added: int = 0
    _repeated: DataFrame | None = None
    _held: list[DataFrame] = field(default_factory=list)

    def write(self, parts: list[Part], written: dict[str, Written]) -> list[tuple[str, str, int]]:
        """Write ``events``. Returns source, kind (exact or conflicting) and number of the rows that repeated others."""
        if self.whole:
            rows, refunding = self._rows(parts), [part for part in parts if self._may_refund(part)]
            self._repeated = self._keys(repeated_keys(rows))
            refunded = self._keys(refunded_keys(self._rows(refunding))) if refunding else None
            special = Special(self._repeated, refunded)
            events = build_events(settled(rows, special, self.pseudonyms), self._visits())
            commit = self._tables(None).replace(EVENTS, events)
            self.added = commit.rows
        else:
            commit, rows = self._write_days(parts)
        written[EVENTS.name] = commit
        return self._repeats(rows)

    @property
    def first_day(self) -> date:
        """The first rewritten day: nothing before it has changed."""
        return date.min if self.days is None else min(self.days, default=date.max)

    def first_seen(self) -> DataFrame:
        """First day of each member, as ``valid_from``, among the days from ``first_day`` on."""
        events = self.run.tables.read("events").where(F.col("member_id").isNotNull())
        if self.days is not None:
            events = events.where(F.col("day") >= F.lit(self.first_day))
        return events.groupBy("member_id").agg(F.min("day").alias("valid_from"))

    def release(self) -> None:
        """Give back what was held in memory."""
        while self._held:
            self._held.pop().unpersist()

    def _write_days(self, parts: list[Part]) -> tuple[Written, DataFrame]:
        """Rewrite the days that the new rows touch, from all their rows, and nothing else."""
        events, visits = self.run.tables.read("events"), self._visits()
        new = pseudonymised(self._rows(parts), self.pseudonyms).select(*BASE) if parts else None
        fresh = reopened(events.limit(0), visits.rules) if new is None else self._hold(new)
        same = self._hold(same_events(events, fresh))
        refunds = bool({REFUND, CANCELLATION} & shop_types(self.run.config))
        orders = self._hold(changed_orders(fresh, same)) if refunds else None
        touched = touched_days(events, fresh, same, orders=orders, links=self._new_links()).collect()
        self.days = tuple(sorted(row[0] for row in touched))
        on_days = F.col("day").isin(list(self.days)) if self.days else F.lit(False)
        before = events.where(on_days)
        # All rows of a changed order are among them: their days are touched.
        rows = keyed(reopened(before, visits.rules).unionByName(fresh))
        self._repeated = self._keys(repeated_keys(rows))
        changed = None if orders is None else rows.join(orders, "order_id", "left_semi")
        special = Special(self._repeated, None if changed is None else self._keys(refunded_keys(changed)))
        built = build_events(settled(rows, special), visits)
        if not self.days:
            return Written(self.run.tables.version("events"), lambda: 0), rows
        num_before = before.count()
        commit = self._tables(self.days).replace_slice(EVENTS, built, {"day": self.days})
        self.added = commit.rows - num_before
        return commit, rows

    def _rows(self, parts: list[Part]) -> DataFrame:
        return reduce(DataFrame.unionAll, [typed_events(part.rows) for part in parts])

    def _may_refund(self, part: Part) -> bool:
        types = possible_types(part.source_map.settings, part.source_map.mapping)
        return bool({REFUND, CANCELLATION} & types)

    def _visits(self) -> Visits:
        config = self.run.config
        links = self.bronze.good_rows("devices", unicode=True)
        if links is not None:
            links = self._keys(links_by_device(self._linked(links)), MAX_BROADCAST_LINKS)
        browses = bool(set(BROWSING) & shop_types(config))
        rules = [rule for rule in config.quality.rules if rule.table == "member_day"]
        return Visits(links, config.ingest.session_gap_minutes if browses else None, rules)

    def _new_links(self) -> DataFrame | None:
        links = self.bronze.good_rows("devices", self.bronze.new_rows, unicode=True)
        return None if links is None else self._linked(links)

    def _linked(self, links: DataFrame) -> DataFrame:
        """Device links under the pseudonyms that events carry."""
        names = {name: self.pseudonyms.member(F.col(name)) for name in ("device_id", "member_id")}
        rows = self.pseudonyms.with_pads(links).withColumns(names)
        return rows.select("device_id", "member_id", "valid_from")

    def _keys(self, keys: DataFrame, max_broadcast: int = MAX_BROADCAST_KEYS) -> DataFrame | None:
        """Rows by key, held for the joins to come; None when there are none."""
        held = self._hold(keys)
        number = held.count()
        if not number:
            return None
        return F.broadcast(held) if number <= max_broadcast else held

    def _hold(self, frame: DataFrame) -> DataFrame:
        self._held.append(frame.persist())
        return self._held[-1]

    def _repeats(self, rows: DataFrame) -> list[tuple[str, str, int]]:
        if self._repeated is None:
            return []
        repeats = count_repeats(rows.join(self._repeated, "event_key", "left_semi")).collect()
        return [(row["source"], kind, row[kind]) for row in sorted(repeats) for kind in ("exact", "conflicting")]

    def _tables(self, days: tuple[date, ...] | None) -> DeltaTables:
        """The tables, whose next commit says which days it changes."""
        return self.run.tables.with_stamp(**{DAYS_STAMP: "all" if days is None else [str(day) for day in days]})
