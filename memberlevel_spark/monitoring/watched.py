"""A watched value, judged by the thresholds of the configuration; no Spark."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from memberlevel_spark.config.monitoring import Threshold

OK, WARN, ALERT, UNKNOWN = "ok", "warn", "alert", "unknown"


@dataclass(frozen=True)
class Watched:
    """One number about one subject as of a date; None where it is undefined. ``usual`` is what the thresholds come on
    top of, such as the share in the training rows; what is not judged has none."""

    metric: str
    subject: str
    as_of_date: date
    value: float | None
    usual: float = 0.0
    is_judged: bool = True


@dataclass(frozen=True)
class Judged:
    """A watched value, from where on it is a warning or an alert (None: never), and which it is."""

    watched: Watched
    warn_above: float | None
    alert_above: float | None
    level: str

    @property
    def threshold(self) -> float | None:
        """What was passed; None where nothing was."""
        return {WARN: self.warn_above, ALERT: self.alert_above}.get(self.level)


def judged(values: Iterable[Watched], thresholds: Mapping[str, Threshold]) -> list[Judged]:
    """Each value with its level: ``ok``, also where it is not judged, ``warn``, ``alert``, or ``unknown`` where it is
    undefined."""
    return [_judged(each, thresholds.get(each.metric) if each.is_judged else None) for each in values]


def _judged(watched: Watched, threshold: Threshold | None) -> Judged:
    limits = (threshold.warn, threshold.alert) if threshold else (None, None)
    warn_above, alert_above = (None if limit is None else watched.usual + limit for limit in limits)
    if watched.value is None:
        return Judged(watched, warn_above, alert_above, UNKNOWN)
    if alert_above is not None and watched.value > alert_above:
        return Judged(watched, warn_above, alert_above, ALERT)
    is_warning = warn_above is not None and watched.value > warn_above
    return Judged(watched, warn_above, alert_above, WARN if is_warning else OK)
