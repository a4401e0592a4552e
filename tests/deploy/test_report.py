"""What the report of a rollout shows of latencies, and of who answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from data.deployment import Step
from deploy.journal import Event, Rollout
from deploy.rollouts import report
from deploy.rollouts.meter import Meter
from deploy.rollouts.progress import Counted, Progress
from deploy.rollouts.report import Story
from deploy.router.counters import Counters

QUICK, SLOW = (
    Counters(100, 0, within)
    for within in ({0.01: 60, 0.02: 90, float("inf"): 100}, {0.01: 10, 0.02: 20, float("inf"): 100})
)
ROLLOUT = Rollout(1, 0.0, None, "canary", "b:old", "b:new", {}, "running", "", "")


def drawn(sums: dict[str, Counters]) -> dict[str, list[Any]]:
    """The two lines of the picture: times in ms, and the share of answers that took longer."""
    counted = [Counted(step, timed=True, meter=Meter(dict(sums))) for step in range(2)]
    progress = Progress("old", "new", 1, step=1, counted=counted, edges=(0.01,))
    lines = {one.get_label(): one for one in report._latencies(Story(ROLLOUT, progress, [])).axes[0].lines}
    return {name: np.column_stack(lines[name].get_data()).tolist() for name in ("before", "candidate")}


@pytest.mark.parametrize("baseline", [True, False])
def test_latencies_are_of_what_was_compared(*, baseline: bool) -> None:
    lines = drawn({"old": SLOW, "new": QUICK} | ({"old_baseline": QUICK} if baseline else {}))
    assert lines["candidate"] == [pytest.approx([10, 40]), pytest.approx([20, 10])]
    assert (lines["before"] == lines["candidate"]) == baseline


def step(at: float, **where: float) -> Event:
    return Event(at, "step", Step.model_validate(where).model_dump(mode="json"))


def look(at: float) -> Event:
    return Event(at, "look", {"counts": {}, "verdict": {"checks": []}})


@pytest.mark.parametrize(
    ("events", "edges", "users"),
    [
        ([step(1, mirror=1.0), look(2), step(5, weight=0.5), look(9)], [1, 5, 9], [0, 50]),
        (  # undecided, and aborted in the morning
            [step(1, weight=0.5), look(9), Event(10, "held", {}), Event(30_000, "ending", {})],
            [1, 10, 30_000],
            [50, 0],
        ),
        (  # undecided, and resumed; the next step begins as ever
            [step(1, weight=0.1), look(9), Event(10, "held", {}), look(50), look(51), step(60, weight=0.5), look(70)],
            [1, 10, 50, 60, 70],
            [10, 0, 10, 50],
        ),
        (  # the next step's instances do not start
            [step(1, weight=0.1), look(9), step(10, weight=0.5), Event(60, "ending", {})],
            [1, 10, 60],
            [10, 50],
        ),
    ],
    ids=["step by step", "held to the end", "held for a while", "not looked at"],
)
def test_who_answered(events: list[Event], edges: list[float], users: list[float]) -> None:
    figure = report._traffic(Story(ROLLOUT, Progress("old", "new", 1), events))
    (drawn,) = (
        one.get_data()
        for one in figure.axes[0].patches
        if isinstance(one, StepPatch) and one.get_label() == "users' requests"
    )
    values, at, _ = drawn
    assert (list(at), list(values)) == (edges, users)
