"""Pictures of a gate: how sure each ratio is, the latencies of both sides, the ratio of each round."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from data.page import BAD, GOOD, QUIET, STRONG, UNSURE, plain, ticks
from data.verdict import Outcome
from loadtests.gate.judge import RATIOS
from loadtests.gate.measured import BASELINE, CANDIDATE, Gated

SIDE_COLOURS = {BASELINE: QUIET, CANDIDATE: STRONG}
LIMIT_COLOUR = BAD
OUTCOME_COLOURS = {Outcome.PASS: GOOD, Outcome.FAIL: BAD, Outcome.ERROR: BAD, Outcome.INCONCLUSIVE: UNSURE}
#: Latency curves go as far into the tail as ten answers are left.
LEFT = 10
FURTHEST = 0.6


def intervals(found: Gated) -> Figure:
    """Each ratio with its bounds, and the limit."""
    checks = [check for check in found.verdict.checks if check.name in RATIOS and "estimate" in check.numbers]
    figure = Figure(figsize=(9, 0.45 * len(checks) + 1), layout="constrained")
    axes = figure.subplots()
    for place, check in enumerate(checks):
        numbers = check.numbers
        low, high = numbers.get("low", 1 - FURTHEST), numbers.get("high", 1 + FURTHEST)
        colour = OUTCOME_COLOURS[check.outcome]
        axes.plot([low, high], [place, place], color=colour, lw=3, solid_capstyle="butt", alpha=0.5)
        axes.plot(numbers["estimate"], place, "o", color=colour)
        if "limit" in numbers:
            axes.plot([numbers["limit"]] * 2, [place - 0.35, place + 0.35], color=LIMIT_COLOUR, lw=2)
    axes.axvline(1.0, color=QUIET, lw=1, zorder=0)
    axes.set_yticks(range(len(checks)), [check.name for check in checks])
    axes.invert_yaxis()
    axes.set_xlabel("candidate / baseline; red: the limit")
    plain(axes)
    return figure


def latencies(found: Gated) -> Figure:
    """Latency by percentile, the tail stretched."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for side, colour in SIDE_COLOURS.items():
        took = np.sort(found.measured.latencies[side]) * 1e3
        beyond = np.geomspace(1.0, min(1.0, LEFT / took.size), 200)
        axes.plot(1 / beyond, np.quantile(took, 1 - beyond), color=colour, label=side, lw=1.8)
    marks = {2: "50", 10: "90", 20: "95", 100: "99", 1000: "99.9", 10_000: "99.99"}
    furthest = max(len(took) for took in found.measured.latencies.values()) / LEFT
    shown = {place: name for place, name in marks.items() if place <= furthest}
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms from when the request was due")
    axes.set_xticks(list(shown), list(shown.values()))
    axes.minorticks_off()
    ticks(axes.yaxis)
    axes.legend(frameon=False)
    plain(axes)
    return figure


def rounds(found: Gated) -> Figure:
    """The ratio of each round, a panel a figure."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    limits = found.settings.gate.limits
    panels = figure.subplots(2, 3, sharex=True)
    for axes, name in zip(panels.flat, RATIOS, strict=True):
        pairs = [(getattr(one.candidate, name), getattr(one.baseline, name)) for one in found.measured.rounds]
        ratios = [own / other if own > 0 and other > 0 else np.nan for own, other in pairs]  # nan: there is none
        axes.axhline(1.0, color=QUIET, lw=1)
        if getattr(limits, name) is not None:
            axes.axhline(getattr(limits, name), color=LIMIT_COLOUR, lw=1)
        axes.plot(range(1, len(ratios) + 1), ratios, "o", ms=3.5, color=STRONG)
        axes.set_yscale("log")
        axes.set_title(name, loc="left", fontsize=10)
        ticks(axes.yaxis)
        axes.tick_params(labelsize=8)
        plain(axes)
    figure.supxlabel("round", fontsize=9)
    figure.supylabel("candidate / baseline", fontsize=9)
    return figure
