"""Named feature and sequence columns.

In: the kernel's rows (``windows.py``). Out: ``member_features`` and ``member_sequences``, one row per member and as-of
date. Declared features and numbers of profiles are null where their declaration says so; nothing else is ever null.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.features.declare import to_level_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.features.windows import names_of_type, standing_names
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import DOUBLE, INT, LONG, optional, required

# Of the standing: levels and days; metrics come after them.
NUM_LEVEL_FACTS = 7
SPARK_TYPES = {"long": LONG, "double": DOUBLE}


def feature_fields(
    declared: Sequence[Feature], rules: LevelRules, *, profile: Sequence[ProfileFeature] = ()
) -> list[T.StructField]:
    """The columns of ``member_features`` after its key, in order."""
    return [
        *[(optional if f.nullable else required)(f.name, SPARK_TYPES[f.kind.dtype]) for f in declared],
        *[(optional if f.nullable else required)(f.name, SPARK_TYPES[f.dtype]) for f in profile],
        *[required(name, INT) for name in ("tenure_days", *standing_names(rules)[:NUM_LEVEL_FACTS])],
        *[required(name, LONG) for name in standing_names(rules)[NUM_LEVEL_FACTS:]],
        *[required(name, LONG) for name, _, _ in to_level_features(rules)],
        *[required(f"to_keep_{metric}", LONG) for metric in rules.metrics],
    ]


def build_member_features(
    windows: DataFrame, declared: Sequence[Feature], rules: LevelRules, *, profile: Sequence[ProfileFeature] = ()
) -> DataFrame:
    """Name the kernel's values by the declarations and add tenure and the distance to each higher level."""
    elements = {
        name: F.col(f"{kind}s")[number]
        for kind in SPARK_TYPES
        for number, name in enumerate(names_of_type(declared, profile, kind))
    }
    standing = {name: F.col("standing")[number] for number, name in enumerate(standing_names(rules))}
    columns: dict[str, Column] = {
        **elements,
        "tenure_days": F.col("as_of_day") - F.col("known_day"),
        **standing,
        **{name: _missing(standing[have], needed) for name, have, needed in to_level_features(rules)},
        **{f"to_keep_{metric}": _to_keep(standing, metric, rules) for metric in rules.metrics},
    }
    fields = feature_fields(declared, rules, profile=profile)
    named = [columns[field.name].cast(field.dataType).alias(field.name) for field in fields]
    return windows.select("member_id", F.date_from_unix_date("as_of_day").alias("as_of_date"), *named)


def build_member_sequences(windows: DataFrame, measures: Sequence[str], num_weeks: int) -> DataFrame:
    """Weekly sums per measure as arrays of ``num_weeks``, newest week first; a week without events is 0."""
    columns = [
        F.slice("weekly", 1 + index * num_weeks, num_weeks).alias(f"weekly_{measure}")
        for index, measure in enumerate(measures)
    ]
    return windows.select("member_id", F.date_from_unix_date("as_of_day").alias("as_of_date"), *columns)


def _missing(metric: Column, needed: int) -> Column:
    return F.greatest(F.lit(needed) - metric, F.lit(0))


def _to_keep(standing: dict[str, Column], metric: str, rules: LevelRules) -> Column:
    """What is missing by carry-over to the level held now; 0 where it needs nothing, or is kept without it."""
    needs = F.array(*[F.lit(level.get(metric, 0)).cast("bigint") for level in rules.thresholds])
    missing = F.greatest(
        F.get(needs, standing["level_now"].cast("int")) - standing[f"level_{metric}_carry_over"], F.lit(0)
    )
    at_stake = standing["level_if_idle"] < standing["level_now"]
    return F.when(at_stake, missing).otherwise(F.lit(0))
