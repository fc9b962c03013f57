"""Declared features of many as-of dates at once: every aggregate for a whole batch of members, no loop over them.

In: the axes of a batch and the questions (member index, as-of day). Out: one array per declared feature, by name:
int64, a masked int64 array where a member may have no value, or float64 with NaN for null.
The answer for a member is the same to the bit whichever members share the batch: sums are exact integers, and only
the last step of each question is floating point.
Shapes: T tiles, Q questions, C parts (weekdays or categories).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.features import kernel_active as active
from memberlevel_spark.features import kernel_parts as parts
from memberlevel_spark.features.feature import Feature, require_distinct_names
from memberlevel_spark.features.kernel_active import Span
from memberlevel_spark.features.kernel_axes import Axes, Doubles, Longs, Questions
from memberlevel_spark.features.kernel_batch import Batch
from memberlevel_spark.features.kernel_ranges import as_doubles, divided
from memberlevel_spark.features.kernel_streaks import WEEK_DAYS, streaks

Answer = np.ndarray


def compute(axes: Axes, declared: Sequence[Feature], *, member_Q: Longs, as_of_Q: Longs) -> dict[str, Answer]:
    """Every declared feature for every question, in the order of the declarations, each [Q].

    Windows are ``(as_of - N, as_of]``; days after an as-of date are never looked at for it. Errors: ConfigError for a
    name declared twice, a measure no axis has, or a category no axis has.
    """
    require_distinct_names(declared)
    _require_known(axes, declared)
    batch = Batch(axes, Questions(member_Q, as_of_Q))
    answers: dict[str, Answer] = {}
    # By measure and window, so that what they share is made once and need not be kept for longer.
    for feature in sorted(declared, key=lambda f: (f.kind.source, f.measure, f.window_days or 0)):
        batch.turn_to(feature)
        answers[feature.name] = FORMULAS[feature.aggregate](batch, feature)
    return {feature.name: answers[feature.name] for feature in declared}


Formula = Callable[[Batch, Feature], Answer]


def _of_span(of: Callable[[Span], Answer]) -> Formula:
    return lambda batch, feature: of(batch.span(feature.measure, feature.window_days))


def _of_parts(of: Callable[[Longs, Feature], Answer]) -> Formula:
    def formula(batch: Batch, feature: Feature) -> Answer:
        spread = batch.categories if feature.kind.source == "categories" else batch.weekdays
        return of(spread(feature.measure, feature.window_days), feature)

    return formula


def _sum(batch: Batch, feature: Feature) -> Answer:
    return batch.sums((feature.measure,), feature.window_days)


def _lag_sum(batch: Batch, feature: Feature) -> Answer:
    days, back = feature.window_days or 0, feature.part or 0
    return batch.sums((feature.measure,), days * (back + 1), days * back)


def _mean(batch: Batch, feature: Feature) -> Answer:
    sum_Q = batch.sums((feature.measure,), feature.window_days)
    return divided(sum_Q, batch.span(feature.measure, feature.window_days).count_Q)


def _trend(batch: Batch, feature: Feature) -> Answer:
    """Slope = sum of (t - mean t) y over sum of (t - mean t)², t = -(N - 1) … 0, the latter N (N² - 1) / 12."""
    days = feature.window_days or 0
    sum_Q = batch.sums((feature.measure,), days)
    twice_Q = 2 * batch.moments(feature.measure, days) + (days - 1) * sum_Q
    return as_doubles(twice_Q) / (days * (days * days - 1) / 6)


def _window_share(batch: Batch, feature: Feature) -> Answer:
    measure = (feature.measure,)
    return _within_0_and_1(divided(batch.sums(measure, feature.window_days), batch.sums(measure, feature.over_days)))


def _ratio(batch: Batch, feature: Feature) -> Doubles:
    above_Q = batch.sums((feature.measure, *feature.plus), feature.window_days)
    return divided(above_Q, batch.sums(feature.of, feature.window_days))


def _within_0_and_1(share_Q: Doubles) -> Doubles:
    return np.clip(share_Q, 0.0, 1.0)


def _streak(batch: Batch, feature: Feature) -> Answer:
    weeks = None if feature.window_days is None else feature.window_days // WEEK_DAYS
    longest = feature.aggregate == "longest_streak_weeks"
    return streaks(batch.active(feature.measure), batch.asked, num_weeks=weeks, longest=longest)


def _repeat_mean(batch: Batch, feature: Feature) -> Answer:
    span = batch.span(feature.of[0], feature.window_days)
    return active.repeat_mean(span, batch.axes.tiles.values_of(feature.measure))


def _num_distinct(batch: Batch, feature: Feature) -> Answer:
    return parts.num_distinct(batch.axes.items[feature.measure], batch.asked, window_days=feature.window_days)


FORMULAS: Mapping[str, Formula] = {
    "sum": _sum,
    "count": _of_span(lambda span: span.count_Q),
    "mean": _mean,
    "min": _of_span(active.smallest),
    "max": _of_span(active.largest),
    "std": _of_span(active.deviation),
    "last": _of_span(active.last_value),
    "days_since": _of_span(active.days_since_last),
    "days_since_first": _of_span(active.days_since_first),
    "trend": _trend,
    "lag_sum": _lag_sum,
    "window_share": _window_share,
    "share": lambda batch, feature: _within_0_and_1(_ratio(batch, feature)),
    "shortfall": lambda batch, feature: 1.0 - _within_0_and_1(_ratio(batch, feature)),
    "ratio": _ratio,
    "weekend_share": _of_parts(lambda parts_QC, _: parts.share(parts_QC, parts.SATURDAY, parts.SATURDAY + 1)),
    "weekday_share": _of_parts(lambda parts_QC, f: parts.share(parts_QC, f.part or 0, f.part or 0)),
    "weekday_entropy": _of_parts(lambda parts_QC, _: parts.entropy(parts_QC)),
    "gap_mean": _of_span(active.gap_mean),
    "gap_std": _of_span(active.gap_deviation),
    "streak_weeks": _streak,
    "longest_streak_weeks": _streak,
    "repeat_days": _of_span(active.repeat_days),
    "first_to_last_days": _of_span(active.first_to_last_days),
    "repeat_mean": _repeat_mean,
    "num_distinct": _num_distinct,
    "part_share": _of_parts(lambda parts_QC, f: parts.share(parts_QC, f.part or 0, f.part or 0)),
    "entropy": _of_parts(lambda parts_QC, _: parts.entropy(parts_QC)),
    "top": _of_parts(lambda parts_QC, f: parts.top(parts_QC, f.part or 0)),
    "year_sin": lambda batch, _: parts.season(batch.asked.as_of_Q, cosine=False),
    "year_cos": lambda batch, _: parts.season(batch.asked.as_of_Q, cosine=True),
    "weekday": lambda batch, _: parts.weekday_of(batch.asked.as_of_Q),
    "month": lambda batch, _: parts.month(batch.asked.as_of_Q),
    "days_to_holiday": lambda batch, _: parts.days_to_holiday(batch.asked.as_of_Q, batch.axes.holidays_H),
}


def _require_known(axes: Axes, declared: Sequence[Feature]) -> None:
    """Refuse measures and categories that no axis has."""
    known = {"tiles": axes.tiles.measures, "items": axes.items, "categories": axes.categories}
    unknown = {
        f"{measure} ({feature.kind.source})"
        for feature in declared
        if feature.kind.source != "calendar"
        for measure in feature.measures
        if measure not in known[feature.kind.source]
    } or {
        f"{feature.measure} category {feature.part}"
        for feature in declared
        if feature.kind.source == "categories"
        and (feature.part or 0) >= axes.categories[feature.measure].num_categories
    }
    if unknown:
        raise ConfigError(
            f"features of what no axis has: {first_five(unknown)}. The tiles have: {', '.join(axes.tiles.measures)};"
            f" item axes: {', '.join(axes.items) or 'none'}; category axes: {', '.join(axes.categories) or 'none'}."
        )
