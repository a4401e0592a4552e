"""One gate from start to end: both Bentos up, rounds until the verdict is clear, everything ended again."""

from __future__ import annotations

import contextlib
import datetime as dt
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data import command
from data.errors import ConfigError
from data.loadtest import Loadtest
from data.verdict import Check, Outcome, Verdict
from loadtests import users  # before anything that opens sockets: locust puts gevent in their place
from loadtests.arrivals import Source
from loadtests.asks import Ask, differences
from loadtests.faults import LoadtestError
from loadtests.gate import bentos, judge, rounds
from loadtests.gate.bentos import Bento
from loadtests.gate.measured import BASELINE, CANDIDATE, SIDES, Gated, Measured
from loadtests.gate.rounds import Contest
from loadtests.processes import Server

#: How often a verdict is asked for, at most.
LOOKS = 4
#: A generator that is busier than this, or late by more than this share of what it measures, measures itself.
BUSY, LATE = 0.9, 0.5


def run(baseline: str, candidate: str, settings: Loadtest, *, seed: int, port: int | None, logs: Path) -> Gated:
    """Compare two Bentos.

    Args:
        baseline: tag of the one that serves now.
        candidate: tag of the one that wants to.
        settings: how.
        seed: of order, schedules and requests.
        port: first of six that the two sides listen on; free ones if None.
        logs: folder that the logs of both go to.

    Raises:
        BentocastError: it could not be run; everything that was started is ended.
    """
    looks = _looks(settings)
    sides = {BASELINE: bentos.find(baseline), CANDIDATE: bentos.find(candidate)}
    began = dt.datetime.now(dt.UTC)
    measured = Measured()
    with bentos.serving(sides, port, logs) as servers, _sources(servers, sides, settings, seed) as sources:
        families = {side: server.family() for side, server in servers.items()}
        contest = Contest(
            servers, families, sources, settings.gate, settings.objective.seconds, np.random.default_rng(seed)
        )
        command.say("warming up both")
        rounds.warm_up(contest, measured)
        verdict = _rounds(contest, measured, settings, looks)
        ready = {side: server.ready_seconds for side, server in servers.items()}
    took = (dt.datetime.now(dt.UTC) - began).total_seconds()
    return Gated(began, took, sides, settings, seed, measured, verdict, ready)


def _looks(settings: Loadtest) -> tuple[int, ...]:
    """The rounds after which a verdict is asked for, checked before anything starts."""
    plan = settings.gate
    try:
        return judge.looks(judge.fewest(plan.limits, plan.confidence, LOOKS), plan.rounds, LOOKS)
    except ValueError as err:
        raise ConfigError(f"loadtest.gate: {err}", param="loadtest.gate") from err


def _rounds(contest: Contest, measured: Measured, settings: Loadtest, looks: tuple[int, ...]) -> Verdict:
    verdict = Verdict.of([])

    def clear(measured: Measured) -> bool:
        nonlocal verdict
        _say(measured, settings.gate.rounds)
        if len(measured.rounds) not in looks:
            return False
        judged = judge.judge(measured.rounds, settings.gate.limits, settings.gate.confidence, LOOKS)
        verdict = Verdict.of([*judged.checks, generator(measured)])
        return judge.settled(verdict)

    rounds.run(contest, measured, clear)
    return verdict


def generator(measured: Measured) -> Check:
    """Whether it was the service that was measured, and not what makes the load."""
    name = "generator"
    busy = statistics.median(measured.busiest)
    sides = [side for one in measured.rounds for side in (one.baseline, one.candidate)]
    late = {
        "p50": (statistics.median(measured.late_p50), statistics.median(side.p50 for side in sides)),
        "p99": (statistics.median(measured.late_p99), statistics.median(side.p99 for side in sides)),
    }
    numbers = {"busy": busy} | {f"late_{figure}": seconds for figure, (seconds, _) in late.items()}
    text = f"generator: {busy:.0%} of a core, late by {late['p50'][0] * 1e3:.2f} ms (p50), {late['p99'][0] * 1e3:.2f} ms (p99)"
    fault = ""
    if busy >= BUSY:
        fault = "is the limit of the throughput; lower loadtest.gate.connections"
    for figure, (seconds, took) in late.items():
        if seconds > LATE * took:
            fault = fault or (
                f"makes the {figure} of {took * 1e3:.2f} ms; give it a core of its own, or lower loadtest.gate.load"
            )
    if fault:
        text = f"{text}: the generator, not the service, {fault}"
    return Check(name=name, outcome=Outcome.INCONCLUSIVE if fault else Outcome.PASS, text=text, numbers=numbers)


@contextlib.contextmanager
def _sources(
    servers: dict[str, Server], sides: dict[str, Bento], settings: Loadtest, seed: int
) -> Iterator[dict[str, Source]]:
    """Load for both, of the same requests: those that are made from the baseline's model."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Source] = {}
        for side in SIDES:
            same = made[BASELINE].connection.asks if made else None
            made[side] = _source(servers[side], side, settings, seed, same)
            stack.callback(made[side].close)
            serves = made[side].connection.wanted.bento
            if serves != sides[side].tag:
                raise LoadtestError(
                    f"{side}: asked for {sides[side].tag}, but {serves} answers on port {servers[side].port}"
                )
        apart = differences(*(made[side].connection.wanted for side in SIDES))
        if apart:
            raise LoadtestError(
                f"baseline and candidate cannot be compared, their models want {'; '.join(apart)}: the same requests would "
                "be other work; compare Bentos of models with the same features"
            )
        yield made


def _source(server: Server, side: str, settings: Loadtest, seed: int, same: list[Ask] | None) -> Source:
    try:
        return Source(f"http://127.0.0.1:{server.port}", settings.protocol, seed, same)
    except users.StatusError as err:
        raise LoadtestError(f"{side} ({server.command.name}) cannot be asked: {err}") from err


def _say(measured: Measured, most: int) -> None:
    """Tell a person who waits."""
    last = measured.rounds[-1]
    command.say(
        f"round {len(measured.rounds)} of at most {most} (baseline / candidate): "
        f"p50 {last.baseline.p50 * 1e3:.2f} / {last.candidate.p50 * 1e3:.2f} ms, "
        f"p95 {last.baseline.p95 * 1e3:.2f} / {last.candidate.p95 * 1e3:.2f} ms, "
        f"{last.baseline.throughput:,.0f} / {last.candidate.throughput:,.0f} requests/s"
    )
