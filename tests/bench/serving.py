"""One member at a time: milliseconds in this process, latency and requests a second of the service over loopback.

The service runs as `jobs.serve` in a process of its own; the load comes from this one, by a few clients at a time that
ask again as soon as they are answered (httpx).
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median, quantiles

import httpx
import numpy as np

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.features.point_in_time import configured_rules
from memberlevel_spark.run import Shop
from memberlevel_spark.serving.requests import Question
from memberlevel_spark.serving.service import Service
from tests.served_shop import FIRST_DAY, JOURNEY, LAST_DAY, publish_model, write_delta, write_scores

MEMBERS, DAYS_WITH_ORDERS, REQUESTS, CLIENTS = 2_000, 50, 400, 8
# Complete Journey's features but for those that need a vocabulary.
SETTINGS = ("features.more=[]", "features.sequence_events=0")
Figures = dict[str, tuple[float, str, str]]


def measure(scratch: Path) -> Figures:
    """Of a network of the default size on made members with as many days as those of Complete Journey."""
    options = [f"output_dir={scratch}", *SETTINGS]
    config = load_config(JOURNEY, options, {})
    write_members(config)
    publish_model(config, seed=1, hidden=(128, 128))
    service = Service(Shop(config))
    service.warm_up()
    asked = [Question(member_id=f"m{number}") for number in range(0, MEMBERS, MEMBERS // REQUESTS)]
    score = median([_seconds(service.score, question) for question in asked])
    explain = median([_seconds(service.explain, question) for question in asked[:10]])
    with served(options) as address:
        alone, _ = asyncio.run(load(address, clients=1))
        together, rate = asyncio.run(load(address, clients=CLIENTS))
    of_one, of_many = (f"nothing: POST /score by id, {n} client(s) on loopback" for n in (1, CLIENTS))
    return {
        "one_member_ms": (
            1000 * score,
            "ms",
            f"nothing: rows, features and forecast, one of {MEMBERS:,} held in memory",
        ),
        "one_member_explained_ms": (1000 * explain, "ms", "nothing: with reasons and advice"),
        "serve_p50_ms": (_at(alone, 50), "ms", of_one),
        "serve_p99_ms": (_at(alone, 99), "ms", of_one),
        "serve_busy_p50_ms": (_at(together, 50), "ms", of_many),
        "serve_busy_p99_ms": (_at(together, 99), "ms", of_many),
        "serve_requests_per_second": (rate, "requests/s", of_many),
    }


def write_members(config: Config) -> None:
    """Members with a year of orders."""
    rng = np.random.default_rng(1)
    num_days = (LAST_DAY - FIRST_DAY).days
    ids = [f"m{number}" for number in range(MEMBERS)]
    known = {"valid_from": FIRST_DAY, "valid_to": None, "known_from": FIRST_DAY, "declared": True, "attributes": {}}
    write_delta(config, "profiles", [{"member_id": name, **known, "corrected_from": {}} for name in ids])
    first = {"valid_from": FIRST_DAY, "level": 0, "own_level": 0}
    rules = configured_rules(config).version
    write_delta(config, "levels", [{"member_id": name, **first} for name in ids], partition={"rules_version": rules})
    tiles = []
    for name in ids:
        days = rng.choice(num_days, size=DAYS_WITH_ORDERS, replace=False)
        cents = rng.integers(100, 20_000, size=DAYS_WITH_ORDERS)
        tiles += [
            {"member_id": name, "day": FIRST_DAY + timedelta(days=int(day)), "num_orders": 1, "spend_cents": int(spent)}
            for day, spent in zip(days, cents, strict=True)
        ]
    write_delta(config, "tiles", tiles)
    write_scores(config, date(2017, 12, 31))


@contextmanager
def served(options: list[str]) -> Iterator[str]:
    """The address of a service of its own process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [part for option in options for part in ("--set", option)]
    command = [sys.executable, "-m", "jobs.serve", "--config", str(JOURNEY), *given, "--port", str(port)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
            yield address
        finally:
            server.terminate()


async def load(address: str, *, clients: int) -> tuple[list[float], float]:
    """Milliseconds of every request, and requests per second of all clients together."""
    waiting = iter([f"m{number % MEMBERS}" for number in range(REQUESTS)])

    async def ask_on(client: httpx.AsyncClient) -> list[float]:
        seen = []
        for member in waiting:
            started = time.perf_counter()
            answer = await client.post("/score", json={"member_id": member})
            answer.raise_for_status()
            seen.append(1000 * (time.perf_counter() - started))
        return seen

    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        await client.post("/score", json={"member_id": "m0"})
        started = time.perf_counter()
        each = await asyncio.gather(*[ask_on(client) for _ in range(clients)])
        seconds = time.perf_counter() - started
    milliseconds = [one for some in each for one in some]
    return milliseconds, len(milliseconds) / seconds


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    while True:
        assert server.poll() is None, "the service ended"
        try:
            httpx.get(f"{address}/health", timeout=60).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)


def _at(milliseconds: list[float], percent: int) -> float:
    return quantiles(milliseconds, n=100, method="inclusive")[percent - 1]


def _seconds(answer: Callable[[Question], object], question: Question) -> float:
    started = time.perf_counter()
    answer(question)
    return time.perf_counter() - started
