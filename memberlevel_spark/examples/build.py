"""Examples: encoded features joined with their label and split.

In: ``member_features``, ``member_sequences``, ``member_labels``. Out: ``examples``, one row per member and labelled
as-of date, laid out for the feed: a fixed number of files per split, each a random sample of its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.encoder import WEEKLY, Encoder, Input, Need
from memberlevel_spark.examples.group_numbers import group_number
from memberlevel_spark.examples.next_category import category_number
from memberlevel_spark.features.breakdowns import Breakdown, OfEntries, published_features
from memberlevel_spark.features.declare import scalar_features, to_level_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import EXAMPLES, TableContract, with_group, with_next_category
from memberlevel_spark.timeline import Split

KEY = ["member_id", "as_of_date"]
# What follows the target level: how many orders, and what they brought net of refunds, in minor units.
OUTCOMES = ("num_orders", "spend_cents")
# More than any metric can bring: a level that asks for any of its metrics, and not for this one.
OUT_OF_REACH = 1e12


def model_inputs(
    declared: Sequence[Feature],
    rules: LevelRules,
    measures: Sequence[str],
    num_weeks: int,
    *,
    profile: Sequence[ProfileFeature] = (),
    breakdowns: Sequence[Breakdown] = (),
) -> tuple[Input, ...]:
    """Everything the model reads, in order: features of tiles, of profiles, scalars, weekly sums of every measure.

    A number of a profile is read as it is, a category as one input per entry of its vocabulary and one for others; so
    is the category that is in some place by a measure.
    """
    num_parts = {b.name: b.num_parts for b in breakdowns}
    tiles = [item for f in published_features(declared, breakdowns) for item in _tile_inputs(f, num_parts)]
    scalars = [Input(feature.name) for feature in scalar_features(rules)]
    weekly = [Input(f"{WEEKLY}{measure}", week) for measure in measures for week in range(num_weeks)]
    profiles = [item for feature in profile for item in _profile_inputs(feature)]
    return (*tiles, *profiles, *scalars, *weekly)


def level_needs(rules: LevelRules) -> tuple[Need, ...]:
    """What each metric lacks to each level above the lowest, metric by metric.

    A level that does not ask for a metric is reached by it at once where all metrics count, and never where any does.
    """
    distances = {name for name, _, _ in to_level_features(rules)}
    otherwise = 0.0 if rules.config.reach == "all" else OUT_OF_REACH
    needs = []
    for metric in rules.metrics:
        for level in range(1, rules.num_levels):
            column = f"to_level_{level}_{metric}_carry_over"
            needs.append(Need(metric, level, column) if column in distances else Need(metric, level, always=otherwise))
    return tuple(needs)


def _tile_inputs(published: Feature | OfEntries, num_parts: Mapping[str, int]) -> list[Input]:
    feature = published if isinstance(published, Feature) else published.feature
    meaning = None if isinstance(published, Feature) else published.digest
    if feature.aggregate == "top":
        return [Input(feature.name, equals=part, meaning=meaning) for part in range(num_parts[feature.measure])]
    return [Input(feature.name, when_null=feature.when_null, meaning=meaning)]


def _profile_inputs(feature: ProfileFeature) -> list[Input]:
    if feature.kind == "number":
        return [Input(feature.name, meaning=feature.digest)]
    return [Input(feature.name, equals=index, meaning=feature.digest) for index in feature.indices]


def join_features(features: DataFrame, *sequences: DataFrame) -> DataFrame:
    """Features and sequences of the same member and as-of date, side by side."""
    joined = features
    for each in sequences:
        joined = joined.join(each, KEY, "inner")
    return joined


def join_labels(inputs: DataFrame, labels: DataFrame, split: Split) -> DataFrame:
    """Add target_level, outcomes, first_category and the split of each as-of date; dates of no split are left out."""
    pairs = [item for day in split.dates for item in (F.lit(day), F.lit(split.name_of(day)))]
    return join_outcomes(inputs, labels, F.create_map(*pairs)[F.col("as_of_date")])


def join_outcomes(inputs: DataFrame, labels: DataFrame, split: Column) -> DataFrame:
    """Add target_level, outcomes, first_category and ``split``, as text; labels whose split is null are left out."""
    outcomes = F.array(*[F.col(name).cast("float") for name in OUTCOMES]).alias("outcomes")
    targets = labels.select(*KEY, "target_level", outcomes, "first_category", split.cast("string").alias("split"))
    return inputs.join(targets.where(F.col("split").isNotNull()), KEY, "inner")


@dataclass(frozen=True)
class Groups:
    """The column of a protected attribute, and those of its groups that have a number of their own."""

    column: str
    names: tuple[str, ...]


def examples_contract(
    encoder: Encoder, examples: TableContract = EXAMPLES, *, groups: Groups | None = None
) -> TableContract:
    """The contract of the examples that an encoder makes: with the next category where one is told, and the group where
    rows are weighed by groups."""
    told = with_next_category(examples) if encoder.next_categories else examples
    return with_group(told, groups.column) if groups else told


def build_examples(
    labelled: DataFrame, encoder: Encoder, *, files_per_split: int, groups: Groups | None = None
) -> DataFrame:
    """Encode and lay out; ``next_category`` is there only where one is told, the number of the group, from its text in
    the column of the same name, only with ``groups``."""
    told = encoder.next_categories
    number = F.array(category_number(F.col("first_category"), told)).alias("next_category")
    encoded = labelled.select(
        *KEY,
        F.xxhash64(*KEY).alias("row_key"),
        # As a number, which every reader of the feed knows: days since 1970-01-01.
        F.unix_date("as_of_date").alias("as_of_day"),
        "level_now",
        "target_level",
        "outcomes",
        encoder.encode().alias("features"),
        "split",
        *([number] if told else []),
        *([F.array(group_number(F.col(groups.column), groups.names)).alias(groups.column)] if groups else []),
    )
    return lay_out(encoded, files_per_split=files_per_split)


def lay_out(encoded: DataFrame, *, files_per_split: int) -> DataFrame:
    """Examples in the files that the feed reads: each a random part of the rows of its split; the same columns.

    Rows go to files by a hash of their key, so that the layout is the same on any cluster.
    """
    shuffled = encoded.withColumn("file", F.pmod(F.xxhash64("row_key", F.lit(1)), F.lit(files_per_split)).cast("int"))
    laid_out = shuffled.repartitionById(files_per_split, F.col("file")).sortWithinPartitions("split", "row_key")
    return laid_out.select(*encoded.columns)
