"""Nested samples of the members, as files for the feed.

In: ``backtest_examples`` of some as-of dates. Out: the same rows, ``split`` being the smallest share of the members
that the row's member belongs to; so the files of a share are those of all splits up to it.
"""

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.build import lay_out

# A member's place is a multiple of 2^-20 in [0, 1), by a hash of the id alone: the same at every date.
NUM_PLACES = 2**20
SALT = "learning curve"


def build_share_examples(examples: DataFrame, shares: Sequence[float], *, files_per_split: int) -> DataFrame:
    """``shares`` in ascending order; members beyond the last of them are left out."""
    place = F.pmod(F.xxhash64("member_id", F.lit(SALT)), F.lit(NUM_PLACES)) / NUM_PLACES
    # From the largest share inwards, each one narrows down what the larger ones have said.
    smallest = reduce(
        lambda said, share: F.when(place < share, F.lit(split_of(share))).otherwise(said),
        reversed(shares),
        F.lit(None).cast("string"),
    )
    sampled = examples.withColumn("split", smallest).where(F.col("split").isNotNull())
    return lay_out(sampled, files_per_split=files_per_split)


def split_of(share: float) -> str:
    """The split of the members that the share adds to the one before it, such as ``0.125``."""
    return f"{share:g}"
