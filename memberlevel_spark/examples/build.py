"""Examples: encoded features joined with their label and split.

In: ``member_features``, ``member_sequences``, ``member_labels``. Out: ``examples``, one row per member and labelled
as-of date, laid out for the feed: a fixed number of files per split, each a random sample of its rows.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.features.breakdowns import Breakdown, OfEntries, published_features
from memberlevel_spark.features.declare import scalar_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import EXAMPLES
from memberlevel_spark.timeline import Split

KEY = ["member_id", "as_of_date"]


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
    weekly = [Input(f"weekly_{measure}", week) for measure in measures for week in range(num_weeks)]
    profiles = [item for feature in profile for item in _profile_inputs(feature)]
    return (*tiles, *profiles, *scalars, *weekly)


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


def join_features(features: DataFrame, sequences: DataFrame) -> DataFrame:
    """Features and sequences of the same member and as-of date, side by side."""
    return features.join(sequences, KEY, "inner")


def join_labels(inputs: DataFrame, labels: DataFrame, split: Split) -> DataFrame:
    """Add target_level and the split of each as-of date; dates of no split are left out."""
    named = {day: name for name in ("train", "validation", "test") for day in getattr(split, name)}
    pairs = [item for day, name in named.items() for item in (F.lit(day), F.lit(name))]
    targets = labels.select(*KEY, "target_level", F.create_map(*pairs)[F.col("as_of_date")].alias("split"))
    return inputs.join(targets.where(F.col("split").isNotNull()), KEY, "inner")


def build_examples(labelled: DataFrame, encoder: Encoder, *, files_per_split: int) -> DataFrame:
    """Encode and lay out. Rows go to files by a hash of their key, so that the layout is the same on any cluster."""
    encoded = labelled.select(
        *KEY,
        F.xxhash64(*KEY).alias("row_key"),
        "level_now",
        "target_level",
        encoder.encode().alias("features"),
        "split",
    )
    shuffled = encoded.withColumn("file", F.pmod(F.xxhash64("row_key", F.lit(1)), F.lit(files_per_split)).cast("int"))
    laid_out = shuffled.repartitionById(files_per_split, F.col("file")).sortWithinPartitions("split", "row_key")
    return laid_out.select(*EXAMPLES.schema.names)
