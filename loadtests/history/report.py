"""What the history tells: a table for a terminal, a verdict on slow drift, one HTML file with plots."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import atomic
from data import page as html
from data.loadtest import Loadtest
from data.verdict import Verdict
from loadtests.gate.judge import RATIOS, RISING
from loadtests.gate.report import UNITS
from loadtests.history import chain
from loadtests.history.chain import Gate, Link

PAGE = "history.html"


@dataclass(frozen=True)
class Found:
    """All gates of the past by one protocol, the chain that leads to the newest candidate, and the verdict on it."""

    gates: Sequence[Gate]
    chained: Sequence[Gate]
    verdict: Verdict
    limit: float
    protocol: str

    @classmethod
    def of(cls, gates: Sequence[Gate], settings: Loadtest) -> Found:
        """Judge the newest versions; gates by another protocol measured other work."""
        alike = sorted((one for one in gates if one.protocol == settings.protocol), key=lambda one: one.began)
        chained, limit = chain.chain(alike)[-settings.history.versions :], settings.history.limit
        return cls(alike, chained, chain.judge(chained, limit), limit, settings.protocol)


def write(found: Found, folder: Path) -> None:
    """Write the page into a folder."""
    atomic.write_text(folder / PAGE, page(found))


def text(found: Found) -> str:
    """A line a gate, then the verdict on the chain."""
    if not found.gates:
        return f"no gates by {found.protocol} (loadtest.protocol) yet: `python -m loadtests gate` makes one"
    lines = [" ".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)) for cells in _lines(found)]
    return "\n".join([*lines, "", *_verdict(found)]).rstrip()


#: A bound further out is drawn here.
HIGHEST = 10.0
#: Of the table's columns on a terminal.
WIDTHS = (16, 28, 28, 12, *(10 for _ in RATIOS))


def page(found: Found) -> str:
    """The report as one HTML document."""
    head, *lines = _lines(found)
    rows = [("", cells) for cells in lines[::-1]]
    pictures = [html.picture("Compared with the first version", _ratios(found))] if found.chained else []
    pictures += [html.picture("As measured, each on its machine", _values(found))] if found.chained else []
    outcome = found.verdict.outcome.value
    words = _verdict(found)
    return html.document(
        f"history: {outcome}",
        [html.heading(outcome, "over versions"), *map(html.paragraph, words), *pictures, html.table(head, rows)],
    )


def _lines(found: Found) -> Iterator[list[str]]:
    yield ["began (UTC)", "baseline", "candidate", "outcome", *RATIOS]
    for gate in found.gates:
        began = f"{dt.datetime.fromtimestamp(gate.began, dt.UTC):%Y-%m-%d %H:%M}"
        ratios = [gate.numbers.get(f"{name}.estimate", math.nan) for name in RATIOS]
        yield [began, gate.baseline, gate.candidate, gate.outcome, *(f"{one:.3f}" for one in ratios)]


def _verdict(found: Found) -> list[str]:
    if not found.chained:
        return [f"{found.verdict.outcome.upper()}: no gate between two versions yet"]
    first, last = found.chained[0].baseline, found.chained[-1].candidate
    steps = f"{len(found.chained)} step{'' if len(found.chained) == 1 else 's'}"
    head = f"{found.verdict.outcome.upper()}: from {first} to {last} by {found.protocol}, {steps}"
    return [head, *(f"  {check.text}" for check in found.verdict.checks)]


def _ratios(found: Found) -> Figure:
    figure, panels = _panels(found)
    for axes, name, links in panels:
        at = range(len(links))
        axes.axhline(1.0, color=html.QUIET, lw=1)
        axes.axhline(1 / found.limit if name in RISING else found.limit, color=html.BAD, lw=1)
        highs = [min(one.high, HIGHEST) for one in links]
        axes.fill_between(at, [one.low for one in links], highs, color=html.STRONG, alpha=0.2)
        axes.plot(at, [one.ratio for one in links], "o-", ms=3.5, color=html.STRONG)
    return figure


def _values(found: Found) -> Figure:
    figure, panels = _panels(found)
    for axes, name, links in panels:
        divisor, unit = UNITS[name]
        values = [one.value / divisor for one in links]
        axes.plot(range(len(links)), values, "o-", ms=3.5, color=html.INK)
        axes.set_title(f"{name}, {unit}", loc="left", fontsize=10)
        axes.set_ylim(0, 1.15 * max(values))
    return figure


def _panels(found: Found) -> tuple[Figure, list[tuple[Axes, str, list[Link]]]]:
    """A panel for each figure that all gates of the chain have."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    made = []
    for axes, name in zip(figure.subplots(2, 3, sharex=True).flat, RATIOS, strict=True):
        axes.set_title(name, loc="left", fontsize=10)
        axes.tick_params(labelsize=8, which="both")
        html.plain(axes)
        if all(f"{name}.estimate" in gate.numbers for gate in found.chained):
            links = chain.links(found.chained, name)
            axes.set_xticks(range(len(links)), [_short(one.tag) for one in links], rotation=60, ha="right")
            made.append((axes, name, links))
    return figure, made


def _short(tag: str) -> str:
    return tag.partition(":")[2][:12]
