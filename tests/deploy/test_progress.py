"""What a rollout has seen so far, through the journal and to the judge."""

from __future__ import annotations

import math

import pytest

from data.deployment import Step
from data.rollout import Judgement
from data.verdict import Outcome
from deploy.judging.counts import Pairs
from deploy.rollouts.progress import Progress

STEPS = (Step(mirror=1.0), Step(weight=0.5))
USUAL = Judgement()


def test_it_survives_the_journal() -> None:
    progress = Progress("one", "two", 3, edges=(0.01, 0.02), answers=Pairs(1, 2), accuracy=Pairs(3, 4))
    progress.take(0, 10.0, copies=True)
    assert progress.copied_until == math.inf
    assert Progress.read(progress.written()) == progress
    progress.take(1, 20.0, copies=False)
    progress.take(2, 30.0, copies=False)
    assert (progress.step, progress.began, progress.copied_until) == (2, 30.0, 20.0)
    assert Progress.read(progress.written()) == progress


def test_what_an_earlier_program_wrote_is_read() -> None:
    written = Progress("one", "two", 3).written()
    for key in ("spent", "held", "copied_until", "accuracy"):
        del written[key]
    assert Progress.read(written) == Progress("one", "two", 3)


@pytest.mark.parametrize(
    ("accuracy", "outcome"),
    [
        (None, None),
        (Pairs(0, 1), None),
        (Pairs(30, 60), None),  # too few to pass, and not waited for
        (Pairs(60, 10), Outcome.FAIL),
        (Pairs(60, 60), Outcome.INCONCLUSIVE),
        (Pairs(250, 250), Outcome.PASS),
    ],
)
def test_few_forecasts_that_came_true_can_fail_a_candidate_and_hold_up_none(
    accuracy: Pairs | None, outcome: Outcome | None
) -> None:
    verdict = Progress("one", "two", 1, accuracy=accuracy).verdict(STEPS, USUAL)
    found = {check.name: check.outcome for check in verdict.checks}
    assert found.get("accuracy") is outcome
    assert {"errors", "slowness"} <= set(found)
