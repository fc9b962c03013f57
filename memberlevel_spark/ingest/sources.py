"""The rows silver has to take: every map of every source over the bronze batches that are new, typed and judged."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.config.ingest import MapConfig, SourceConfig
from memberlevel_spark.ingest.canonical import CANONICAL, EVENT_TYPES, GOOD
from memberlevel_spark.ingest.mapping import SourceMap, beyond_ascii, map_rows
from memberlevel_spark.ingest.money import daily_rates
from memberlevel_spark.ingest.quality import Tally, tally_columns
from memberlevel_spark.ingest.reader import BATCH
from memberlevel_spark.ingest.silver import with_status
from memberlevel_spark.run import Run
from memberlevel_spark.tables import DeltaTables

LITERAL = re.compile(r"^\s*'(\w+)'\s*$")


@dataclass(frozen=True)
class Part:
    """The new rows of one source for one canonical table, mapped."""

    source_map: SourceMap
    rows: DataFrame

    @property
    def key(self) -> tuple[str, str]:
        """Source and table."""
        return self.source_map.source, self.source_map.table


def staged(tables: DeltaTables, parts: Sequence[Part]) -> list[Part]:
    """The same parts, their rows typed once and put aside: every later step only reads them."""
    return [replace(part, rows=tables.stage(f"{number}", part.rows)) for number, part in enumerate(parts)]


@dataclass(frozen=True)
class Bronze:
    """The pinned bronze tables of a run; ``since`` is the last batch of each source that was taken before."""

    run: Run
    versions: Mapping[str, int]
    since: Mapping[str, int]

    @classmethod
    def pinned(cls, run: Run) -> "Bronze":
        """All batches of the latest versions. Errors: ArtefactError when a bronze table is missing."""
        names = run.config.sources
        return cls(run, {name: run.tables.version(f"bronze_{name}") for name in names}, dict.fromkeys(names, -1))

    def all_rows(self, source: str) -> DataFrame:
        """Every row of a source."""
        return self.run.tables.read(f"bronze_{source}", self.versions[source])

    def new_rows(self, source: str) -> DataFrame:
        """The rows that were not taken yet."""
        return self.all_rows(source).where(F.col(BATCH) > self.since[source])

    def taken_rows(self, source: str) -> DataFrame:
        """The rows that were taken before."""
        return self.all_rows(source).where(F.col(BATCH) <= self.since[source])

    def last_batches(self) -> dict[str, int]:
        """The newest batch of each source, -1 for a source without rows."""
        newest = [
            self.all_rows(name).agg(F.lit(name).alias("source"), F.max(BATCH).alias("batch")) for name in self.versions
        ]
        return {row[0]: -1 if row[1] is None else row[1] for row in reduce(DataFrame.unionAll, newest).collect()}

    def parts(self, names: Iterable[str]) -> list[Part]:
        """The new rows of the named sources, mapped to their tables."""
        config, rates = self.run.config, self._rates()
        maps = [SourceMap.of(config, name, mapping) for name in names for mapping in config.sources[name].maps]
        unicode = self._beyond_ascii(maps)
        parts = []
        for number, source_map in enumerate(maps):
            its_rates = rates if source_map.may_be_foreign else None
            source_map = replace(source_map, rates=its_rates, unicode=number in unicode)
            parts.append(Part(source_map, map_rows(self.new_rows(source_map.source), source_map)))
        return parts

    def _beyond_ascii(self, maps: list[SourceMap]) -> set[int]:
        """Positions of the maps whose new rows have identifiers that need Unicode normalisation; most shops have none,
        and it runs in Python."""
        found = [beyond_ascii(self.new_rows(source_map.source), source_map) for source_map in maps]
        numbered = [frame.where("unicode").select(F.lit(number)) for number, frame in enumerate(found)]
        return {row[0] for row in reduce(DataFrame.unionAll, numbered).distinct().collect()}

    def good_rows(
        self, table: str, rows_of: Callable[[str], DataFrame] | None = None, *, unicode: bool = False
    ) -> DataFrame | None:
        """The good rows for one table among ``rows_of`` every source (None: all); None when no source maps to it."""
        frames = []
        for name, mapping in self.maps_to(table):
            source_map = replace(SourceMap.of(self.run.config, name, mapping), unicode=unicode)
            good = with_status(map_rows((rows_of or self.all_rows)(name), source_map), GOOD)
            frames.append(good.select(*CANONICAL[table]))
        return reduce(DataFrame.unionAll, frames) if frames else None

    def reprices(self) -> bool:
        """Whether new rates change what events taken before are worth."""
        before = self._rates(self.taken_rows).withColumnRenamed("rate", "rate_before")
        changed = before.join(self._rates(), ["currency", "rate_day"]).where("rate <> rate_before")
        maps = [SourceMap.of(self.run.config, name, mapping) for name, mapping in self.maps_to("events")]
        foreign = [source_map for source_map in maps if source_map.may_be_foreign]
        if not foreign or changed.isEmpty():
            return False
        keys = changed.select("currency", F.col("rate_day").alias("day"))
        taken = [map_rows(self.taken_rows(m.source), replace(m, rates=self._rates())) for m in foreign]
        return any(not rows.join(F.broadcast(keys), ["currency", "day"], "left_semi").isEmpty() for rows in taken)

    def maps_to(self, table: str) -> list[tuple[str, MapConfig]]:
        """The maps to one table, each with the name of its source."""
        sources = self.run.config.sources
        return [(name, mapping) for name, source in sources.items() for mapping in source.maps if mapping.to == table]

    def _rates(self, rows_of: Callable[[str], DataFrame] | None = None) -> DataFrame:
        """The rate of each currency and day; without a source of rates there is none for any."""
        good = self.good_rows("rates", rows_of)
        if good is None:
            good = self.run.tables.spark.createDataFrame([], "currency string, day date, rate decimal(18,9)")
        return daily_rates(good, self.run.config.ingest.max_rate_age_days)


def tallies_of(parts: Sequence[Part]) -> dict[tuple[str, str], Tally]:
    """Count the rows of every source for every table, in one query; two maps to one table count together."""
    if not parts:
        return {}
    counted = [p.rows.agg(*tally_columns(p.source_map.rules)) for p in parts]
    numbered = [
        frame.select(F.lit(n).alias("part"), F.to_json(F.struct("*")).alias("tally")) for n, frame in enumerate(counted)
    ]
    rows = reduce(DataFrame.unionAll, numbered).collect()
    tallies: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        tallies[parts[row.part].key].update(json.loads(row.tally))
    return dict(tallies)


def possible_types(source: SourceConfig, mapping: MapConfig) -> set[str]:
    """The event types a map can give, as far as the YAML tells: all of them unless it translates or names one."""
    literal = LITERAL.match(mapping.columns["event_type"])
    if literal:
        return {source.event_types.get(literal[1], literal[1])} if source.event_types else {literal[1]}
    return set(source.event_types.values()) or set(EVENT_TYPES)


def shop_types(config: Config) -> set[str]:
    """The event types any source of the shop can give."""
    return {
        event_type
        for source in config.sources.values()
        for mapping in source.maps
        if mapping.to == "events"
        for event_type in possible_types(source, mapping)
    }
