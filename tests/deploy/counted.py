"""Counts of rollouts whose two versions are exactly as they should be, without chance."""

from __future__ import annotations

import math
from statistics import NormalDist

from data.rollout import STEP, Judgement
from data.verdict import Check, Outcome, Verdict
from deploy.judging.counts import Pairs, Phase, Split, edges
from deploy.judging.judge import judge

MEDIAN_SECONDS = 0.01
GRID = tuple(MEDIAN_SECONDS * STEP**step for step in range(-30, 41))


def over(requests: int, slower: float = 1.0, spread: float = 0.6) -> dict[float, int]:
    """Requests over each edge, of lognormal latencies."""
    longer = {edge: 1 - NormalDist().cdf(math.log(edge / MEDIAN_SECONDS / slower) / spread) for edge in GRID}
    return {edge: round(requests * share) for edge, share in longer.items()}


def phase(
    requests: int, weight: float, errors: tuple[float, float] = (0.0, 0.0), slower: float = 1.0, part: float = 1.0
) -> Phase:
    """So many requests, errors as shares of the canary's and the stable version's; the canary got `part` of its share."""
    canary = round(requests * weight * part)
    asked = Split(canary, requests - canary)
    own, other = over(asked.canary, slower), over(asked.stable)
    return Phase(
        weight,
        asked,
        Split(round(asked.canary * errors[0]), round(asked.stable * errors[1])),
        {edge: Split(own[edge], other[edge]) for edge in GRID},
    )


EDGES = edges(over(2_000), 2_000)


USUAL = Judgement()


def verdict(*phases: Phase, answers: Pairs | None = None, accuracy: Pairs | None = None) -> Verdict:
    return judge(phases, EDGES, USUAL, answers=answers, accuracy=accuracy)


def check_of(name: str, verdict: Verdict) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def outcome(name: str, *phases: Phase) -> Outcome:
    return check_of(name, verdict(*phases)).outcome
