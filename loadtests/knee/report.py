"""What a search for the knee tells: a line for a terminal, JSON for machines, a plot for people."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from data import atomic
from data import page as html
from loadtests.knee.search import Climbed, Limit, Probe

PAGE, NUMBERS = "knee.html", "knee.json"


def write(found: Climbed, folder: Path) -> None:
    """Write the page and the numbers into a folder."""
    atomic.write_text(folder / NUMBERS, json.dumps(document(found), indent=1) + "\n")
    atomic.write_text(folder / PAGE, page(found))


def document(found: Climbed) -> dict[str, Any]:
    """All numbers, as JSON takes them."""
    knee = found.knee
    return {
        "bento": found.bento,
        "protocol": found.protocol,
        "objective": knee.objective.model_dump(),
        "kept": knee.kept,
        "broken": knee.broken if math.isfinite(knee.broken) else None,
        "limit": knee.limit,
        "probes": [{key: _number(value) for key, value in asdict(probe).items()} for probe in knee.probes],
    }


def text(found: Climbed) -> str:
    """One line, and another if it was not the service that was measured."""
    knee = found.knee
    broken = f"broken at {knee.broken:,.0f}" if math.isfinite(knee.broken) else "not broken at any rate"
    line = f"{found.bento}: keeps {_objective(found)} up to {knee.kept:,.0f} requests/s, {broken} ({found.protocol})"
    if knee.limit is Limit.GENERATOR:
        fault = next(probe.fault for probe in reversed(knee.probes) if probe.fault)
        line += (
            f"\nthe generator, not the service, is the limit ({fault}): the service may do more; give the generator a "
            "machine of its own (--host), or use locust with --master and --worker"
        )
    return line


def page(found: Climbed) -> str:
    """The report as one HTML document."""
    rows = [_row(probe) for probe in sorted(found.knee.probes, key=lambda probe: probe.rate)]
    head = ("requests/s", f"p{found.knee.objective.percentile * 100:g} in ms", "errors", "generator", "")
    return html.document(
        f"knee: {found.bento}",
        [
            html.heading("knee", f"{found.knee.kept:,.0f} requests/s"),
            *(html.paragraph(line) for line in text(found).splitlines()),
            html.picture("Latency by rate", _picture(found)),
            html.table(head, rows),
        ],
    )


def _row(probe: Probe) -> tuple[str, list[str]]:
    numbers = [f"{probe.rate:,.0f}", f"{probe.latency * 1e3:.1f}", f"{probe.errors:.2%}", f"{probe.busy:.0%}"]
    return ("pass", [*numbers, "kept"]) if probe.kept else ("fail", [*numbers, "broken"])


def _picture(found: Climbed) -> Figure:
    knee = found.knee
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for kept, colour, label in ((True, html.GOOD, "objective kept"), (False, html.BAD, "broken")):
        shown = [probe for probe in knee.probes if probe.kept is kept and not math.isnan(probe.latency)]
        axes.plot([one.rate for one in shown], [one.latency * 1e3 for one in shown], "o", color=colour, label=label)
    axes.axhline(knee.objective.seconds * 1e3, color=html.QUIET, lw=1)
    axes.axvline(knee.kept, color=html.STRONG, lw=1.5, label=f"knee: {knee.kept:,.0f} requests/s")
    axes.set(
        xscale="log", yscale="log", xlabel="requests/s offered", ylabel=f"p{knee.objective.percentile * 100:g} in ms"
    )
    html.ticks(axes.xaxis)
    html.ticks(axes.yaxis)
    axes.legend(frameon=False)
    html.plain(axes)
    return figure


def _objective(found: Climbed) -> str:
    objective = found.knee.objective
    return f"{objective.percentile * 100:g} % within {objective.seconds * 1e3:g} ms and at most {objective.errors:.2%} errors"


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
