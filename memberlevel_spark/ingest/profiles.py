"""Members and products: profile history and the catalogue.

In: good rows of ``mapping``. Out: ``members`` (one row per member and valid_from), ``products`` (one row per product).
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.ingest.identifiers import Pseudonyms
from memberlevel_spark.schemas import MEMBERS, PRODUCTS


def declared_profiles(good: DataFrame, pseudonyms: Pseudonyms) -> DataFrame:
    """What profile sources say: ``member_id``, ``valid_from``, ``attributes``, ``known_from``, ``corrected_from``.

    A row is known from the day it was received (``received_day``), or from ``valid_from`` where that is later or the
    source does not say.
    """
    member = pseudonyms.member(F.col("member_id")).alias("member_id")
    known = F.greatest("valid_from", "received_day").alias("known_from")  # greatest leaves nulls out
    return pseudonyms.with_pads(good).select(
        member, "valid_from", "attributes", known, _nothing_corrected().alias("corrected_from")
    )


def _nothing_corrected() -> Column:
    return F.create_map().cast("map<string,date>")


def build_members(declared: DataFrame, first_seen: DataFrame) -> DataFrame:
    """Profile history, one row per member and valid_from; valid_to is where the next profile begins, null for the last.

    In: ``declared`` (of ``declared_profiles``) and ``first_seen`` (member_id, valid_from: the day of the first event).
    Attributes that several rows give for the same day are joined; where they differ the largest text wins. A member
    with events before any profile was known, or without one, gets a row without attributes (``declared`` false) from
    the day of the first event, unless a profile begins that day, so that ``members`` is everybody the shop has ever
    known.

    ``known_from`` is the day on which the first of the joined rows was known; ``corrected_from`` has the attributes
    whose value came later, with the first day on which it was known. Neither depends on the order of arrival.
    """
    first_known = declared.groupBy("member_id").agg(F.min("known_from").alias("first_known"))
    unprofiled = (
        first_seen.join(first_known, "member_id", "left")
        .where(F.col("first_known").isNull() | (F.col("valid_from") < F.col("first_known")))
        .join(declared, ["member_id", "valid_from"], "left_anti")
    )
    without = {
        "attributes": F.lit(None).cast("map<string,string>"),
        "known_from": F.col("valid_from"),
        "corrected_from": _nothing_corrected(),
    }
    rows = declared.withColumn("declared", F.lit(True)).unionByName(
        unprofiled.select("member_id", "valid_from").withColumns({**without, "declared": F.lit(False)})
    )
    return ended(_joined_profiles(rows)).select(*MEMBERS.schema.names)


def ended(rows: DataFrame) -> DataFrame:
    """``rows`` of ``members`` with their ``valid_to``: the day on which the next declared profile begins, or null."""
    history = W.Window.partitionBy("member_id").orderBy(F.col("valid_from").asc_nulls_first())
    following = history.rowsBetween(1, W.Window.unboundedFollowing)
    return rows.withColumn("valid_to", F.min(F.when(F.col("declared"), F.col("valid_from"))).over(following))


def _joined_profiles(rows: DataFrame) -> DataFrame:
    """One row per member and valid_from."""
    key = ("member_id", "valid_from", "declared")
    entries = rows.select(*key, "known_from", "corrected_from", F.explode_outer("attributes").alias("name", "value"))
    known = F.coalesce(F.element_at("corrected_from", F.col("name")), F.col("known_from"))
    # Of one value the delivery that came first counts: the largest pair of value and days to go.
    best = F.max(F.struct("value", (-F.unix_date(known)).alias("minus_day"))).alias("best")
    single = entries.groupBy(*key, "name").agg(best, F.min("known_from").alias("known_from"))
    is_named, since = F.col("name").isNotNull(), F.date_from_unix_date(-F.col("best.minus_day"))
    # collect_list leaves nulls out: a member without attributes gets an empty map, not none.
    value = F.when(is_named, F.struct("name", F.col("best.value").alias("value")))
    dated = F.when(is_named, F.struct("name", since.alias("since")))
    joined = single.groupBy(*key).agg(
        F.map_from_entries(F.sort_array(F.collect_list(value))).alias("attributes"),
        F.min("known_from").alias("known_from"),
        F.map_from_entries(F.sort_array(F.collect_list(dated))).alias("since"),
    )
    later = F.map_filter("since", lambda _, day: day > F.col("known_from"))
    return joined.withColumn("corrected_from", later)


def build_products(good: DataFrame) -> DataFrame:
    """One row per product: category and attributes of the newest ``valid_from``, the largest text where they differ.

    Rows without ``valid_from`` are the oldest.
    """
    newest = W.Window.partitionBy("product_id")
    dated = good.withColumn("newest", F.max("valid_from").over(newest))
    current = dated.where(F.col("valid_from").eqNullSafe(F.col("newest")))
    category = current.groupBy("product_id", "valid_from").agg(F.max("category").alias("category"))
    attributes = joined_attributes(current, "product_id").withColumnRenamed("product_id", "of_product")
    joined = category.join(attributes, F.col("product_id") == F.col("of_product"), "inner")
    return joined.select(*PRODUCTS.schema.names)


def joined_attributes(rows: DataFrame, *key: str) -> DataFrame:
    """One row per key with the attributes of all its rows in one map, sorted by name, the largest value winning."""
    entries = rows.select(*key, F.explode_outer("attributes").alias("name", "value"))
    single = entries.groupBy(*key, "name").agg(F.max("value").alias("value"))
    # collect_list leaves nulls out: a member without attributes gets an empty map, not none.
    entry = F.when(F.col("name").isNotNull(), F.struct("name", "value"))
    return single.groupBy(*key).agg(F.map_from_entries(F.sort_array(F.collect_list(entry))).alias("attributes"))
