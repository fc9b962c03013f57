"""The webhook, against a server on this machine: what is posted, and that no failure gets out."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from pydantic import SecretStr

from memberlevel_spark.monitoring.alerts import raised
from memberlevel_spark.monitoring.watched import Judged, Watched
from memberlevel_spark.monitoring.webhook import MOST_NAMED, payload, post

DAY = date(2024, 3, 10)
SECRET = "token-that-nobody-may-see"


class Receiver(BaseHTTPRequestHandler):
    """Takes what is posted to /ok; elsewhere it errs, sends elsewhere, or never comes to an end."""

    taken: ClassVar[list[tuple[str, dict[str, object]]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/slow"):
            self._answer_a_byte_at_a_time()
            return
        if self.path.startswith("/ok"):
            self.taken.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response({"ok": 204, "broken": 500, "moved": 302}[self.path.split("/")[1]])
        if self.path.startswith("/moved"):
            self.send_header("Location", "/ok")
        self.end_headers()

    def _answer_a_byte_at_a_time(self) -> None:
        try:
            for _ in range(40):
                self.wfile.write(b"H")
                time.sleep(0.1)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Receiver.taken.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def found(level: str, metric: str, value: float) -> Judged:
    return Judged(Watched(metric, "spend_cents_sum_91d", DAY, value), 0.1, 0.2, level)


ALERTS = [found("alert", "feature_psi", 0.31), found("warn", "feature_ks", 0.15)]


def test_what_is_posted_is_json_about_metrics_with_a_line_of_text(address: str):
    assert post(SecretStr(f"{address}/ok/{SECRET}"), payload("shop", "m1", ALERTS), timeout_seconds=5)
    ((kind, content),) = Receiver.taken
    assert kind == "application/json"
    assert content == {
        "text": "shop: 1 alert(s), 1 warning(s), the first: feature_psi of spend_cents_sum_91d 0.31 as of 2024-03-10",
        "shop": "shop",
        "model_version": "m1",
        "num_alerts": 1,
        "num_warnings": 1,
        "alerts": [
            {
                "metric": metric,
                "subject": "spend_cents_sum_91d",
                "as_of_date": "2024-03-10",
                "level": level,
                "value": value,
                "threshold": threshold,
            }
            for metric, level, value, threshold in (
                ("feature_psi", "alert", 0.31, 0.2),
                ("feature_ks", "warn", 0.15, 0.1),
            )
        ],
    }


def test_a_call_names_the_first_alerts_and_counts_all():
    content = payload("shop", "m1", [found("alert", "feature_psi", 0.3)] * (MOST_NAMED + 5))
    assert len(content["alerts"]) == MOST_NAMED and content["num_alerts"] == MOST_NAMED + 5


@pytest.mark.parametrize(
    ("path", "told"), [("/broken", "HTTP 500"), ("/moved", "HTTP 302"), ("/slow", "no answer within 0.3 s")]
)
def test_a_receiver_that_fails_is_a_warning_without_the_address(
    address: str, caplog: pytest.LogCaptureFixture, path: str, told: str
):
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "memberlevel_spark"):
        assert not post(SecretStr(f"{address}{path}/{SECRET}"), payload("shop", "m1", ALERTS), timeout_seconds=0.3)
    assert time.monotonic() - started < 3
    assert f"the webhook was not told of the alerts: {told}" in caplog.text and SECRET not in caplog.text
    assert Receiver.taken == []


def test_nobody_there_and_an_impossible_address_are_warnings_too(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    with caplog.at_level(logging.WARNING, "memberlevel_spark"):
        for url in (f"http://127.0.0.1:1/{SECRET}", f"http://127.0.0.1/a b {SECRET}"):
            assert not post(SecretStr(url), {}, timeout_seconds=5)
    assert "ConnectionRefusedError" in caplog.text and "InvalidURL" in caplog.text and SECRET not in caplog.text


def test_alerts_come_before_warnings_and_the_largest_of_a_metric_first():
    values = [
        found("warn", "feature_ks", 0.15),
        found("ok", "feature_ks", 0.01),
        found("alert", "feature_psi", 0.3),
        found("alert", "feature_psi", 0.9),
        Judged(Watched("volume_drop", "events/orders", DAY, None), 0.5, 0.8, "unknown"),
    ]
    assert raised(values) == [values[3], values[2], values[0]]
