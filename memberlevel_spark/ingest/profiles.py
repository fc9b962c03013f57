"""Members and products: profile history and the catalogue.

In: good rows of ``mapping``. Out: ``members`` (one row per member and valid_from), ``products`` (one row per product).
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.ingest.identifiers import Pseudonyms
from memberlevel_spark.schemas import MEMBERS, PRODUCTS


def declared_profiles(good: DataFrame, pseudonyms: Pseudonyms) -> DataFrame:
    """What profile sources say: ``member_id``, ``valid_from``, ``attributes``."""
    member = pseudonyms.member(F.col("member_id")).alias("member_id")
    return pseudonyms.with_pads(good).select(member, "valid_from", "attributes")


def build_members(declared: DataFrame, first_seen: DataFrame) -> DataFrame:
    """Profile history, one row per member and valid_from; valid_to is the next valid_from, null while current.

    In: ``declared`` (member_id, valid_from, attributes) and ``first_seen`` (member_id, valid_from: the day of the first
    event). Attributes that several sources give for the same day are joined; where they differ the largest text wins. A
    member with events before, or without, any profile gets a row without attributes (``declared`` false) from the day
    of the first event, so that ``members`` is everybody the shop has ever known.
    """
    first_given = declared.groupBy("member_id").agg(F.min("valid_from").alias("first_given"))
    unprofiled = first_seen.join(first_given, "member_id", "left").where(
        F.col("first_given").isNull() | (F.col("valid_from") < F.col("first_given"))
    )
    empty = F.lit(None).cast("map<string,string>").alias("attributes")
    rows = declared.select("member_id", "valid_from", "attributes", F.lit(True).alias("declared")).unionByName(
        unprofiled.select("member_id", "valid_from", empty, F.lit(False).alias("declared"))
    )
    history = W.Window.partitionBy("member_id").orderBy(F.col("valid_from").asc_nulls_first())
    return (
        joined_attributes(rows, "member_id", "valid_from", "declared")
        .withColumn("valid_to", F.lead("valid_from").over(history))
        .select(*MEMBERS.schema.names)
    )


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
