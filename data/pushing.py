"""What a stage of the pipeline tells Prometheus of its begin and end, by way of a Pushgateway: it is gone when it is asked.

Best effort: a gateway that is away, or slow, neither fails nor holds up a stage.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from data import command
from data.sources import address

#: Address of the gateway, `host:port` or a URL; nothing is pushed without it.
GATEWAY = "PUSHGATEWAY"
LIMIT_SECONDS = 2.0


@contextlib.contextmanager
def told(stage: str) -> Iterator[None]:
    """Run a stage, and push that it began and how it ended; one that is interrupted has not ended."""
    began = time.monotonic()
    _started(stage)
    try:
        yield
    except Exception:
        _push(stage, time.monotonic() - began, success=False)
        raise
    _push(stage, time.monotonic() - began, success=True)


def _started(stage: str) -> None:
    """Not waited for: the end tells of a gateway that is away."""
    if gateway := os.environ.get(GATEWAY):
        _send(gateway, stage, _registry({"started_timestamp_seconds": ("When a run last began", time.time())}), [])


def _push(stage: str, seconds: float, *, success: bool) -> None:
    gateway = os.environ.get(GATEWAY)
    if not gateway:
        return
    faults: list[BaseException] = []
    thread = _send(gateway, stage, _numbers(seconds, success=success), faults)
    thread.join(LIMIT_SECONDS)
    if thread.is_alive() or faults:
        why = "no answer in time" if thread.is_alive() else f"{type(faults[0]).__name__}: {faults[0]}"
        command.say(f"the Pushgateway at {address.mask(gateway)} was not told that {stage} ended: {address.mask(why)}")


def _send(gateway: str, stage: str, registry: CollectorRegistry, faults: list[BaseException]) -> threading.Thread:
    def push() -> None:
        try:  # `pushadd` leaves what is not pushed: the time of the last success outlives a failure
            pushadd_to_gateway(gateway, "pipeline", registry, {"stage": stage}, timeout=LIMIT_SECONDS)
        except Exception as err:
            faults.append(err)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    return thread


def _numbers(seconds: float, *, success: bool) -> CollectorRegistry:
    now = time.time()
    numbers = {
        "success": ("1 if the last run succeeded", float(success)),
        "duration_seconds": ("How long the last run took", seconds),
        "last_run_timestamp_seconds": ("When the last run ended", now),
    }
    if success:
        numbers["last_success_timestamp_seconds"] = ("When a run last succeeded", now)
    return _registry(numbers)


def _registry(numbers: Mapping[str, tuple[str, float]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    for name, (text, value) in numbers.items():
        Gauge(f"pipeline_stage_{name}", text, registry=registry).set(value)
    return registry
