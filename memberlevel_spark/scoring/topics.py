"""The words in which reasons are told: one topic for every element of the array of features. No Spark, no torch."""

from collections.abc import Sequence

from memberlevel_spark.examples.encoder import WEEKLY, Encoder
from memberlevel_spark.features.breakdowns import BREAKDOWNS
from memberlevel_spark.features.feature import Feature

STANDING, TENURE, CALENDAR, RHYTHM = "level and progress", "time as a member", "time of year", "how recently, how often"
WHEN, WHAT, WHERE = "when they shop", "what they buy", "where they shop"
EVENTS = "latest events"
_OF_DIMENSION = {"hour": WHEN, "channel": WHERE}
_OF_AGGREGATE = {
    **dict.fromkeys(("weekend_share", "weekday_share", "weekday_entropy"), WHEN),
    **dict.fromkeys(("days_since", "days_since_first", "gap_mean", "gap_std"), RHYTHM),
    **dict.fromkeys(("streak_weeks", "longest_streak_weeks", "repeat_days", "first_to_last_days"), RHYTHM),
}


def topics(encoder: Encoder, declared: Sequence[Feature]) -> tuple[str, ...]:
    """The topic of every encoded feature, in their order.

    Sums, means and the like of a measure are told by its name: ``spend``, ``orders``. What members hold and what they
    lack to other levels is one topic.
    """
    of_features = {feature.name: _of_feature(feature) for feature in declared}
    told = [of_features.get(item.column) or _of_column(item.column) for item in encoder.inputs]
    return (*told, *[STANDING] * encoder.num_levels)


def _of_feature(feature: Feature) -> str:
    if feature.kind.source == "calendar":
        return CALENDAR
    if feature.measure in BREAKDOWNS:
        return _OF_DIMENSION.get(BREAKDOWNS[feature.measure].dimension, WHAT)
    return _OF_AGGREGATE.get(feature.aggregate) or spoken(feature.measure)


def _of_column(column: str) -> str:
    if column.startswith(WEEKLY):
        return spoken(column.removeprefix(WEEKLY))
    if column.startswith("profile_"):
        return column.removeprefix("profile_").replace("_", " ")
    return TENURE if column == "tenure_days" else STANDING


def spoken(measure: str) -> str:
    """The measure in a sentence: ``spend`` of spend_cents, ``orders`` of num_orders."""
    return measure.removeprefix("num_").removesuffix("_cents").replace("_", " ")
