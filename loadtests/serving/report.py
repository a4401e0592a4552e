"""The findings as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence

from loadtests.serving.entries import main_entry
from loadtests.serving.findings import Findings
from loadtests.serving.ratios import ratio
from loadtests.serving.servers import key
from loadtests.serving.settings import NAMES, WORKS, Settings

MISSING = "missing"


def markdown(findings: Findings, settings: Settings, about: dict[str, str]) -> str:
    """The whole report."""
    parts = [
        "# Serving, measured against peers",
        "\n".join(f"- {name}: {text}" for name, text in about.items()),
        _how(settings),
        "## Ratios",
        table(("what", "work", "requests/s or series/s", "against", "ratio", "over rounds"), _ratios(findings, settings)),
        "## Processor time of the server for one answer",
        table(("server", "work", "ms", "times ours", "over rounds"), _processor(findings, settings)),
        f"## Latency at 16 connections over {settings.tail_seconds} s ({settings.peer_tail_seconds} s for peers)",
        table(("asked", "requests/s", "p50 ms", "p99 ms", "p99/p50"), _tails(findings)),
        "## Memory after the load, and time from start to ready",
        table(("server", "work", "worker MiB", "all its processes MiB", "start to ready s"), _weights(findings, settings)),
        "## Memory of one worker of ours, request by request",
        table(("requests answered", "worker MiB"), _soak(findings)),
        "## Overload: four times the capacity, in open loop",
        table(
            (
                "requests", "capacity/s", "offered/s", "answered, share of capacity", "p99 of the answered ms",
                "p99 at a fifth of the capacity ms", "slowest refusal ms", "by status", "generator late (p99) ms",
            ),
            _overloads(findings),
        ),
    ]  # fmt: skip
    if findings.refused:
        lines = [f"- {name}: {count:,}" for name, count in findings.refused.items()]
        parts += ["## Refused at 16 connections or one (the rates count the others)", "\n".join(lines)]
    if findings.missing:
        parts += ["## Missing", "\n".join(f"- {name}: {why}" for name, why in findings.missing.items())]
    return "\n\n".join(parts) + "\n"


def _how(settings: Settings) -> str:
    return (
        f"{settings.rounds} rounds of {settings.seconds} s, 16 connections, one worker and one OpenMP thread each. A ratio is "
        "the median of the ratios of each round (smallest to largest)."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _ratios(findings: Findings, settings: Settings) -> Iterator[Sequence[str]]:
    for work in WORKS:
        for peer in settings.peers:
            yield _compared(
                f"ours / {NAMES[peer]}", work, findings.rates, main_entry("ours", work), main_entry(peer, work)
            )
    ours = main_entry("ours", "forecast")
    for name in ("gRPC typed", "gRPC V2", "V2 binary, 1 series"):
        yield _compared(f"{name} / our HTTP", "forecast", findings.rates, f"{ours}: {name}", ours)
    alone = findings.alone
    yield _compared("256 series at once / one at a time, JSON", "forecast", alone, f"{ours}: JSON, 256 series", ours)
    binary = f"{ours}: V2 binary"
    yield _compared(
        "256 series at once / one at a time, V2 binary",
        "forecast",
        alone,
        f"{binary}, 256 series",
        f"{binary}, 1 series",
    )
    for name in ("V2 binary", "gRPC typed"):
        at_once = f"{ours}: {name}, 256 series"
        yield _compared(f"256 series at once, {name} / JSON", "forecast", alone, at_once, f"{ours}: JSON, 256 series")


def _compared(what: str, work: str, found: dict[str, list[float]], name: str, other: str) -> Sequence[str]:
    letter = WORKS[work].partition(":")[0]
    rates = [_median(found.get(one)) for one in (name, other)]
    if name not in found or other not in found:
        return what, letter, rates[0], rates[1], MISSING, ""
    made = ratio(found[name], found[other])
    return what, letter, rates[0], rates[1], f"{made.median:.2f}", f"{made.low:.2f} to {made.high:.2f}"


def _median(rates: list[float] | None) -> str:
    return f"{statistics.median(rates):,.0f}" if rates else MISSING


def _processor(findings: Findings, settings: Settings) -> Iterator[Sequence[str]]:
    """Hardly touched by what else the machine does, unlike answers a second."""
    found = findings.processor
    for work, told in WORKS.items():
        ours = main_entry("ours", work)
        for server in settings.servers:
            name = main_entry(server, work)
            if name not in found:
                continue
            made = ratio(found[name], found[ours]) if ours in found else None
            times = (f"{made.median:.2f}", f"{made.low:.2f} to {made.high:.2f}") if made else (MISSING, "")
            yield NAMES[server], told.partition(":")[0], f"{statistics.median(found[name]) * 1e3:.2f}", *times


def _tails(findings: Findings) -> Iterator[Sequence[str]]:
    for name, tail in findings.tails.items():
        yield name, f"{tail.rate:,.0f}", ms(tail.p50), ms(tail.p99), f"{tail.p99 / tail.p50:.2f}"


def _weights(findings: Findings, settings: Settings) -> Iterator[Sequence[str]]:
    for server in settings.servers:
        for work, told in WORKS.items():
            weight = findings.memory.get(key(server, work))
            starts = findings.starts.get(server, []) if work == "forecast" else []
            seconds = f"{statistics.median(starts):.1f} ({min(starts):.1f} to {max(starts):.1f})" if starts else ""
            if weight:
                yield NAMES[server], told.partition(":")[0], mib(weight.worker), mib(weight.whole), seconds


def _soak(findings: Findings) -> Iterator[Sequence[str]]:
    for requests, size in findings.soak.items():
        yield f"{requests:,}", mib(size)


def _overloads(findings: Findings) -> Iterator[Sequence[str]]:
    for name, found in findings.overloads.items():
        storm, calm = found.storm, found.calm
        late = ms(storm.lag_p99) + ("" if storm.kept else ": it did not keep its schedule")
        yield (
            name,
            f"{found.capacity:,.0f}",
            f"{storm.due / storm.seconds:,.0f}",
            f"{found.share:.2f}",
            ms(storm.p99()),
            ms(calm.p99()),
            ms(storm.slowest_refusal()),
            ", ".join(f"{status}: {count:,}" for status, count in storm.statuses.items()),
            late,
        )


def ms(seconds: float) -> str:
    """Milliseconds; a dash for what there is none of."""
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:,.1f}"


def mib(size: int) -> str:
    """Mebibytes."""
    return f"{size / 2**20:,.0f}"
