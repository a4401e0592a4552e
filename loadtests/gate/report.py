"""What a gate tells: text for a terminal, JSON for machines, one HTML file with plots for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data import atomic
from data import page as html
from data.verdict import Check, Outcome
from loadtests.gate import plots
from loadtests.gate.measured import PIECES, SATURATED, SIDES, Gated

PAGE, NUMBERS = "gate.html", "gate.json"
#: How a figure is shown: what it is divided by, and its unit.
UNITS = {
    "p50": (1e-3, "ms"),
    "p95": (1e-3, "ms"),
    "p99": (1e-3, "ms"),
    "throughput": (1.0, "requests/s"),
    "processor": (1e-3, "ms a request"),
    "memory": (2.0**20, "MiB"),
    "errors": (0.01, "%"),
}
PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


def write(found: Gated, folder: Path) -> None:
    """Write the page and the numbers into a folder."""
    atomic.write_text(folder / NUMBERS, json.dumps(document(found), indent=1) + "\n")
    atomic.write_text(folder / PAGE, page(found))


def document(found: Gated) -> dict[str, Any]:
    """All numbers, as JSON takes them."""
    measured = found.measured
    return {
        "outcome": found.verdict.outcome,
        "checks": [check.model_dump(mode="json") for check in found.verdict.checks],
        "began": found.began.isoformat(timespec="seconds"),
        "seconds": found.seconds,
        "sides": {side: asdict(bento) for side, bento in found.sides.items()},
        "settings": found.settings.model_dump(mode="json"),
        "seed": found.seed,
        "rate": measured.rate,
        "capacity": measured.capacity,
        "ready_seconds": found.ready_seconds,
        "percentiles": {
            side: {f"{share:g}": float(np.quantile(measured.latencies[side], share)) for share in PERCENTILES}
            for side in SIDES
        },
        "faults": measured.faults,
        "rounds": [asdict(one) for one in measured.rounds],
    }


def text(found: Gated) -> str:
    """The verdict, a line a figure."""
    head = (
        f"{found.verdict.outcome.upper()}: {found.sides['candidate'].tag} against {found.sides['baseline'].tag}, "
        f"{len(found.measured.rounds)} rounds, {found.seconds:.0f} s, {found.measured.rate:.0f} requests/s"
    )
    lines = [head, *(f"  {check.outcome:12} {check.text}" for check in found.verdict.checks)]
    lines += [
        f"  {side}: {count:,} x {fault}" for side in SIDES for fault, count in found.measured.faults[side].items()
    ]
    return "\n".join(lines)


def page(found: Gated) -> str:
    """The whole report as one HTML document that needs nothing else."""
    outcome, candidate = found.verdict.outcome.value, found.sides["candidate"].tag
    rows = [(check.outcome.value, _cells(check)) for check in found.verdict.checks]
    faults = (
        (side, [side, f"{count:,}", fault]) for side in SIDES for fault, count in found.measured.faults[side].items()
    )
    return html.document(
        f"{outcome}: {candidate}",
        [
            html.heading(outcome, candidate),
            html.paragraph(_words(found)),
            html.paragraph(f"Against {found.sides['baseline'].tag}, {found.began:%Y-%m-%d %H:%M} UTC.", quiet=True),
            html.table(("figure", "baseline", "candidate", "candidate / baseline", "limit", ""), rows),
            *([html.table(("side", "times", "fault"), faults)] if any(found.measured.faults.values()) else []),
            html.picture("How sure that is", plots.intervals(found)),
            html.picture("Latencies", plots.latencies(found)),
            html.picture("Round by round", plots.rounds(found)),
            html.paragraph(_how(found), quiet=True),
        ],
    )


def shown(name: str, value: float) -> str:
    """A figure in its unit."""
    divisor, unit = UNITS[name]
    return f"{value / divisor:,.4g} {unit}"


def _words(found: Gated) -> str:
    by_outcome = {
        outcome: [check.name for check in found.verdict.checks if check.outcome is outcome] for outcome in Outcome
    }
    if found.verdict.outcome is Outcome.PASS:
        return "Every figure lies within its limit."
    if found.verdict.outcome is Outcome.FAIL:
        return f"Worse than the limit allows: {', '.join(by_outcome[Outcome.FAIL])}."
    if found.verdict.outcome is Outcome.ERROR:
        return f"Could not be judged: {', '.join(by_outcome[Outcome.ERROR])}."
    unclear = ", ".join(by_outcome[Outcome.INCONCLUSIVE])
    return f"Nothing is worse than the limit for sure, and not everything is within it for sure: {unclear}."


def _cells(check: Check) -> list[str]:
    numbers = check.numbers
    if check.name not in UNITS or "estimate" not in numbers:
        return [check.name, "", "", check.text, "", check.outcome]
    sides = [shown(check.name, numbers[side]) for side in SIDES]
    low, high = numbers.get("low", 0.0), numbers.get("high", float("inf"))
    number = "{:+.4f}" if check.name == "errors" else "{:.3f}"
    between = number + " (" + number + " to " + number + ")"
    limit = f"{numbers['limit']:g}" if "limit" in numbers else "none"
    return [check.name, *sides, between.format(numbers["estimate"], low, high), limit, check.outcome]


def _how(found: Gated) -> str:
    measured, plan = found.measured, found.settings.gate
    return (
        f"Both Bentos ran side by side. In each of {len(measured.rounds)} rounds (at most {plan.rounds}) both got the same "
        f"requests at the same times, in random order and in {PIECES} pieces, taking turns: {measured.rate:.0f} requests/s "
        f"({plan.load:.0%} of the baseline's {measured.capacity:,.0f}) for {plan.seconds:g} s each, as independent clients "
        f"send them, each latency counted from when its request was due; and {plan.connections} requests under way at once "
        f"for {plan.seconds * SATURATED:g} s, where answers within {found.settings.objective.seconds * 1e3:g} ms count. "
        "Ratios are medians over rounds (Hodges-Lehmann) between bounds of the signed-rank test, corrected for the number of "
        f"figures and looks at {plan.confidence:.0%} confidence. Protocol {found.settings.protocol}, seed {found.seed}, "
        f"{found.seconds:.0f} s in all."
    )
