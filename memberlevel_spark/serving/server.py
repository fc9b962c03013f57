"""The service over HTTP: POST /score, POST /explain, GET /health, GET /metrics; every answer but the last is JSON.

Members are only ever named in bodies: what is in a path or in a query ends in the logs of whatever lies between. Errors
are ``{"error": "<what is wrong>: <values>. <what to do>"}``.
"""

import logging
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from memberlevel_spark.errors import ConfigError, MemberLevelError, UnknownMemberError, first_five
from memberlevel_spark.serving.asked import Asked
from memberlevel_spark.serving.guard import Guard
from memberlevel_spark.serving.metrics import Metrics
from memberlevel_spark.serving.requests import Question
from memberlevel_spark.serving.service import Service

log = logging.getLogger("memberlevel_spark")
# What a client can mend, by the exit code a job would end with; whoever runs the service mends the rest.
_STATUS = {3: 422}
UNAVAILABLE = 503
# More at once are turned away: each may hold a whole body.
MAX_CONNECTIONS = 200


def application(service: Service, *, max_body_bytes: int) -> FastAPI:
    """The ASGI application."""
    metrics = Metrics()
    app = FastAPI(title="memberlevel", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere

    @app.post("/score")
    def score(question: Question) -> JSONResponse:
        return _json(jsonable_encoder(service.score(question)))

    @app.post("/explain")
    def explain(question: Question) -> JSONResponse:
        return _json(jsonable_encoder(service.explain(question)))

    @app.get("/health")
    def health() -> JSONResponse:
        is_able, told = service.health()
        return _json(told, status=200 if is_able else UNAVAILABLE)

    @app.get("/metrics")
    def numbers() -> PlainTextResponse:
        metrics.uses(service.model_version)
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(MemberLevelError, _refused)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _no_such_path)
    paths = frozenset({"/score", "/explain", "/health", "/metrics"})
    app.add_middleware(Guard, max_body_bytes=max_body_bytes, metrics=metrics, paths=paths)
    return app


def serve(service: Service, asked: Asked) -> None:
    """Answer until interrupted or terminated; requests that have begun are answered.

    Errors: ConfigError when the address is not to be had.
    """
    try:
        listening = socket.create_server((asked.host, asked.port))
    except OSError as problem:
        raise ConfigError(
            f"the address cannot be listened on: {asked.host}:{asked.port} ({problem.strerror}). Give another --host or"
            " --port."
        ) from None
    with listening:
        service.warm_up()
        app = application(service, max_body_bytes=asked.config.serving.max_body_bytes)
        # Uvicorn's own lines would show what clients put into a path.
        settings = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", limit_concurrency=MAX_CONNECTIONS
        )
        log.info("serving on http://%s:%d until interrupted", asked.host, asked.port)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run(sockets=[listening])


def _json(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status_code=status)


def _refused(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, MemberLevelError), "registered for these"
    status = 404 if isinstance(problem, UnknownMemberError) else _STATUS.get(problem.exit_code, UNAVAILABLE)
    return _json({"error": str(problem)}, status)


def _misfit(_: Request, problem: Exception) -> JSONResponse:
    """Where a body does not fit, and what is expected there; never the value that was sent."""
    assert isinstance(problem, RequestValidationError), "registered for these"
    wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in problem.errors()]
    return _json({"error": f"the request does not fit: {first_five(wrong)}. Send it as /openapi.json says."}, 422)


def _no_such_path(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, HTTPException), "registered for these"
    told = f"the request is not served: {problem.detail}. Use POST /score, POST /explain, GET /health or GET /metrics."
    return _json({"error": told}, problem.status_code)
