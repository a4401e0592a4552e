"""What the report of a rollout shows of latencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deploy.journal import Rollout
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
