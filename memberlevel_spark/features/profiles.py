"""Profile features: what a member's profile said on the as-of date, as far as the shop knew it then.

In: ``members``, one row per member and valid_from. Out: for the window kernel, the profile history of each member as
arrays, and from them one value per declared attribute and as-of date.

A row that was delivered late, or corrected later, counts from the day on which the shop knew the attribute's value;
until then the row before it does. What a corrected row said before is not kept.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.features.kernel_axes import Questions
from memberlevel_spark.features.kernel_profiles import NOBODY, valid_row
from memberlevel_spark.features.vocabulary import NONE, UNKNOWN, Vocabulary, indices
from memberlevel_spark.levels.batches import flat, known_from, member_index

# Raised when the same profiles would give other values.
VERSION = 1
# The encoder sums squares of logarithms as integers; those of 64-bit numbers fit, those of any double do not.
NO_NUMBER = 2.0**63
NEVER_ENDS = 2**31 - 1
# Of the arrays; not "profile_...", since an attribute may have any name. After the last comes the feature's.
FROM, UNTIL, KNOWN = "valid_from", "valid_until", "known_"


@dataclass(frozen=True)
class ProfileFeature:
    """One attribute of the member profiles: a ``category`` as the index of its entry, or a ``number``."""

    attribute: str
    kind: str
    entries: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``profile_<attribute>``: the column, and its name in the vocabulary."""
        return f"profile_{self.attribute}"

    @property
    def dtype(self) -> str:
        """``long`` or ``double``, as the kernel's arrays are called."""
        return "long" if self.kind == "category" else "double"

    @property
    def nullable(self) -> bool:
        """Numbers may be null; a category without a value is 0."""
        return self.kind == "number"

    @property
    def meaning(self) -> str:
        """One sentence."""
        if self.kind == "number":
            of_day = "of the profile valid and known on the as-of date"
            return f"{self.attribute} {of_day}; null without one, or when no number below 2^63"
        return f"{self.attribute} of that profile: 0 without one, 1 for others, from 2 on {', '.join(self.entries)}"

    @property
    def digest(self) -> str:
        """Fingerprint of the meaning: the entries belong to it, since an index means nothing without them."""
        text = json.dumps([VERSION, self.attribute, self.kind, self.entries])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def indices(self) -> range:
        """The values of a category that are told apart by the encoder: unknown, then each entry."""
        return range(UNKNOWN, UNKNOWN + 1 + len(self.entries))


def profile_features(declared: Mapping[str, str], vocabulary: Vocabulary) -> tuple[ProfileFeature, ...]:
    """The declared attributes by name, so that their order in the configuration does not matter."""
    return tuple(
        ProfileFeature(attribute, kind, vocabulary.entries[f"profile_{attribute}"] if kind == "category" else ())
        for attribute, kind in sorted(declared.items())
    )


def build_profile_values(members: DataFrame, attributes: Sequence[str], *, through: date) -> DataFrame:
    """How many profiles that began, and were known, up to and including a day have each value: ``name``, ``value``,
    ``num``.
    """
    texts = [
        F.struct(
            F.lit(f"profile_{a}").alias("name"),
            F.when(known_from(a) <= F.lit(through), F.element_at("attributes", a)).alias("value"),
        )
        for a in attributes
    ]
    begun = members.where(F.col("known_from") <= F.lit(through))
    named = begun.select(F.explode(F.array(*texts)).alias("text")).select("text.name", "text.value")
    return named.where(F.col("value").isNotNull()).groupBy("name", "value").agg(F.count("*").alias("num"))


def with_profiles(rows: DataFrame, members: DataFrame, profile: Sequence[ProfileFeature]) -> DataFrame:
    """``rows``, one per member, with the days and the values of its profile history as arrays."""
    values = {feature.name: _value(feature) for feature in profile}
    values |= {f"{KNOWN}{feature.name}": F.unix_date(known_from(feature.attribute)) for feature in profile}
    until = F.coalesce(F.unix_date("valid_to"), F.lit(NEVER_ENDS))
    columns = {FROM: F.unix_date("valid_from"), UNTIL: until, **values}
    one = F.struct(*[value.alias(name) for name, value in columns.items()])
    # A row that stands for a member's first event says nothing of them, and is no reason to forget an earlier one.
    histories = members.where("declared").groupBy("member_id").agg(F.collect_list(one).alias("profiles"))
    arrays = [F.col(f"profiles.{name}").alias(name) for name in columns]
    return rows.join(histories, "member_id", "left").select(*rows.columns, *arrays)


def profile_answers(
    batch: pa.RecordBatch, profile: Sequence[ProfileFeature], asked: Questions
) -> dict[str, np.ndarray]:
    """The value of every feature for every question, by name: int64, or float64 with NaN for null, [Q]."""
    if not profile:
        return {}
    member_P = member_index(batch.column(FROM))
    from_P, until_P = flat(batch.column(FROM)), flat(batch.column(UNTIL))
    answers = {}
    for feature in profile:
        known_P = flat(batch.column(f"{KNOWN}{feature.name}"))
        row_Q = valid_row(asked, member_P, from_P=from_P, until_P=until_P, known_P=known_P)
        values = batch.column(feature.name).flatten()
        # The last element stands for a member without a profile on that day: index -1.
        if feature.kind == "category":
            found = np.append(indices(values, feature.entries, missing=NONE), NONE).astype(np.int64)
        else:
            found = np.append(values.to_numpy(zero_copy_only=False).astype(np.float64), np.nan)
        answers[feature.name] = found[row_Q]
    assert NOBODY == -1, "the index of the last element"
    return answers


def _value(feature: ProfileFeature) -> Column:
    text = F.element_at("attributes", feature.attribute)
    if feature.kind == "category":
        return text
    number = text.try_cast("double")
    return F.when(F.abs(number) < NO_NUMBER, number)
