"""The measurements, one after another, each filling its part of the findings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from data import command
from loadtests.processes import Command, Mark, Server, running
from loadtests.serving import asking, h2load, openloop
from loadtests.serving.asking import AnswerError
from loadtests.serving.entries import Entry, main_entry
from loadtests.serving.findings import Findings, Overload, Tail
from loadtests.serving.ratios import percentile
from loadtests.serving.servers import key
from loadtests.serving.settings import WORKS, Settings

SOAK_FIRST, SOAK_STEP = 10_000, 20_000
STORM, CALM = 4.0, 0.2
#: Enough to keep a worker busy, and too few for it to refuse one of them.
CAPACITY_CONNECTIONS = 4
#: What is measured on one connection: many series at once, and one at a time.
ALONE = (
    "ours forecast",
    "ours forecast: JSON, 256 series",
    "ours forecast: V2 binary, 1 series",
    "ours forecast: V2 binary, 256 series",
    "ours forecast: gRPC typed, 256 series",
)
#: What is measured at 16 connections besides the servers' main entries.
BESIDES = ("ours forecast: gRPC typed", "ours forecast: gRPC V2", "ours forecast: V2 binary, 1 series")
OVERLOADED = ("ours forecast", "ours forecast: JSON, 32 series")

Servers = Mapping[str, Server]
Entries = Mapping[str, Entry]


def check(entries: list[Entry], servers: Servers, findings: Findings) -> dict[str, Entry]:
    """Ask everything once; what our service does not answer yet is left out and named.

    Raises:
        AnswerError: a peer does not answer.
        NumbersError: a server's numbers are not those of the others.
    """
    good = {}
    for entry in entries:
        try:
            good[entry.name] = asking.checked(entry, servers[key(entry.server, entry.work)].port)
        except AnswerError as err:
            if entry.server != "ours":
                raise
            findings.missing[entry.name] = err.message.removeprefix(f"{entry.name}: ")
            command.say(f"missing: {err.message}")
    command.say(f"{len(good)} ways to ask give the same numbers")
    return good


def starts(commands: Mapping[str, Command], settings: Settings, logs: Path, mark: Mark, findings: Findings) -> None:
    """From nothing to the first 200, ours and stock in turn, nothing else running."""
    chosen = [server for server in ("ours", "stock_bentoml") if server in settings.servers]
    for turn in range(settings.rounds):
        for server in random.Random(f"{settings.seed} starts {turn}").sample(chosen, len(chosen)):
            name = key(server, "forecast")
            with running({name: commands[name]}, logs, mark=mark) as started:
                findings.starts.setdefault(server, []).append(started[name].ready_seconds)
            command.say(f"start {turn + 1}/{settings.rounds}: {server} {findings.starts[server][-1]:.1f} s")


def rounds(entries: Entries, servers: Servers, settings: Settings, findings: Findings) -> None:
    """Answers a second of every server and processor time for each, all in each round, in random order."""
    mains = [main_entry(server, work) for server in settings.servers for work in WORKS]
    names = [name for name in (*mains, *BESIDES) if name in entries]

    def measure(entry: Entry) -> float:
        server = servers[key(entry.server, entry.work)]
        h2load.for_seconds(entry, server.port, settings.warm_up)
        before = server.processor_seconds()
        loaded = h2load.for_seconds(entry, server.port, settings.seconds)
        spent = server.processor_seconds() - before
        findings.count(entry.name, loaded.failed)
        findings.processor.setdefault(entry.name, []).append(spent / loaded.succeeded)
        return loaded.rate

    _interleaved("round", names, entries, settings, measure, findings.rates, "requests/s")


def batches(entries: Entries, servers: Servers, settings: Settings, findings: Findings) -> None:
    """Series a second on one connection: many in a request, and one at a time."""
    names = [name for name in ALONE if name in entries]

    def measure(entry: Entry) -> float:
        port = _port(servers, entry)
        loaded = h2load.for_seconds(entry, port, settings.seconds, connections=1, warm_up=settings.warm_up)
        findings.count(entry.name, loaded.failed)
        return loaded.rate * entry.series

    _interleaved("one connection, round", names, entries, settings, measure, findings.alone, "series/s")


def tails(entries: Entries, servers: Servers, settings: Settings, logs: Path, findings: Findings) -> None:
    """Percentiles at 16 connections over a longer time."""
    names = [main_entry(server, work) for server in settings.servers for work in WORKS]
    for name in (name for name in (*names, BESIDES[0]) if name in entries):
        entry, log = entries[name], logs / "latencies.log"
        log.unlink(missing_ok=True)
        port = _port(servers, entry)
        seconds = settings.tail_seconds if entry.server == "ours" else settings.peer_tail_seconds
        loaded = h2load.for_seconds(entry, port, seconds, warm_up=settings.warm_up, log=log)
        findings.count(name, loaded.failed)
        took = h2load.latencies(log)
        found = Tail(loaded.rate, percentile(took, 0.5), percentile(took, 0.99))
        findings.tails[name] = found
        command.say(f"{seconds} s: {name}: p50 {found.p50 * 1e3:.1f} ms, p99 {found.p99 * 1e3:.1f} ms")
        log.unlink()


def memory(servers: Servers, findings: Findings) -> None:
    """Resident memory of every server after its load."""
    findings.memory = {name: server.memory() for name, server in servers.items()}


def overloads(entries: Entries, servers: Servers, settings: Settings, findings: Findings) -> None:
    """Four times the capacity in open loop, and a fifth of it to compare with."""
    for name in (name for name in OVERLOADED if name in entries):
        entry = entries[name]
        port = _port(servers, entry)
        capacity = h2load.for_seconds(
            entry, port, settings.overload_seconds, connections=CAPACITY_CONNECTIONS, warm_up=settings.warm_up
        ).rate
        request = openloop.request(entry.path, entry.body.read_bytes(), entry.headers)
        seconds = float(settings.overload_seconds)
        calm, storm = (
            openloop.offer(port, request, openloop.schedule(share * capacity, seconds, settings.seed), seconds)
            for share in (CALM, STORM)
        )
        findings.overloads[name] = Overload(capacity, calm, storm)
        command.say(f"overload: {name}: {storm.due} requests in {seconds:.0f} s: {storm.statuses}")


def soak(
    entries: Entries, commands: Mapping[str, Command], settings: Settings, logs: Path, mark: Mark, findings: Findings
) -> None:
    """Memory of one fresh worker of ours after ever more requests."""
    name = main_entry("ours", "forecast")
    if name not in entries:
        return
    server = key("ours", "forecast")
    with running({server: commands[server]}, logs, mark=mark) as started:
        answered = 0
        while answered < settings.soak:
            step = min(SOAK_STEP, settings.soak - answered) if answered else SOAK_FIRST
            h2load.for_requests(entries[name], started[server].port, step)
            answered += step
            findings.soak[answered] = started[server].memory().worker
            command.say(f"soak: {answered:,} requests: {findings.soak[answered] / 2**20:.0f} MiB")


def _port(servers: Servers, entry: Entry) -> int:
    return servers[key(entry.server, entry.work)].port


def _interleaved(
    what: str,
    names: list[str],
    entries: Entries,
    settings: Settings,
    measure: Callable[[Entry], float],
    found: dict[str, list[float]],
    unit: str,
) -> None:
    for turn in range(settings.rounds):
        for name in random.Random(f"{settings.seed} {what} {turn}").sample(names, len(names)):
            found.setdefault(name, []).append(measure(entries[name]))
            command.say(f"{what} {turn + 1}/{settings.rounds}: {name}: {found[name][-1]:.1f} {unit}")
