"""Window features of 28 dates against 28 times one date: one pass should cost far less."""

from datetime import date, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES
from tests.bench.timing import best_seconds

MEMBERS, TILES_PER_MEMBER, FIRST = 50_000, 8, date(2024, 1, 1)
WINDOWS_DAYS = (7, 14, 28, 56, 91, 182)
DECLARED = tuple(Feature(m, a, window_days=days) for m in MEASURES for a in ("sum", "count") for days in WINDOWS_DAYS)
PROGRAMME = ({"name": "base"}, {"name": "silver", "at_least": 5000}, {"name": "gold", "at_least": 12000})
RULES = LevelRules(LevelsConfig.model_validate({"metric": "spend_cents", "window_days": 91, "programme": PROGRAMME}))


def measure(spark: SparkSession) -> dict[str, tuple[float, str, str]]:
    """Seconds of 28 weekly as-of dates over seconds of one, 50 k members and 400 k tiles."""
    ids = spark.range(MEMBERS * TILES_PER_MEMBER)
    tiles = ids.select(
        (F.col("id") % MEMBERS).cast("string").alias("member_id"),
        F.date_add(F.lit(FIRST), (F.abs(F.hash("id")) % 360).cast("int")).alias("day"),
        *[(F.abs(F.hash("id", F.lit(name))) % 5000).cast("bigint").alias(name) for name in MEASURES],
    )
    sums = [F.sum(name).alias(name) for name in MEASURES]
    tiles = tiles.groupBy("member_id", "day").agg(*sums).persist()
    known = spark.range(MEMBERS).select(F.col("id").cast("string").alias("member_id"), F.lit(FIRST).alias("known_from"))
    levels = build_member_levels(known, tiles, RULES, through=FIRST + timedelta(days=360)).persist()
    tiles.count()
    levels.count()
    seconds = {}
    for num_dates in (1, 28):
        dates = [FIRST + timedelta(days=360 - 7 * back) for back in range(num_dates)]
        plan = WindowPlan(MEASURES, days_since_epoch(dates), DECLARED, 13, RULES, 28)
        windows = build_windows(known, tiles, levels, plan)
        seconds[num_dates] = best_seconds(lambda frame=windows: frame.write.format("noop").mode("overwrite").save(), 2)  # type: ignore[misc]
    tiles.unpersist()
    levels.unpersist()
    return {"features_28_dates_vs_1": (seconds[28] / seconds[1], "x seconds", "one date (28 would be linear)")}
