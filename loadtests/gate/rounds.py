"""Rounds: both sides are measured with the same schedule, in random order, until the verdict is clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from data.params import LoadGate
from loadtests.arrivals import Source, Told, picks, poisson
from loadtests.faults import LoadtestError
from loadtests.gate.judge import Round, Side
from loadtests.gate.measured import BASELINE, SIDES, Measured
from loadtests.processes import Server

#: Before anything is measured.
WARM_UP_SECONDS = 2.0
#: Furthest that the wall clock may move against the monotonic one.
CLOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Contest:
    """Two sides that are up.

    Attributes:
        servers: by side.
        families: pids of each side once it was ready; all have to last.
        sources: of load, by side.
        plan: how they are compared.
        limit_seconds: an answer that took longer does not count for the throughput.
        draw: of chance.
        clock: wall clock, seconds.
    """

    servers: Mapping[str, Server]
    families: Mapping[str, frozenset[int]]
    sources: Mapping[str, Source]
    plan: LoadGate
    limit_seconds: float
    draw: np.random.Generator
    clock: Callable[[], float] = time.time


def warm_up(contest: Contest, measured: Measured) -> None:
    """Use both sides until what they learn and cache is learnt; fixes the rate of the rounds.

    Raises:
        LoadtestError: a side answers nothing right.
    """
    for side in SIDES:
        source = contest.sources[side]
        drawn = picks(10_000, len(source.connection.messages), contest.draw)
        told = source.saturate(contest.plan.connections, WARM_UP_SECONDS, drawn)
        if not told.latencies:
            raise LoadtestError(f"{side} ({_tag(contest, side)}) answers no request right in the warm-up: {told.worst}")
        if side == BASELINE:
            measured.capacity = len(told.latencies) / told.seconds
    measured.rate = measured.capacity * contest.plan.load


def run(contest: Contest, measured: Measured, clear: Callable[[Measured], bool]) -> None:
    """Measure round by round until the verdict is clear, or there were enough of them.

    Raises:
        LoadtestError: a round without a right answer, or a clock that jumped.
        DiedError: a side died.
    """
    began = contest.clock() - time.monotonic()
    for number in range(1, contest.plan.rounds + 1):
        measured.rounds.append(_round(contest, measured, number))
        drift = contest.clock() - time.monotonic() - began
        if abs(drift) > CLOCK_SECONDS:
            raise LoadtestError(
                f"the clock jumped by {drift:+.1f} s in round {number} (set by hand, or the machine slept): run the gate again"
            )
        if clear(measured):
            return


def _round(contest: Contest, measured: Measured, number: int) -> Round:
    plan = contest.plan
    first = contest.sources[BASELINE]
    times = poisson(measured.rate, plan.seconds, contest.draw)
    if not times.size:
        raise LoadtestError(
            f"round {number}: no request is due at {measured.rate:.3g} requests/s in {plan.seconds:g} s: "
            "raise loadtest.gate.load or loadtest.gate.seconds"
        )
    drawn = picks(max(times.size, 10_000), len(first.connection.messages), contest.draw)
    order = SIDES if contest.draw.random() < 0.5 else SIDES[::-1]
    offered = {side: _offered(contest, side, lambda one: one.offer(times, drawn[: times.size])) for side in order}
    full = {
        side: _offered(contest, side, lambda one: one.saturate(plan.connections, plan.seconds / 2, drawn))
        for side in order
    }
    for side in SIDES:
        contest.servers[side].check_alive(contest.families[side])
        _checked(side, number, offered[side][0], full[side][0])
    _remember(measured, offered, full)
    return Round(**{side: _side(contest, side, *offered[side], full[side][0]) for side in SIDES})


def _offered(contest: Contest, side: str, load: Callable[[Source], Told]) -> tuple[Told, float]:
    """What was told, and the processor time of the service meanwhile."""
    server = contest.servers[side]
    before = server.processor_seconds()
    told = load(contest.sources[side])
    return told, server.processor_seconds() - before


def _side(contest: Contest, side: str, offered: Told, spent: float, full: Told) -> Side:
    return Side(
        p50=offered.percentile(0.5),
        p95=offered.percentile(0.95),
        p99=offered.percentile(0.99),
        throughput=full.within(contest.limit_seconds) / full.seconds,
        processor=spent / offered.asked,
        memory=contest.servers[side].memory().whole,
        asked=offered.asked + full.asked,
        faults=offered.failed + full.failed,
    )


def _checked(side: str, number: int, *rounds: Told) -> None:
    for told in rounds:
        if not told.latencies:
            raise LoadtestError(f"round {number}: {side} answers none of {told.asked} requests right: {told.worst}")


def _remember(
    measured: Measured, offered: Mapping[str, tuple[Told, float]], full: Mapping[str, tuple[Told, float]]
) -> None:
    for side in SIDES:
        measured.latencies[side] += offered[side][0].latencies
        for told in (offered[side][0], full[side][0]):
            for fault, count in told.faults.items():
                measured.faults[side][fault] = measured.faults[side].get(fault, 0) + count
    late = [told.late for told, _ in offered.values()]
    measured.late_p99.append(max(float(np.quantile(one, 0.99)) for one in late))
    measured.busiest.append(max(told.generator for told, _ in (*offered.values(), *full.values())))


def _tag(contest: Contest, side: str) -> str:
    return contest.servers[side].command.name
