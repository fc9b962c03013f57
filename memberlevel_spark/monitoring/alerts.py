"""Whoever should know of alerts is told: the log, a webhook and, where the job was asked to, its exit code."""

import logging
from collections.abc import Sequence

from pyspark.sql import functions as F

from memberlevel_spark.errors import AlertError, first_five
from memberlevel_spark.forecast_schemas import ALERTS
from memberlevel_spark.monitoring.watched import ALERT, WARN, Judged
from memberlevel_spark.monitoring.webhook import payload, post
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import Run

log = logging.getLogger("memberlevel_spark")


def raised(values: Sequence[Judged]) -> list[Judged]:
    """The warnings and alerts among judged values: alerts first, then by metric, the largest first."""
    wanted = [each for each in values if each.level in (WARN, ALERT)]
    return sorted(wanted, key=lambda each: (each.level != ALERT, each.watched.metric, -(each.watched.value or 0.0)))


def tell(run: Run, model_version: str, alerts: Sequence[Judged]) -> None:
    """A line of the log for each; a call of the webhook where one is an alert."""
    for each in alerts:
        watched = each.watched
        log.warning(
            "%s %s of %s: %.4g, above %.4g, as of %s",
            *(each.level, watched.metric, watched.subject, watched.value, each.threshold, watched.as_of_date),
        )
    url = run.config.monitoring.webhook_url
    if url is not None and any(each.level == ALERT for each in alerts):
        content = payload(run.config.name, model_version, alerts)
        post(url, content, timeout_seconds=run.config.monitoring.webhook_timeout_seconds)


def require_no_alert(run: Run) -> None:
    """Errors: AlertError where the champion's last monitoring of the run's dates raised an alert; warnings pass."""
    dates = run.as_of_dates or run.config.timeline.score
    own = (F.col("model_version") == load_champion(run).version) & F.col("as_of_date").isin(list(dates))
    rows = run.tables.read(ALERTS.name).where(own & (F.col("level") == ALERT)).select("metric", "subject").collect()
    if rows:
        named = first_five(f"{metric} of {subject}" for metric, subject in rows)
        raise AlertError(
            f"the monitoring raised {len(rows)} alert(s): {named}."
            f" Look at the report or the table {ALERTS.name}; what was written stays."
        )
