"""Around the web application: bodies of bounded length, every request counted, no exception let through.

The log has a line per request with its path, status and milliseconds: paths hold no ids, and bodies are never logged.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from memberlevel_spark.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
OTHER = "(other)"
log = logging.getLogger("memberlevel_spark")


class TooLongError(Exception):
    """A body is longer than is read."""


class Guard:
    """An ASGI application around ``app``; ``paths`` are those that are counted by name."""

    def __init__(self, app: Application, *, max_body_bytes: int, metrics: Metrics, paths: frozenset[str]) -> None:
        self._inner, self._max, self._metrics, self._paths = app, max_body_bytes, metrics, paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connections pass untouched."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else OTHER
        try:
            await self._inner(scope, await self._whole_body(scope, receive), noted)
        except TooLongError:
            told = (
                f"the body is too long: more than {self._max} bytes. Send fewer rows, or raise serving.max_body_bytes."
            )
            await _answer(noted, 413, told)
        except Exception as problem:
            # Its message, and the values in its stack, may speak of members: only what kind it was, and where.
            log.error("unexpected %s at %s", type(problem).__name__, _place(problem))
            await _answer(
                noted, 500, "the service failed unexpectedly: its log says where. Ask again, or tell its operator."
            )
        finally:
            seconds = time.perf_counter() - started
            self._metrics.saw(path, status, seconds)
            log.info("%s %s %d %.1f ms", scope["method"], path, status, 1000 * seconds)

    async def _whole_body(self, scope: Message, receive: Receive) -> Receive:
        """The body, read up to its end or its bound, as one message. Errors: TooLongError."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max:
            raise TooLongError
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return receive
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > self._max:
                raise TooLongError
        given = iter([{"type": "http.request", "body": b"".join(parts), "more_body": False}])

        async def replayed() -> Message:
            return next(given, None) or await receive()

        return replayed


async def _answer(send: Send, status: int, error: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})


def _place(problem: BaseException) -> str:
    """File and line of the innermost call."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
