"""Rounds: both sides are measured with the same schedule, in random order, until the verdict is clear."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from data.loadtest import LoadGate
from loadtests.arrivals import Source, Told, picks, poisson
from loadtests.faults import LoadtestError
from loadtests.gate.judge import Round, Side
from loadtests.gate.measured import BASELINE, PIECES, SATURATED, SIDES, Measured
from loadtests.processes import Server

#: Before anything is measured each side is used so often for so long, in turn.
WARM_UPS, WARM_UP_SECONDS = 8, 0.25
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
    told: dict[str, list[Told]] = {side: [] for side in SIDES}
    for _ in range(WARM_UPS):
        for side in SIDES:
            source = contest.sources[side]
            drawn = picks(10_000, len(source.connection.messages), contest.draw)
            told[side].append(source.saturate(contest.plan.connections, WARM_UP_SECONDS, drawn))
    for side in SIDES:
        whole = Told.joined(told[side])
        if not whole.latencies:
            raise LoadtestError(
                f"{side} ({_tag(contest, side)}) answers no request right in the warm-up: {whole.worst}"
            )
    rates = [len(one.latencies) / one.seconds for one in told[BASELINE]]
    measured.capacity = statistics.median(rates[WARM_UPS // 2 :])
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
    many = len(contest.sources[BASELINE].connection.messages)
    order = SIDES if contest.draw.random() < 0.5 else SIDES[::-1]
    offered: dict[str, list[Told]] = {side: [] for side in SIDES}
    full: dict[str, list[Told]] = {side: [] for side in SIDES}
    spent = dict.fromkeys(SIDES, 0.0)
    for _ in range(PIECES):
        times = poisson(measured.rate, plan.seconds / PIECES, contest.draw)
        drawn = picks(max(times.size, 10_000), many, contest.draw)
        for side in order:
            before = contest.servers[side].processor_seconds()
            offered[side].append(contest.sources[side].offer(times, drawn[: times.size]))
            spent[side] += contest.servers[side].processor_seconds() - before
        for side in order:
            full[side].append(
                contest.sources[side].saturate(plan.connections, plan.seconds * SATURATED / PIECES, drawn)
            )
        order = order[::-1]
    sides = {}
    for side in SIDES:
        contest.servers[side].check_alive(contest.families[side])
        sides[side] = _side(contest, side, Told.joined(offered[side]), spent[side], full[side], number)
    _remember(measured, offered, full)
    return Round(**sides)


def _side(contest: Contest, side: str, offered: Told, spent: float, pieces: list[Told], number: int) -> Side:
    full = Told.joined(pieces)
    if not offered.asked:
        plan = contest.plan
        raise LoadtestError(
            f"round {number}: no request is due in {plan.seconds:g} s at {plan.load:g} of the baseline's throughput: "
            "raise loadtest.gate.load or loadtest.gate.seconds"
        )
    for told in (offered, full):
        if not told.right:
            raise LoadtestError(f"round {number}: {side} answers none of {told.asked} requests right: {told.worst}")
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


def _remember(measured: Measured, offered: Mapping[str, list[Told]], full: Mapping[str, list[Told]]) -> None:
    for side in SIDES:
        measured.latencies[side] += Told.joined(offered[side]).latencies
        for told in (*offered[side], *full[side]):
            for fault, count in told.faults.items():
                measured.faults[side][fault] = measured.faults[side].get(fault, 0) + count
    late = [Told.joined(offered[side]).late for side in SIDES]
    measured.late_p50.append(max(float(np.quantile(one, 0.5)) for one in late))
    measured.late_p99.append(max(float(np.quantile(one, 0.99)) for one in late))
    measured.busiest.append(max(Told.joined(one).generator for one in (*offered.values(), *full.values())))


def _tag(contest: Contest, side: str) -> str:
    return contest.servers[side].command.name
