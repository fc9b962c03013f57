"""Other futures of the same past: what a shop would hold if, after a day, other things had happened, or nothing.

In: ``events``, ``members`` and ``products`` of silver, and a cut. Out: frames of the same columns, equal up to and
including the cut's as-of date, different after it. Features of that date must not tell them apart (``leakage.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.features.point_in_time import Sources
from memberlevel_spark.ingest.canonical import EVENT_TYPES
from memberlevel_spark.ingest.profiles import ended
from memberlevel_spark.timeline import ONE_DAY

# ×7+1 of every number: no sum of a window keeps its value, not even one of zeros.
AMOUNTS = ("quantity", "amount_cents", "discount_cents", "net_cents", "points")
NEW = "invented-"


@dataclass(frozen=True)
class Cut:
    """The days after ``as_of`` are the future; it is told through ``through``, and for one day at least.

    ``by_hand`` are attributes that invented profiles have: those by which a programme gives a level by hand.
    """

    as_of: date
    through: date
    by_hand: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_day(self) -> date:
        """The first day of the future."""
        return self.as_of + ONE_DAY

    @property
    def num_days(self) -> int:
        """Days of the future, at least 1."""
        return max((self.through - self.as_of).days, 1)

    def mirrored(self, day: Column) -> Column:
        """The future turned round: its last day for its first; days after ``through`` stay."""
        inside = (day > F.lit(self.as_of)) & (day <= F.lit(self.through))
        last = F.lit(self.first_day + timedelta(days=self.num_days - 1))
        return F.when(inside, F.date_sub(last, F.datediff(day, F.lit(self.first_day)))).otherwise(day)

    def later(self, *seed: Column) -> Column:
        """A day of the future, by a hash."""
        return F.date_add(F.lit(self.first_day), F.pmod(F.xxhash64(*seed), F.lit(self.num_days)).cast("int"))


def without_future(events: DataFrame, as_of: date) -> DataFrame:
    """The events up to and including the as-of date."""
    return events.where(F.col("day") <= F.lit(as_of))


def perturbed_future(events: DataFrame, cut: Cut) -> DataFrame:
    """Every later event with other numbers, another type, another member of its day, no flag, and on another day."""
    is_later = F.col("day") > F.lit(cut.as_of)
    in_day = W.Window.partitionBy("day").orderBy(F.col("event_id").asc_nulls_first())
    whole_day = in_day.rowsBetween(W.Window.unboundedPreceding, W.Window.unboundedFollowing)
    # A column of its own: a window cannot stand inside a condition on what it reads.
    swapped = events.withColumn(
        "swapped", F.coalesce(F.lead("member_id").over(in_day), F.first("member_id", True).over(whole_day))
    )
    next_type = dict(zip(EVENT_TYPES, (*EVENT_TYPES[1:], EVENT_TYPES[0]), strict=True))
    other_type = F.element_at(_literal_map(next_type), F.col("event_type"))
    changed = {name: F.when(is_later, F.col(name) * 7 + 1).otherwise(F.col(name)) for name in AMOUNTS}
    changed |= {
        "event_type": F.when(is_later, F.coalesce(other_type, F.lit("order"))).otherwise(F.col("event_type")),
        "member_id": F.when(is_later, F.col("swapped")).otherwise(F.col("member_id")),
        "flag": F.when(~is_later, F.col("flag")),
    }
    return _moved(swapped.withColumns(changed).drop("swapped"), cut.mirrored(F.col("day")), events.columns)


def with_invented_future(events: DataFrame, cut: Cut, *, members: DataFrame) -> DataFrame:
    """Past events each again on a later day, and one of every type for everybody on the day after the as-of date.

    ``members`` (``member_id``) is everybody, so that silent members and those still to come wake up too.
    """
    past = without_future(events, cut.as_of)
    again = _moved(_renamed(past, F.lit("again")), cut.later(F.col("event_id")), events.columns)
    examples = past.groupBy("event_type").agg(F.min_by(F.struct(*events.columns), "event_id").alias("one"))
    everybody = members.select(F.col("member_id").alias("waking")).distinct()
    rows = everybody.crossJoin(examples).select("one.*", "waking").withColumn("member_id", F.col("waking"))
    wakes = _moved(_renamed(rows, F.col("waking")), F.lit(cut.first_day), events.columns)
    return events.unionByName(again).unionByName(wakes.withColumn("flag", F.lit(None).cast("string")))


def members_without_future(members: DataFrame, as_of: date) -> DataFrame:
    """The profile rows that began, and were known, by the as-of date, with other words where it was corrected later;
    the last row of each member is open again.
    """
    return ended(members.where(~_is_later(as_of)).withColumn("attributes", _corrected_otherwise(as_of)))


def members_with_perturbed_future(members: DataFrame, cut: Cut) -> DataFrame:
    """Every profile row that began or was known later with other attributes, and beginning on another later day; what
    was corrected later, corrected otherwise.
    """
    attributes = F.when(_is_later(cut.as_of), _other(F.col("attributes"))).otherwise(_corrected_otherwise(cut.as_of))
    began = cut.mirrored(F.col("valid_from"))
    known = F.greatest(F.col("known_from"), began)
    return ended(members.withColumns({"attributes": attributes, "valid_from": began, "known_from": known}))


def _is_later(as_of: date) -> Column:
    return F.greatest("valid_from", "known_from") > F.lit(as_of)


def _corrected_otherwise(as_of: date) -> Column:
    """The attributes, those with another value whose present one came to be known after the as-of date."""
    is_later = F.map_filter("corrected_from", lambda _, day: day > F.lit(as_of))
    return F.transform_values(
        "attributes",
        lambda name, value: F.when(F.map_contains_key(is_later, name), _other_text(value)).otherwise(value),
    )


def with_invented_profiles(members: DataFrame, cut: Cut) -> DataFrame:
    """Another profile for each known member on the day after the as-of date, and as many new members."""
    past = members.where(~_is_later(cut.as_of))
    latest = past.groupBy("member_id").agg(F.max_by("attributes", "valid_from").alias("attributes"))
    given = _literal_map(cut.by_hand) if cut.by_hand else F.create_map().cast("map<string,string>")
    kept = F.map_filter(_other(F.col("attributes")), lambda name, _: ~name.isin(list(cut.by_hand)))
    row = {
        "valid_from": F.lit(cut.first_day),
        "valid_to": F.lit(None).cast("date"),
        "declared": F.lit(True),
        "attributes": F.map_concat(kept, given),
        "known_from": F.lit(cut.first_day),
        "corrected_from": F.create_map().cast("map<string,date>"),
    }
    invented = latest.withColumns(row).select(*members.columns)
    arriving = invented.withColumn("member_id", F.concat(F.lit(NEW), "member_id"))
    # One row per member and day: the invented one stands for one that begins that day.
    others = members.where(F.col("valid_from") != F.lit(cut.first_day))
    return ended(others.unionByName(invented).unionByName(arriving))


def products_without_future(products: DataFrame, as_of: date) -> DataFrame:
    """The products listed by the as-of date, or without a date."""
    return products.where(F.coalesce(F.col("valid_from") <= F.lit(as_of), F.lit(True)))


def products_with_perturbed_future(products: DataFrame, cut: Cut) -> DataFrame:
    """Every product listed later with another category and other attributes."""
    is_later = F.coalesce(F.col("valid_from") > F.lit(cut.as_of), F.lit(False))
    other = _other_text(F.coalesce("category", F.lit("")))
    return products.withColumns(
        {
            "category": F.when(is_later, other).otherwise(F.col("category")),
            "attributes": F.when(is_later, _other(F.col("attributes"))).otherwise(F.col("attributes")),
        }
    )


def with_invented_products(products: DataFrame, cut: Cut) -> DataFrame:
    """Each product of the as-of date again as a new one, listed on the day after."""
    past = products_without_future(products, cut.as_of)
    listed = {"product_id": F.concat(F.lit(NEW), "product_id"), "valid_from": F.lit(cut.first_day)}
    return products.unionByName(past.withColumns(listed))


def deleted(sources: Sources, cut: Cut) -> Sources:
    """Nothing happened after the as-of date."""
    products = sources.products
    return Sources(
        without_future(sources.events, cut.as_of),
        members_without_future(sources.members, cut.as_of),
        None if products is None else products_without_future(products, cut.as_of),
    )


def perturbed(sources: Sources, cut: Cut) -> Sources:
    """Whatever happened after the as-of date happened otherwise."""
    products = sources.products
    return Sources(
        perturbed_future(sources.events, cut),
        members_with_perturbed_future(sources.members, cut),
        None if products is None else products_with_perturbed_future(products, cut),
    )


def added(sources: Sources, cut: Cut) -> Sources:
    """After the as-of date much happened besides: to everybody, and to members who were not there."""
    products, members = sources.products, with_invented_profiles(sources.members, cut)
    return Sources(
        with_invented_future(sources.events, cut, members=members),
        members,
        None if products is None else with_invented_products(products, cut),
    )


def changed(sources: Sources, cut: Cut) -> Sources:
    """Perturbed and added to: one run of a pipeline instead of two finds what either would."""
    return added(perturbed(sources, cut), cut)


FUTURES: Mapping[str, Callable[[Sources, Cut], Sources]] = {"deleted": deleted, "changed": changed}


def _moved(events: DataFrame, day: Column, columns: Sequence[str]) -> DataFrame:
    """On another day at the same time of day."""
    moved = events.withColumn("moved_to", day)
    by_days = F.make_dt_interval(F.datediff("moved_to", "day"))
    dated = {"event_ts": F.col("event_ts") + by_days, "day": F.col("moved_to")}
    dated["month"] = F.trunc("moved_to", "MM").cast("date")
    return moved.withColumns(dated).select(*columns)


def _renamed(events: DataFrame, seed: Column) -> DataFrame:
    """With ids that no event has: other events of other orders and sessions."""
    ids = ("event_id", "order_id", "session_id")
    return events.withColumns({name: F.concat(F.lit(NEW), seed, F.lit("-"), F.col(name)) for name in ids})


def _other(attributes: Column) -> Column:
    return F.transform_values(attributes, lambda _, value: _other_text(value))


def _other_text(text: Column) -> Column:
    return F.concat(text, F.lit("~"))


def _literal_map(values: Mapping[str, str]) -> Column:
    return F.create_map(*[F.lit(item) for pair in values.items() for item in pair])
