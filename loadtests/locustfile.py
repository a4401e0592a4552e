"""Users for the `locust` command: `locust --headless -u 100 -t 60s` is 100 requests/s for a minute.

Names of users at the end choose protocols: `locust ... Native Grpc`. Load over time: loadtests/shapes. How requests
are timed stands in `loadtests.users`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # locust adds this file's folder, not the project's

from locust import events
from locust.env import Environment

from loadtests.users import V2, Binary, Forecaster, Grpc, Native, StatusError

__all__ = ["V2", "Binary", "Grpc", "Native"]

#: A request that is sent this long after it was due measures the generator; so many may.
LATE_SECONDS, LATE_SHARE = 0.05, 0.01
#: Exit code of a run in which more were.
GENERATOR_IS_THE_LIMIT = 9
#: Where it stands in what a worker reports to its master.
LATENESS = "lateness"

logger = logging.getLogger("bentocast.loadtests")


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"got {text}, wanted a number above 0")
    return value


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: ArgumentParser) -> None:
    """Options of ours, which workers get from their master."""
    parser.add_argument("--rate", type=_rate, default=1.0, help="requests a second of each user (default: 1)")


class Lateness:
    """Counts what was sent too late, by this process and by workers that report to it, and says so at the end."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._own: Counter[str] = Counter()
        self._workers: dict[str, Counter[str]] = {}

    def hear(self, *, context: dict[str, Any], **_: object) -> None:
        """Of each request that this process sent."""
        self._own["sent"] += 1
        self._own["late"] += context.get("late", 0.0) > LATE_SECONDS

    def report(self, *, data: dict[str, Any], **_: object) -> None:
        """On a worker: tell the master, every few seconds. All since the start, so that a lost report costs nothing."""
        data[LATENESS] = dict(self._own)

    def gather(self, *, client_id: str, data: dict[str, Any], **_: object) -> None:
        """On a master: hear a worker."""
        self._workers[client_id] = Counter(data[LATENESS])

    def tell(self, **_: object) -> None:
        """At the end."""
        whole = sum(self._workers.values(), self._own)
        if whole["late"] > LATE_SHARE * whole["sent"]:
            logger.error(
                "the generator, not the service, was the limit: it sent %d of %d requests more than %d ms late; use more "
                "processes (--processes -1) or machines (--master, --worker), or a lower rate",
                whole["late"],
                whole["sent"],
                LATE_SECONDS * 1e3,
            )
            self._environment.process_exit_code = GENERATOR_IS_THE_LIMIT


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def connect(environment: Environment, **_: object) -> None:
    """Connect before the first request is due: what is imported and made for it would keep other users waiting."""
    for kind in environment.user_classes:
        if issubclass(kind, Forecaster):
            with contextlib.suppress(StatusError):  # each user tells of it
                kind.shared(environment.host)


@events.init.add_listener  # type: ignore[untyped-decorator]
def watch(environment: Environment, **_: object) -> None:
    """Watch the generator itself."""
    lateness = Lateness(environment)
    for event, heard in (
        (environment.events.request, lateness.hear),
        (environment.events.report_to_master, lateness.report),
        (environment.events.worker_report, lateness.gather),
        (environment.events.quitting, lateness.tell),
    ):
        event.add_listener(heard)  # type: ignore[no-untyped-call]
