"""The report of a rollout: one HTML file that says what was done when, what was seen, and why it ended so."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import atomic, page
from data.deployment import Plan, Step
from data.page import BAD, QUIET, STRONG
from data.verdict import Check, Verdict
from deploy.journal import Event, Journal, Rollout
from deploy.rollouts.progress import Progress
from deploy.router.counters import Counters

#: What a rollout that ended so is, in the colours of verdicts.
OUTCOMES = {"promoted": "pass", "ended": "pass", "rolled back": "fail", "paused": "inconclusive", "running": "running"}
EVIDENCE_COLOURS = {
    "errors": "#b3261e",
    "refused": "#8250df",
    "slowness": "#1f6feb",
    "answers": "#1a7f37",
    "accuracy": "#9a6700",
    "split": QUIET,
}


@dataclass(frozen=True)
class Story:
    """A rollout with all that its journal tells."""

    rollout: Rollout
    progress: Progress
    events: Sequence[Event]

    @classmethod
    def of(cls, journal: Journal, rollout: Rollout) -> Story:
        """Read it."""
        written = journal.progress(rollout.id)
        assert written is not None, "it is written with the rollout"
        return cls(rollout, Progress.read(written), journal.events(rollout.id))

    @property
    def steps(self) -> list[tuple[float, Step]]:
        """When each step began, seconds from the start of the rollout."""
        return [
            (event.at - self.rollout.began, Step.model_validate(event.about))
            for event in self.events
            if event.kind == "step"
        ]

    @property
    def looks(self) -> list[tuple[float, dict[str, dict[str, int]], Verdict]]:
        """When it was looked, what each version had counted in the step, and the verdict."""
        return [
            (event.at - self.rollout.began, event.about["counts"], Verdict.model_validate(event.about["verdict"]))
            for event in self.events
            if event.kind == "look"
        ]


def write(story: Story, folder: Path) -> Path:
    """Write the page into a folder: the file."""
    path = folder / f"rollout-{story.rollout.id}.html"
    atomic.write_text(path, document(story))
    return path


def document(story: Story) -> str:
    """The whole page."""
    rollout, looks = story.rollout, story.looks
    blocks = [
        page.heading(OUTCOMES[rollout.state], f"{rollout.strategy} of {rollout.candidate}: {rollout.state}"),
        page.paragraph(_decision(story)),
        *([page.listing(log)] if (log := rollout.reason.partition("\n")[2]) else []),
        page.table(["", ""], [("", cells) for cells in _facts(story)]),
    ]
    if looks:
        blocks += [
            page.picture("Who answered", _traffic(story)),
            page.picture("Evidence of harm", _evidence(story)),
            page.picture("Errors", _errors(story)),
        ]
        if any(one.timed for one in story.progress.counted):
            blocks.append(page.picture("Latencies", _latencies(story)))
        blocks.append("<h2>The last verdict</h2>")
        blocks += [page.paragraph(f"{check.outcome.upper()} {check.text}") for check in looks[-1][2].checks]
    return page.document(f"{rollout.candidate}: {rollout.state}", blocks)


def _decision(story: Story) -> str:
    rollout = story.rollout
    if rollout.ended is None:
        return f"{rollout.state}: {rollout.why}" if rollout.why else f"It is {rollout.state}."
    return f"{rollout.state.capitalize()} after {_duration(rollout.ended - rollout.began)}: {rollout.why}"


def _facts(story: Story) -> list[tuple[str, str]]:
    rollout = story.rollout
    facts = [
        ("began (UTC)", f"{dt.datetime.fromtimestamp(rollout.began, dt.UTC):%Y-%m-%d %H:%M:%S}"),
        ("version before", str(rollout.stable)),
        ("candidate", rollout.candidate),
    ]
    plan = Plan.model_validate(rollout.plan).steps if rollout.plan else ()
    began = {place: at for place, (at, _) in enumerate(story.steps)}
    for place, step in enumerate(plan):
        when = f"began after {_duration(began[place])}" if place in began else "not reached"
        facts.append((f"step {place + 1}", f"{step}: {when}"))
    return facts


def _traffic(story: Story) -> Figure:
    """Share of users' requests that the candidate should answer, and of copies that it got."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    axes = figure.subplots()
    spans = _spans(story)
    edges = [*(at for at, _ in spans), story.events[-1].at - story.rollout.began]
    weights = [100 * (step.weight or 0 if step else 0) for _, step in spans]
    copies = [100 * (step.mirror or 0 if step else 0) for _, step in spans]
    axes.stairs(copies, edges, color=QUIET, lw=1.5, baseline=None, label="copies that nobody sees")
    axes.stairs(weights, edges, color=STRONG, lw=2, baseline=None, label="users' requests")
    axes.set(ylim=(-3, 105), ylabel="% to the candidate")
    _over_time(axes)
    _legend(axes)
    return figure


def _spans(story: Story) -> list[tuple[float, Step | None]]:
    """By which step requests went from when on, seconds from the start of the rollout; by none while users were back."""
    spans: list[tuple[float, Step | None]] = []
    step: Step | None = None
    for event in story.events:
        at = event.at - story.rollout.began
        if event.kind == "step":
            step = Step.model_validate(event.about)
            spans.append((at, step))
        elif event.kind == "held":
            spans.append((at, None))
        elif event.kind == "look" and spans and spans[-1][1] is None:  # somebody went on with it
            spans.append((at, step))
    return spans


def _evidence(story: Story) -> Figure:
    """Each check's evidence of harm as a share of what it fails at (logarithms)."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, colour in EVIDENCE_COLOURS.items():
        points = [
            (at, share)
            for at, _, verdict in story.looks
            for check in verdict.checks
            if (share := _share(check, name)) is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, lw=1.8, marker="o", ms=2.5, label=name)
    axes.axhline(1.0, color=BAD, lw=1.2, ls="--")
    axes.set(ylim=(-1.5, 2.0), ylabel="log evidence / log limit")
    axes.annotate("fails from here on", (0, 1.0), textcoords="offset points", xytext=(4, 4), color=BAD, fontsize=9)
    _over_time(axes)
    _legend(axes, ncols=6, loc="upper right")
    return figure


def _share(check: Check, name: str) -> float | None:
    if check.name != name or "log_harm" not in check.numbers:
        return None
    return max(-1.5, min(2.0, check.numbers["log_harm"] / check.numbers["log_harm_limit"]))


def _errors(story: Story) -> Figure:
    """Share of answers that were errors, in each step so far."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    for version, colour, label in (
        (story.progress.stable, QUIET, "before"),
        (story.progress.candidate, STRONG, "candidate"),
    ):
        shares = [
            (at, 100 * counts[version]["errors"] / counts[version]["requests"])
            for at, counts, _ in story.looks
            if counts.get(version, {}).get("requests")
        ]
        if shares:
            axes.plot(*zip(*shares, strict=True), color=colour, lw=1.8, marker="o", ms=2.5, label=label)
    axes.set(ylabel="% errors in the step")
    axes.set_ylim(-0.05, max(1.0, axes.get_ylim()[1]))  # none at all is a line at the bottom
    _over_time(axes)
    _legend(axes)
    return figure


def _latencies(story: Story) -> Figure:
    """Share of answers that took longer, by latency, of the candidate and of what it was compared with."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    progress = story.progress
    timed = [one.meter.sums for one in progress.counted if one.timed]
    before = [sums.get(progress.baseline) or sums.get(progress.stable, Counters()) for sums in timed]
    candidate = [sums.get(progress.candidate, Counters()) for sums in timed]
    for counted, colour, label in ((before, QUIET, "before"), (candidate, STRONG, "candidate")):
        whole = sum(counted, Counters())
        total = whole.within.get(math.inf, 0)
        shares = [(edge * 1e3, 100 * count / total) for edge, count in whole.over().items() if count] if total else []
        if shares:
            axes.plot(*zip(*shares, strict=True), color=colour, lw=1.8, marker="o", ms=2.5, label=label)
    for edge in progress.edges:
        axes.axvline(edge * 1e3, color=QUIET, lw=0.6, ls=":")
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="% of answers that took longer")
    page.ticks(axes.xaxis)
    page.ticks(axes.yaxis)
    page.plain(axes)
    _legend(axes)
    return figure


def _over_time(axes: Axes) -> None:
    axes.set_xlabel("seconds since it began")
    page.plain(axes)


def _legend(axes: Axes, **how: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, **how)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
