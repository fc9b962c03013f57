"""The members of some as-of dates as a model reads them: encoded by the model's own encoder.

In: features and sequences. Out: one row per member and as-of date with ``features`` (array<float>).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
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


def encode_members(
    run: Run, encoder: Encoder, dates: Sequence[date], *, kept: Sequence[str], only: DataFrame | None = None
) -> EncodedMembers:
    """Encode the members of some dates; ``kept`` are further columns beside member_id and as_of_date.

    ``only`` leaves out all members but those of its column member_id.

    Errors: ArtefactError when a date has no features, or they are not those the encoder was fitted on.
    """
    read = {name: run.tables.version(name) for name in encoder.tables}
    features, *sequences = (run.tables.read(name, version) for name, version in read.items())
    members = features.where(F.col("as_of_date").isin(list(dates)))
    if only is not None:
        members = members.join(F.broadcast(only), "member_id", "left_semi")
    found = {row["as_of_date"]: row["count"] for row in members.groupBy("as_of_date").count().collect()}
    missing = [str(day) for day in dates if day not in found]
    if missing:
        raise ArtefactError(
            f"there are no features for as-of dates: {first_five(missing)}. Run features for them first."
        )
    inputs = join_features(members, *sequences)
    encoder.require_columns(inputs)
    encoder.require_meaning(published_meaning(run))
    encoded = inputs.select(*KEY, *kept, encoder.encode().alias("features"))
    return EncodedMembers(encoded, sum(found.values()), read)
