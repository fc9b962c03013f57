"""The members of some as-of dates as a model reads them: encoded by the model's own encoder.

In: features and sequences. Out: one row per member and as-of date with ``features`` (array<float>).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.examples.build import KEY, join_features
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.stage import published_meaning
from memberlevel_spark.run import Run


@dataclass(frozen=True)
class EncodedMembers:
    """Every member known on the dates, how many rows that is, and the versions of the tables they are from."""

    rows: DataFrame
    num_rows: int
    read: dict[str, int]


def encode_members(run: Run, encoder: Encoder, dates: Sequence[date], *, kept: Sequence[str]) -> EncodedMembers:
    """Encode the members of some dates; ``kept`` are further columns beside member_id and as_of_date.

    Errors: ArtefactError when a date has no features, or they are not those the encoder was fitted on.
    """
    read = {name: run.tables.version(name) for name in encoder.tables}
    on_dates = F.col("as_of_date").isin(list(dates))
    members = run.tables.read("member_features", read["member_features"]).where(on_dates)
    found = {row["as_of_date"]: row["count"] for row in members.groupBy("as_of_date").count().collect()}
    missing = [str(day) for day in dates if day not in found]
    if missing:
        raise ArtefactError(
            f"there are no features for as-of dates: {first_five(missing)}. Run features for them first."
        )
    encoded = encode_rows(run, encoder, read, on_dates, kept=kept)
    encoder.require_meaning(published_meaning(run))
    return EncodedMembers(encoded, sum(found.values()), read)


def encode_rows(
    run: Run, encoder: Encoder, versions: Mapping[str, int], condition: Column, *, kept: Sequence[str] = ()
) -> DataFrame:
    """Encode the rows that fit a condition, of these versions of the encoder's tables.

    Errors: ArtefactError when columns are missing.
    """
    features, *sequences = (run.tables.read(name, versions[name]) for name in encoder.tables)
    inputs = join_features(features.where(condition), *sequences)
    encoder.require_columns(inputs)
    return inputs.select(*KEY, *kept, encoder.encode().alias("features"))
