"""The search for the knee on a real service: one that runs, or a Bento that is started for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data import command
from data.loadtest import Loadtest
from loadtests import users  # before anything that opens sockets: locust puts gevent in their place
from loadtests.arrivals import Source, picks, poisson
from loadtests.faults import LoadtestError
from loadtests.gate import bentos
from loadtests.knee import search
from loadtests.knee.search import Climbed, Probe

WARM_UP_SECONDS = 2.0
CONNECTIONS = 8
#: The first rate, as a share of what comes back on `CONNECTIONS` connections.
START = 0.25


def run(tag: str, host: str | None, settings: Loadtest, *, seconds: float, logs: Path) -> Climbed:
    """Search.

    Args:
        tag: of the Bento to start, unless there is a host.
        host: address of a service that runs, or None.
        settings: protocol and objective.
        seconds: of a probe.
        logs: folder that a started Bento's log goes to.

    Raises:
        BentocastError: it could not be run; everything that was started is ended.
    """
    draw = np.random.default_rng()
    with _served(tag, logs) if host is None else contextlib.nullcontext(host) as address:
        source = _source(address, settings.protocol)
        with contextlib.closing(source):
            many = len(source.connection.messages)

            def ask(rate: float) -> Probe:
                times = poisson(rate, seconds, draw)
                told = search.probe(source.offer(times, picks(times.size, many, draw)), rate, settings.objective)
                command.say(_line(told))
                return told

            knee = search.search(ask, _start(source, many, draw), settings.objective)
            return Climbed(source.connection.wanted.bento, knee, settings.protocol)


def _start(source: Source, many: int, draw: np.random.Generator) -> float:
    told = source.saturate(CONNECTIONS, WARM_UP_SECONDS, picks(10_000, many, draw))
    if not told.latencies:
        raise LoadtestError(f"the service answers no request right in the warm-up: {told.worst}")
    return START * len(told.latencies) / told.seconds


@contextlib.contextmanager
def _served(tag: str, logs: Path) -> Iterator[str]:
    with bentos.serving({"bento": bentos.find(tag)}, None, logs) as servers:
        yield f"http://127.0.0.1:{servers['bento'].port}"


def _source(host: str, protocol: str) -> Source:
    try:
        return Source(host, protocol, users.SEED)
    except users.StatusError as err:
        raise LoadtestError(
            f"{host} cannot be asked: {err}; start the service, or say where it is with --host"
        ) from err


def _line(told: Probe) -> str:
    kept = "kept" if told.kept else "broken by the generator" if told.fault else "broken"
    return f"{told.rate:,.0f} requests/s: {told.latency * 1e3:.1f} ms, {told.errors:.2%} errors: {kept}"
