"""A real service under attack: it stays the same process, does not grow, and answers as before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.live import Server, serve
from tests.service.wire import Got, ask, post
from tests.service.world import World

MEBIBYTE = 2**20
DEADLINE_SECONDS = 2.0
#: What the worker may grow by: a few bodies of the size that is allowed, as Python keeps them.
GROWTH_BYTES = 150 * MEBIBYTE
#: How long a client who is told to come back does so.
PATIENCE_SECONDS = 10.0
FORECAST = "/v1/timeseries/forecast"


@contextmanager
def besieged(city: World, folder: Path, **settings: object) -> Iterator[Server]:
    """A service with tight limits, whose log has no fault of ours at the end."""
    limits = {"deadline_seconds": DEADLINE_SECONDS, "max_body_bytes": MEBIBYTE, "drain_seconds": 0}
    with serve(city.folder, folder, **limits, **settings) as live:
        yield live
        text = live.log.read_text()
        assert "failed\n" not in text, text
        # gRPC's own: of metadata that is no text, and of an answer whose client left as it was sent.
        own = text.count("Invalid encoding on") + text.count("ExecuteBatchError raised in core")
        assert text.count("Traceback") == own, text


@contextmanager
def unharmed(live: Server, city: World, *headers: str) -> Iterator[None]:
    """Whatever happens meanwhile."""
    worker = live.worker
    before = worker.memory_info().rss
    yield
    assert live.worker.pid == worker.pid
    assert worker.memory_info().rss - before < GROWTH_BYTES
    good = _answered(live, post(FORECAST, json.dumps(city.document()).encode(), *headers))
    assert good.status == 200, good.body
    mean = good.json()["outputs"][0]["content"][0]["mean_forecast"]
    assert mean == city.expected([city.origin(0)]).point[0].tolist()


def _answered(live: Server, request: bytes) -> Got:
    """The answer to a request that is sent again as often as it is told to come back, for a while: a siege fills a queue."""
    late = time.monotonic() + PATIENCE_SECONDS
    while True:
        got = ask(live, request)
        wait = got.headers.get("retry-after")
        if got.status != 503 or wait is None or time.monotonic() > late:
            return got
        time.sleep(float(wait))
