"""Daily tiles and window features at the size of a shop: 20 million events of 500,000 members, next to DuckDB, Polars.

Events come in visits of five, on one day. They are skewed (a member's share falls with their number), and one member
alone has 500,000 of them. Ours are the builders of the stages, on Delta tables; the peers read the same Parquet files
with as many threads, DuckDB's features in the better of two formulations. Tiles are compared row by row; ours with
DuckDB's features for every hundredth member, those of Polars with DuckDB's on the last date.
"""

import os
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.tiles import build_member_days
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEMBER_DAYS
from memberlevel_spark.tables import DeltaTables
from tests.bench import engine_polars
from tests.bench.memory import peak_memory

SMALL, LARGE, DAYS, DATES, CORES = 5_000_000, 20_000_000, 400, 28, 2
EVENTS_PER_MEMBER, WHALE_SHARE = 40, 0.025
FIRST = date(2024, 1, 1)
LAST = FIRST + timedelta(days=DAYS - 1)
NEXT = LAST + timedelta(days=1)
MEASURES = ("num_orders", "num_items", "spend_cents", "discount_cents", "num_views", "num_cart_adds")
WINDOWS_DAYS = (1, 7, 14, 28, 56, 91, 182, 364)
DECLARED = tuple(
    [Feature(m, "sum", window_days=days) for days in WINDOWS_DAYS for m in MEASURES]
    + [Feature("num_views", "count", window_days=days) for days in WINDOWS_DAYS]
)
AS_OF = tuple(LAST - timedelta(days=7 * back) for back in range(DATES - 1, -1, -1))
RULES = LevelRules(
    LevelsConfig.model_validate(
        {"metric": "spend_cents", "window_days": 91, "programme": [{"name": "a"}, {"name": "b", "at_least": 30_000}]}
    )
)
EVENTS_SQL = """
COPY (
    SELECT 'e' || i AS event_id,
           'm' || CASE WHEN u < $whale THEN 0 ELSE floor(power(v, 2) * $members)::BIGINT END AS member_id,
           DATE '2024-01-01' + (hash(visit, 'day') % 400)::INTEGER AS day,
           CASE WHEN hash(i, 'type') % 10 = 0 THEN 'order' WHEN hash(i, 'type') % 10 = 1 THEN 'cart_add' ELSE 'view'
               END AS event_type,
           'o' || visit AS order_id, 's' || visit AS session_id,
           1 + (hash(i, 'units') % 4)::BIGINT AS quantity,
           CASE WHEN hash(i, 'type') % 10 = 0 THEN (hash(i, 'cents') % 5000)::BIGINT ELSE 0 END AS net_cents,
           (hash(i, 'rebate') % 100)::BIGINT AS discount_cents, 0::BIGINT AS points, NULL::VARCHAR AS flag
    FROM (SELECT i, i // 5 AS visit, hash(i // 5, 'whale') / 18446744073709551616.0 AS u,
                 hash(i // 5, 'member') / 18446744073709551616.0 AS v
          FROM range($events) t(i))
) TO '{target}' (FORMAT parquet, ROW_GROUP_SIZE 500000)
"""
NEXT_DAY_SQL = """
COPY (SELECT * REPLACE (day + 1 AS day) FROM '{events}' WHERE day = $last) TO '{target}' (FORMAT parquet)
"""
MEMBERS_SQL = """
COPY (SELECT DISTINCT member_id, $first::DATE AS known_from FROM '{events}') TO '{target}' (FORMAT parquet)
"""
TILES_SQL = """
CREATE OR REPLACE TABLE tiles AS
SELECT member_id, day,
       count(DISTINCT CASE WHEN event_type = 'order' THEN order_id END) AS num_orders,
       sum(CASE WHEN event_type = 'order' THEN quantity ELSE 0 END)::BIGINT AS num_items,
       sum(net_cents)::BIGINT AS spend_cents,
       sum(CASE WHEN event_type = 'order' THEN discount_cents ELSE 0 END)::BIGINT AS discount_cents,
       count(*) FILTER (event_type = 'view') AS num_views,
       count(*) FILTER (event_type = 'cart_add') AS num_cart_adds,
       count(DISTINCT CASE WHEN event_type <> 'order' THEN session_id END) AS num_sessions,
       count(*) AS num_events
FROM '{events}'
WHERE member_id IS NOT NULL AND flag IS NULL
GROUP BY member_id, day;
COPY tiles TO '{target}' (FORMAT parquet);
"""


def measure(
    spark: SparkSession, scratch: Path, small: int = SMALL, large: int = LARGE
) -> dict[str, tuple[float, str, str]]:
    """Tiles and features of both sizes. Errors: AssertionError when ours and the peer's results differ."""
    with peak_memory(os.getpid()) as peak:
        first, second = (_Shop(spark, scratch / str(number), number) for number in (small, large))
        small_tiles, small_features = first.our_tiles(), first.our_features(AS_OF)
        tiles, whole = second.our_tiles(), second.our_features(AS_OF)
        one, day, next_date = second.our_features(AS_OF[-1:]), second.our_next_day(), second.our_features((NEXT,))
    peer_tiles, peer_one, peer_all = second.peer_tiles(), second.peer_features(AS_OF[-1:]), second.peer_features(AS_OF)
    second.assert_same()
    polars_tiles, polars_one, polars_all = second.polars_tiles(), *map(second.polars_features, (AS_OF[-1:], AS_OF))
    second.assert_polars_same()
    return {
        "tiles_vs_duckdb": (
            tiles / peer_tiles,
            "x seconds",
            _three(peer_tiles, polars_tiles, tiles),
        ),
        "tiles_20m_vs_5m": (tiles / small_tiles, "x seconds", f"{small:,} events in {small_tiles:.1f} s (4 is linear)"),
        "features_1_date_vs_duckdb": (one / peer_one, "x seconds", _three(peer_one, polars_one, one)),
        "features_28_dates_vs_duckdb": (whole / peer_all, "x seconds", _three(peer_all, polars_all, whole)),
        "features_20m_vs_5m": (whole / small_features, "x seconds", f"{small:,} events: {small_features:.1f} s"),
        "features_28_dates_vs_1_date": (whole / one, "x seconds", f"one date: {one:.1f} s (28 would be linear)"),
        "daily_increment_vs_full": (
            (day + next_date) / (tiles + whole),
            "x seconds",
            f"all tiles and 28 dates: {tiles + whole:.1f} s; the next day's tiles {day:.1f}, its date {next_date:.1f}",
        ),
        "levels_replay_seconds": (
            second.replay_seconds,
            "s",
            f"nothing: {large // EVENTS_PER_MEMBER:,} members, {DAYS} days; {first.replay_seconds:.1f} s for {small:,}",
        ),
        "engine_peak_memory": (peak.gb, "GB", "nothing: driver, JVM and workers"),
    }


class _Shop:
    """One size of the shop: its events as Parquet, its tiles as Delta and in the peer's database."""

    def __init__(self, spark: SparkSession, folder: Path, num_events: int) -> None:
        self.spark, self.folder = spark, folder
        folder.mkdir(parents=True)
        self.db = duckdb.connect(str(folder / "peer.duckdb"))
        self.db.execute(f"SET threads = {CORES}; SET enable_progress_bar = false; SET memory_limit = '6GB'")
        values = {"whale": WHALE_SHARE, "members": num_events // EVENTS_PER_MEMBER, "events": num_events}
        self.db.execute(EVENTS_SQL.format(target=self.events), values)
        self.db.execute(NEXT_DAY_SQL.format(events=self.events, target=self.next_events), {"last": LAST})
        self.db.execute(MEMBERS_SQL.format(events=self.events, target=self.members), {"first": FIRST})
        self.tables = DeltaTables(spark, str(folder / "tables"), {})
        self.replay_seconds = 0.0

    @property
    def events(self) -> str:
        return str(self.folder / "events.parquet")

    @property
    def next_events(self) -> str:
        return str(self.folder / "next_events.parquet")

    @property
    def members(self) -> str:
        return str(self.folder / "members.parquet")

    def our_tiles(self) -> float:
        """Seconds from the events to the Delta table."""
        tiles = build_member_days(self.spark.read.parquet(self.events))
        return _seconds(lambda: self.tables.replace(MEMBER_DAYS, tiles))

    def our_next_day(self) -> float:
        """Seconds to add one more day to the table of all days, from the files that came on it."""
        tiles = build_member_days(self.spark.read.parquet(self.next_events))
        return _seconds(lambda: self.tables.replace_slice(MEMBER_DAYS, tiles, {"day": [NEXT]}))

    def our_features(self, dates: tuple[date, ...]) -> float:
        """Seconds of the features of these dates, level standing included, without a sink; the levels are given."""
        levels = self._levels().persist()
        self.replay_seconds = _seconds(levels.count)
        windows = self._windows(dates, levels, self.tables.read("member_days"))
        seconds = _seconds(lambda: windows.write.format("noop").mode("overwrite").save())
        levels.unpersist()
        return seconds

    def peer_tiles(self) -> float:
        """Seconds from the same events to a table and a Parquet file."""
        script = TILES_SQL.format(events=self.events, target=self.folder / "peer.parquet")
        return _seconds(lambda: self.db.execute(script))

    def peer_features(self, dates: tuple[date, ...]) -> float:
        """Seconds of the better formulation: joins for all dates at once, or date by date what one query of all dates
        would spill by tens of gigabytes."""
        self._ask_for(dates)
        joined = _seconds(lambda: self.db.execute(f"CREATE OR REPLACE TABLE features AS {_asof_sql()}"))
        self.db.execute("TRUNCATE features")
        return min(joined, _seconds(lambda: [self._add_filtered(day) for day in dates]))

    def _add_filtered(self, day: date) -> None:
        self._ask_for((day,))
        self.db.execute(f"INSERT INTO features {_filtered_sql()}")

    def _ask_for(self, dates: tuple[date, ...]) -> None:
        days = ", ".join(f"(DATE '{day}')" for day in dates)
        self.db.execute(f"CREATE OR REPLACE TABLE dates AS SELECT * FROM (VALUES {days}) t(as_of)")

    def polars_tiles(self) -> float:
        """Seconds from the same events to a Parquet file."""
        return _seconds(lambda: engine_polars.write_tiles(self.events, self.folder / "polars.parquet"))

    def polars_features(self, dates: tuple[date, ...]) -> float:
        """Seconds of the features, date by date."""
        tiles, target = self.folder / "polars.parquet", self.folder / "polars_features.parquet"
        return _seconds(lambda: engine_polars.write_features(tiles, DECLARED, dates, target))

    def assert_polars_same(self) -> None:
        """Errors: AssertionError when the tiles, or the features of the last date, differ from DuckDB's."""
        for table, file, names in (
            ("tiles", "polars.parquet", ["member_id", "day", *MEASURES, "num_sessions", "num_events"]),
            (f"(FROM features WHERE as_of = DATE '{LAST}')", "polars_features.parquet", ["member_id", *_names()]),
        ):
            summary = f"SELECT count(*), sum(hash({', '.join(names)}))::VARCHAR FROM "
            found = [self.db.execute(summary + source).fetchone() for source in (table, f"'{self.folder / file}'")]
            assert found[0] == found[1], f"{file} differs: {found}"

    def assert_same(self) -> None:
        """Errors: AssertionError when tiles or features differ."""
        names = "member_id, day, " + ", ".join([*MEASURES, "num_sessions", "num_events"])
        live = self.tables.read("member_days").inputFiles()
        ours = f"(FROM read_parquet({[file.removeprefix('file://') for file in live]}) WHERE day <= DATE '{LAST}')"
        summary = "SELECT count(*), sum(hash({0}))::VARCHAR FROM {1}"
        found = [self.db.execute(summary.format(names, table)).fetchone() for table in (ours, "tiles")]
        assert found[0] == found[1], f"tiles differ: {found}"
        sample = self.tables.read("member_days").where(F.crc32("member_id") % 100 == 0)
        members = sample.select("member_id").distinct()
        self._windows(AS_OF, self._levels(), sample, members).write.mode("overwrite").parquet(f"{self.folder}/ours")
        values = ", ".join(f"longs[{number}]" for number in range(1, len(DECLARED) + 1))
        columns = ", ".join(_names())
        self.db.execute(
            f"CREATE OR REPLACE VIEW sample AS SELECT member_id, (DATE '1970-01-01' + as_of_day) AS as_of,"
            f" hash({values}) AS digest, longs FROM read_parquet('{self.folder}/ours/*.parquet')"
        )
        differing = self.db.execute(
            f"SELECT count(*), count(*) FILTER (s.digest <> hash({columns})) FROM sample s"
            " JOIN features f USING (member_id, as_of)"
        ).fetchone()
        assert differing is not None and differing[0] > 0 and differing[1] == 0, f"features differ: {differing}"
        silent = self.db.execute(
            "SELECT count(*) FROM sample s ANTI JOIN features f USING (member_id, as_of) WHERE list_sum(longs) <> 0"
        ).fetchone()
        assert silent == (0,), f"features of members that the peer has none of: {silent}"

    def _members(self) -> DataFrame:
        return self.spark.read.parquet(self.members)

    def _levels(self) -> DataFrame:
        return build_member_levels(self._members(), self.tables.read("member_days"), RULES, through=LAST)

    def _windows(
        self, dates: tuple[date, ...], levels: DataFrame, tiles: DataFrame, only: DataFrame | None = None
    ) -> DataFrame:
        plan = WindowPlan(MEASURES, days_since_epoch(dates), DECLARED, 0, RULES, 28)
        members = self._members()
        if only is not None:
            members, levels = (frame.join(only, "member_id", "left_semi") for frame in (members, levels))
        return build_windows(members, tiles, levels, plan)


def _names() -> list[str]:
    return [feature.name for feature in DECLARED]


def _three(duckdb_seconds: float, polars_seconds: float, ours: float) -> str:
    return f"DuckDB: {duckdb_seconds:.1f} s, Polars {polars_seconds:.1f}, ours {ours:.1f}"


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _filtered_sql() -> str:
    """Tiles times dates, then one filtered aggregate per feature."""

    def aggregate(feature: Feature) -> str:
        what = f"sum({feature.measure})" if feature.aggregate == "sum" else "count(*)"
        only = "" if feature.aggregate == "sum" else f" AND {feature.measure} <> 0"
        return f"coalesce({what} FILTER (day > as_of - {feature.window_days}{only}), 0)::BIGINT AS {feature.name}"

    values = ", ".join(map(aggregate, DECLARED))
    return (
        f"SELECT member_id, as_of, {values} FROM tiles JOIN dates"
        f" ON day <= as_of AND day > as_of - {max(WINDOWS_DAYS)} GROUP BY member_id, as_of"
    )


def _asof_sql() -> str:
    """Cumulative sums, then one ASOF join per end of a window."""
    measures = {**{m: m for m in MEASURES}, "active": "(num_views <> 0)::BIGINT"}
    sums = ", ".join(f"sum({value}) OVER w AS {name}" for name, value in measures.items())
    joins = "".join(
        f" ASOF LEFT JOIN sums s{days} ON g.member_id = s{days}.member_id AND g.as_of - {days} >= s{days}.day"
        for days in (0, *WINDOWS_DAYS)
    )
    values = ", ".join(
        f"(coalesce(s0.{name}, 0) - coalesce(s{f.window_days}.{name}, 0))::BIGINT AS {f.name}"
        for f in DECLARED
        for name in [f.measure if f.aggregate == "sum" else "active"]
    )
    return (
        f"WITH sums AS (SELECT member_id, day, {sums} FROM tiles"
        " WINDOW w AS (PARTITION BY member_id ORDER BY day)),"
        " g AS (SELECT member_id, as_of FROM (SELECT DISTINCT member_id FROM tiles), dates)"
        f" SELECT g.member_id, g.as_of, {values} FROM g{joins}"
    )
