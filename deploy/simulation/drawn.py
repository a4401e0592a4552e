"""Rollouts drawn at random: what would have happened to every request, had two versions been like that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rollout import STEP
from deploy.judging import counts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]

#: Edges of the simulated router, in seconds: from 0.3 ms to 0.8 s around a median of 10 ms.
MEDIAN_SECONDS = 0.01
LOWEST, HIGHEST = -36, 46
GRID = tuple(MEDIAN_SECONDS * STEP**step for step in range(LOWEST, HIGHEST + 1))
#: Requests to the stable version before the rollout, from which edges are chosen.
BEFORE = 2_000
#: Requests for each pair that is compared.
PER_PAIR = 10


class Step(NamedTuple):
    """So many requests at a weight, or copies: then each request comes twice, and half of them are the canary's.

    With a baseline, latencies are compared with as many of the stable version's requests as the canary is given.
    """

    weight: float
    requests: int
    copies: bool = False
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What canary and stable version are really like.

    Attributes:
        name: for the table.
        errors: share of requests, of the canary.
        stable_errors: share of requests, of the stable version.
        refused: share of requests that are refused, of the canary.
        stable_refused: the same of the stable version: users' own bad requests.
        slower: the canary's latencies, times the stable version's.
        slowed: share of the canary's requests that are slower.
        spread: standard deviation of the logarithm of latencies, which are lognormal.
        differ: share of mirrored answers that differ.
        worse: share of forecasts of which the canary's is further off.
        burst: requests in a row that fail together, of one version.
    """

    name: str
    errors: float = 0.005
    stable_errors: float = 0.005
    refused: float = 0.0
    stable_refused: float = 0.0
    slower: float = 1.0
    slowed: float = 1.0
    spread: float = 0.6
    differ: float = 0.0
    worse: float = 0.5
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """What happened in one step of one rollout; arrays have a value a request.

    Attributes:
        weight: share of requests meant for the canary.
        copies: whether the canary's are copies.
        canary: whether the request went to it.
        baseline: whether it went to the baseline; None where there is none.
        error: whether it failed.
        refused: whether it was refused.
        over: how many edges of the grid it took longer than.
    """

    weight: float
    copies: bool
    canary: Bools
    baseline: Bools | None
    error: Bools
    refused: Bools
    over: Counts

    @property
    def beside(self) -> Bools:
        """Requests whose latencies the canary's are compared with."""
        return ~self.canary if self.baseline is None else self.baseline

    @property
    def timed_weight(self) -> float:
        """Share of the requests whose latencies are compared that are meant for the canary."""
        return self.weight if self.baseline is None else 0.5

    def first(self, requests: int) -> Drawn:
        """What happened to so many requests, the first ones."""
        baseline = None if self.baseline is None else self.baseline[:requests]
        parts = (self.canary[:requests], baseline, self.error[:requests], self.refused[:requests], self.over[:requests])
        return Drawn(self.weight, self.copies, *parts)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One simulated rollout; pairs have a value a pair."""

    steps: tuple[Drawn, ...]
    edges: tuple[float, ...]
    differ: Bools
    worse: Bools


def draw(truth: Truth, steps: Sequence[Step], random: np.random.Generator) -> Rollout:
    """One rollout, with what came before it: all that is random is drawn here."""
    before = _levels(truth.spread * random.standard_normal(BEFORE))
    earlier = {edge: int((before > step).sum()) for step, edge in enumerate(GRID)}
    pairs = sum(step.requests for step in steps) // PER_PAIR
    return Rollout(
        steps=tuple(_draw_step(truth, step, random) for step in steps),
        edges=counts.edges(earlier, BEFORE),
        differ=random.random(pairs) < truth.differ,
        worse=random.random(pairs) < truth.worse,
    )


def _draw_step(truth: Truth, step: Step, random: np.random.Generator) -> Drawn:
    which = random.random(step.requests)
    canary = which < step.weight
    baseline = ~canary & (which < 2 * step.weight) if step.baseline else None
    error = np.zeros(step.requests, dtype=np.bool_)
    for own, share in ((canary, truth.errors), (~canary, truth.stable_errors)):
        error[own] = _bursts(random.random(int(own.sum())) < share / truth.burst, truth.burst)
    refused = np.zeros(step.requests, dtype=np.bool_)
    if truth.refused or truth.stable_refused:
        refused = random.random(step.requests) < np.where(canary, truth.refused, truth.stable_refused)
    slow = canary if truth.slowed == 1 else canary & (random.random(step.requests) < truth.slowed)
    slower = np.where(slow, math.log(truth.slower), 0.0)
    over = _levels(truth.spread * random.standard_normal(step.requests) + slower)
    return Drawn(step.weight, step.copies, canary, baseline, error, refused, over)


def _bursts(starts: Bools, length: int) -> Bools:
    """Each start, and the requests after it."""
    return np.convolve(starts, np.ones(length))[: starts.size] > 0.5 if starts.size else starts


def _levels(logarithms: Floats) -> Counts:
    """How many edges of the grid latencies are over; given as logarithms of their ratio to the median."""
    steps = np.ceil(logarithms / math.log(STEP)).astype(np.int64) - LOWEST
    return np.clip(steps, 0, len(GRID))
