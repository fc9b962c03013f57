"""A call to the shop's own address when there are alerts: JSON about metrics and tables, never about a member.

A call that fails is a warning: it never fails the job, and is given up after the time-out, whatever the receiver does.
"""

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import IO, Any

from pydantic import SecretStr

from memberlevel_spark.monitoring.watched import ALERT, Judged

# Alerts that a call names; the table has all of them.
MOST_NAMED = 20
log = logging.getLogger("memberlevel_spark")


def payload(shop: str, model_version: str, alerts: Sequence[Judged]) -> dict[str, Any]:
    """What is posted: counts, the first alerts, and a line of ``text`` as chat services show it."""
    num_alerts = sum(each.level == ALERT for each in alerts)
    named = [
        {
            "metric": each.watched.metric,
            "subject": each.watched.subject,
            "as_of_date": str(each.watched.as_of_date),
            "level": each.level,
            "value": each.watched.value,
            "threshold": each.threshold,
        }
        for each in alerts[:MOST_NAMED]
    ]
    return {
        "text": f"{shop}: {num_alerts} alert(s), {len(alerts) - num_alerts} warning(s), the first: {_first(alerts)}",
        "shop": shop,
        "model_version": model_version,
        "num_alerts": num_alerts,
        "num_warnings": len(alerts) - num_alerts,
        "alerts": named,
    }


def post(url: SecretStr, content: Mapping[str, Any], *, timeout_seconds: float) -> bool:
    """Post the content; whether it was taken. What went wrong is logged, without the address, which is a secret."""
    problems: list[str] = []
    # The time-out of a socket is that of each read of it; only a thread can be left altogether.
    call = threading.Thread(target=_call, args=(url, content, timeout_seconds, problems), daemon=True)
    call.start()
    call.join(timeout_seconds)
    if call.is_alive():
        problems.append(f"no answer within {timeout_seconds:g} s")
    if problems:
        log.warning("monitor: the webhook was not told of the alerts: %s", problems[0])
    return not problems


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following one would turn the call into another, without its content."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _call(url: SecretStr, content: Mapping[str, Any], timeout_seconds: float, problems: list[str]) -> None:
    try:
        body, kind = json.dumps(content).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(url.get_secret_value(), data=body, headers=kind, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_seconds):
            return
    except urllib.error.HTTPError as problem:
        problems.append(f"HTTP {problem.code}")
    except Exception as problem:
        # Their texts may hold the address.
        problems.append(type(getattr(problem, "reason", problem)).__name__)


def _first(alerts: Sequence[Judged]) -> str:
    watched = alerts[0].watched
    return f"{watched.metric} of {watched.subject} {watched.value:.4g} as of {watched.as_of_date}"
