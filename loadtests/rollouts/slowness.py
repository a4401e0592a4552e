"""How soon a slower version is found: a copy whose p95 is so many times as long, found by trying, and rolled out."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from data.command import say
from loadtests import spoiled
from loadtests.faults import LoadtestError
from loadtests.rollouts import site
from loadtests.rollouts.plans import BARE
from loadtests.rollouts.site import Site
from loadtests.serving import openloop
from loadtests.serving.ratios import percentile

#: A slow version's p95, as a multiple, and by how much it may miss that.
SLOWER, NEAR = 1.3, 0.04
#: Copies that are made to find one like that.
TRIES = 8
#: Turns in which a copy is compared with what it is a copy of. Requests are so far apart that none waits for another: time
#: in line is no property of a version.
TURNS, TURN_SECONDS, APART_SECONDS = 8, 5.0, 0.05


@dataclass(frozen=True)
class Case:
    """What slowness is looked for in.

    Attributes:
        share: of requests that are slower.
        series: in each request.
        rate: requests/s.
    """

    share: float
    series: int
    rate: int


#: Long requests, all of them slower, and three of ten; then short ones.
CASES = (Case(1.0, 32, 40), Case(0.3, 32, 40), Case(1.0, 1, 100))


def slow(tag: str, params: Path, _: int) -> list[tuple[str, str]]:
    """Canaries that are 30 % slower at p95."""
    return [row for case in CASES for row in _slow(tag, params, case)]


def _slow(tag: str, params: Path, case: Case) -> list[tuple[str, str]]:
    bad, before, p95 = _slowed(tag, params, case)
    name = f"{p95 / before - 1:.0%} slower at p95, by a loop in {case.share:.0%} of requests of {case.series} series"
    say(name)
    try:
        with site.up(tag, BARE, params) as place, _asking(place, case):
            time.sleep(10.0)
            done = place.run("canary", bad)
    finally:
        spoiled.remove(bad)
    steps = [line for _, line in done.lines if line.startswith("step ")]
    say(f"{name}: {steps[-1] if steps else '?'}; {done.last}")
    return [
        (f"{name}: p95, each alone", f"{before * 1e3:.1f} ms, {p95 * 1e3:.1f} ms"),
        (f"{name}: found at", steps[-1][:60] if steps else "?"),
        (f"{name}: ended", done.last[:200]),
    ]


def _slowed(tag: str, params: Path, case: Case) -> tuple[str, float, float]:
    """A copy whose p95 is `SLOWER` times as long, and both p95s.

    How long its loop must be is found by trying: of a loop in some requests, p95 sees a part.

    Raises:
        LoadtestError: no loop was found.
    """
    share = case.share
    with site.up(tag, BARE, params) as own:
        loop = (SLOWER - 1) * _p95(case, own)[0] / share**0.5
        tried = {0.0: 1.0}
        for _ in range(TRIES):
            bad = spoiled.make(tag, spoiled.slow(loop, share), f"slow-{share * 100:.0f}")
            try:
                with site.up(bad, BARE, params) as other:
                    before, p95 = _p95(case, own, other)
            except BaseException:
                spoiled.remove(bad)
                raise
            say(f"a loop of {loop * 1e3:.2f} ms in {share:.0%} of requests: p95 {p95 / before:.2f}x")
            if abs(p95 / before - SLOWER) <= NEAR:
                return bad, before, p95
            spoiled.remove(bad)
            tried[loop] = p95 / before
            loop = _between(tried)
    came = ", ".join(f"{loop * 1e3:.2f} ms: {ratio:.2f}" for loop, ratio in tried.items())
    raise LoadtestError(
        f"wanted a loop in {share:.0%} of requests that makes p95 {SLOWER:g} times as long, got none in {TRIES} tries ({came}): "
        "end what else the machine does, and run it again"
    )


def _between(tried: dict[float, float]) -> float:
    """A loop between the longest that was too short and the shortest that was too long; twice the longest if none was.

    Args:
        tried: by loop in seconds, p95 as a multiple of that without one; a loop of nothing is among them.
    """
    short = max(loop for loop, ratio in tried.items() if ratio < SLOWER)
    long = min((loop for loop, ratio in tried.items() if ratio >= SLOWER and loop > short), default=None)
    if long is None:
        return 2 * max(tried)
    part = (SLOWER - tried[short]) / (tried[long] - tried[short])
    return short + min(max(part, 0.2), 0.8) * (long - short)


@contextlib.contextmanager
def _asking(place: Site, case: Case) -> Iterator[None]:
    """Users who ask until the block ends.

    Raises:
        LoadtestError: they stopped before, so what was seen was seen without them.
    """
    request, over = _request(place, case), threading.Event()

    def ask() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            times = openloop.schedule(case.rate, TURN_SECONDS, turn)
            openloop.offer(place.port, request, times, TURN_SECONDS, connections=64)

    users = threading.Thread(target=ask)
    users.start()
    try:
        yield
        if not users.is_alive():
            raise LoadtestError(
                f"{place.url}: the users stopped asking before the rollout ended; see the traceback above"
            )
    finally:
        over.set()
        users.join()


def _p95(case: Case, *places: Site) -> list[float]:
    """Of half a minute of requests to each, one by one and in turns, seconds, through their routers."""
    request = _request(places[0], case)
    took: list[list[float]] = [[] for _ in places]
    for turn in range(TURNS + 1):
        for place, times in zip(places, took, strict=True):
            due = np.arange(0.0, TURN_SECONDS, APART_SECONDS)
            offered = openloop.offer(place.port, request, due, TURN_SECONDS, connections=4)
            if turn:  # the first warms up
                times.extend(offered.latencies.get(200, []))
    return [percentile(one, 0.95) for one in took]


def _request(place: Site, case: Case) -> bytes:
    """A forecast of so many series."""
    examples = requests.get(f"{place.url}/v1/timeseries/examples", timeout=30).json()["examples"]
    asked = examples[0]["request"]
    asked["inputs"] = [one | {"name": f"{number}"} for number in range(case.series) for one in asked["inputs"][:1]]
    body = json.dumps(asked).encode()
    return openloop.request("/v1/timeseries/forecast", body, ("content-type: application/json",))
