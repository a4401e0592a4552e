"""Simulated rollouts at given weights: how often the judge errs, and how soon it finds harm.

Harm is looked for after every single request, for all its figures, by the functions that the judge uses, over arrays of
all looks at once. Passing has no such freedom to be proven, so the judge itself is asked now and then.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.rollout import BESIDE_STEPS, Judgement
from data.verdict import Verdict
from deploy.judging import evidence
from deploy.judging.counts import Pairs, Phase, Split
from deploy.judging.judge import judge, limit
from deploy.simulation.drawn import GRID, PER_PAIR, Bools, Counts, Drawn, Floats, Rollout, Step, Truth, draw

#: Does something with each of some things, in order, as `map` does.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
#: Requests between two times that the judge is asked whether it passes.
EVERY = 500


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the rollouts of one truth.

    Attributes:
        truth: the versions.
        steps: weights and requests.
        failed: for each rollout, requests in all until it was first found to be harmful; infinite where it never was.
        passed: the same until the judge, asked now and then, first passed it; infinite where it failed before.
    """

    truth: Truth
    steps: tuple[Step, ...]
    failed: Floats
    passed: Floats

    @property
    def failing(self) -> float:
        """Share of rollouts that failed at any request."""
        return float(np.isfinite(self.failed).mean())

    @property
    def passing(self) -> float:
        """Share of rollouts that passed at some look, and had not failed by then."""
        return float(np.isfinite(self.passed).mean())


#: Weights of a usual rollout.
STEPS = (Step(0.1, 3_000), Step(0.25, 3_000), Step(0.5, 3_000))
#: The same, where latencies are compared with a baseline's.
BESIDE = tuple(step._replace(baseline=True) for step in STEPS)
#: A canary that stays at its first weight until something is found.
LONG = (Step(0.1, 15_000),)
#: What the table of docs/decisions/0011-evidence.md shows.
SCENARIOS: tuple[tuple[Truth, tuple[Step, ...]], ...] = (
    (Truth("the same version"), STEPS),
    (Truth("the same version"), (Step(0.5, 20_000),)),
    (Truth("the same version, few errors", errors=0.0005, stable_errors=0.0005), STEPS),
    (Truth("the same version, with a baseline"), BESIDE),
    (Truth("at every tolerated limit", slower=1.1, differ=0.01, worse=0.55), STEPS),
    (Truth("the same version, errors in bursts of 5", burst=5), STEPS),
    (Truth("the same version, 3 % of requests refused", refused=0.03, stable_refused=0.03), STEPS),
    (Truth("2 % errors against 0.5 %", errors=0.02), LONG),
    (Truth("5 % errors against 0.5 %", errors=0.05), LONG),
    (Truth("1 % errors against 0.5 %", errors=0.01), LONG),
    (Truth("6 % refused against 3 %", refused=0.06, stable_refused=0.03), LONG),
    (Truth("20 % slower", slower=1.2), LONG),
    (Truth("30 % slower", slower=1.3), LONG),
    (Truth("twice as slow", slower=2.0), LONG),
    (Truth("5 % of answers differ", differ=0.05), LONG),
    (Truth("worse in 70 % of forecasts", worse=0.7), LONG),
)


def simulate(
    truth: Truth,
    steps: Sequence[Step] = STEPS,
    judgement: Judgement | None = None,
    rollouts: int = 1_000,
    seed: int = 1,
    every: int = EVERY,
) -> Result:
    """Roll a canary out again and again.

    Args:
        truth: what it is like.
        steps: its weights, one after another.
        judgement: limits and error rates; the default ones unless given.
        rollouts: how many.
        seed: of the random numbers.
        every: requests between two times that the judge is asked whether it passes; 0 never asks.
    """
    judgement = judgement or Judgement()
    failed, passed = np.full(rollouts, math.inf), np.full(rollouts, math.inf)
    for number in range(rollouts):
        rollout = draw(truth, steps, np.random.default_rng([seed, number]))
        failed[number] = first_harm(rollout, judgement)
        passed[number] = first_pass(rollout, judgement, every, failed[number]) if every else math.inf
    return Result(truth, tuple(steps), failed, passed)


def proof(
    judgement: Judgement | None = None, rollouts: int = 1_000, seed: int = 1, each: Each = map
) -> Iterator[Result]:
    """All of `SCENARIOS`, in order: about a minute each for 1,000 rollouts.

    Args:
        judgement: limits and error rates.
        rollouts: of each.
        seed: of the random numbers.
        each: `map`, or one that works on several at once.
    """
    yield from each(functools.partial(_proven, judgement, rollouts, seed), SCENARIOS)


def _proven(judgement: Judgement | None, rollouts: int, seed: int, scenario: tuple[Truth, tuple[Step, ...]]) -> Result:
    return simulate(*scenario, judgement, rollouts, seed)


def table(results: Iterable[Result]) -> str:
    """Markdown: a row a result."""
    lines = [
        "| canary | weights | requests | rollouts | failed | median requests until it fails | passed | median until it passes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        weights = ", ".join(f"{step.weight:.0%}" for step in one.steps)
        cells = (one.truth.name, weights, f"{sum(step.requests for step in one.steps):,}", f"{one.failed.size:,}")
        found = (f"{one.failing:.1%}", _median(one.failed), f"{one.passing:.1%}", _median(one.passed))
        lines.append(f"| {' | '.join((*cells, *found))} |")
    return "\n".join(lines)


def first_harm(rollout: Rollout, judgement: Judgement) -> float:
    """After how many requests the first check fails; infinite if none ever does."""
    first = [
        (np.argmax(reached) + 1) if reached.any() else math.inf
        for part, along in harm(rollout, judgement).items()
        for reached in [along >= limit(judgement, part)]
    ]
    return float(min(first))


def first_pass(rollout: Rollout, judgement: Judgement, every: int, failed: float = math.inf) -> float:
    """After how many requests the judge, asked every so often, first lets the canary pass; infinite if it never does.

    Args:
        rollout: what happened.
        judgement: limits and error rates.
        every: requests between two times that it is asked.
        failed: requests after which the canary is found to be harmful, and nobody asks any more.
    """
    whole = sum(step.canary.size for step in rollout.steps)
    for requests in range(every, whole + 1, every):
        if requests >= failed:
            break
        if verdict_after(rollout, requests, judgement).passed:
            return float(requests)
    return math.inf


def harm(rollout: Rollout, judgement: Judgement) -> dict[str, Floats]:
    """Logarithms of the evidence of harm after each request, for each check that may fail a canary."""
    steps, tolerated = rollout.steps, judgement.slowness.tolerated_steps
    asked = sum(step.canary.size for step in steps)
    cluster = judgement.cluster
    slower = [functools.partial(_slower, GRID.index(edge), tolerated, cluster) for edge in rollout.edges]
    kinds = (True, False) if any(step.copies for step in steps) else (False,)
    slowness = [evidence.mean([_phases(steps, of, kind) for kind in kinds]) for of in slower]
    return {
        "split": _phases(steps, functools.partial(_split, cluster), copies=False),
        **{
            name: _phases(steps, functools.partial(_more_bad, kind, judgement.errors.tolerated, cluster))
            for name, kind in (("errors", lambda step: step.error), ("refused", lambda step: step.refused))
        },
        "slowness": evidence.mean(slowness),
        "answers": _pairs(rollout.differ, judgement.answers.tolerated, asked),
        "accuracy": _pairs(rollout.worse, judgement.accuracy.tolerated, asked),
    }


def verdict_after(rollout: Rollout, requests: int, judgement: Judgement) -> Verdict:
    """What the judge says after so many requests."""
    pairs = requests // PER_PAIR
    seen = {
        name: Pairs(int(hit[:pairs].sum()), int((~hit[:pairs]).sum()))
        for name, hit in (("answers", rollout.differ), ("accuracy", rollout.worse))
    }
    phases = phases_after(rollout, requests)
    return judge(phases, rollout.edges, judgement, answers=seen["answers"], accuracy=seen["accuracy"])


def phases_after(rollout: Rollout, requests: int) -> list[Phase]:
    """What had been counted after so many requests."""
    phases, left = [], requests
    for step in rollout.steps:
        if left > 0:
            phases.append(_counted(step.first(left)))
        left -= step.canary.size
    return phases


def _phases(steps: Sequence[Drawn], of: Callable[[Drawn], Floats], copies: bool | None = None) -> Floats:  # noqa: FBT001
    """Evidence along all steps: each goes on from where the one before ended.

    Args:
        steps: of the rollout.
        of: evidence along one of them.
        copies: whether copies alone give it, or what is drawn alone; both if None.
    """
    parts: list[Floats] = []
    for step in steps:
        own = of(step) if copies in (None, step.copies) else np.zeros(step.canary.size)
        parts.append(own + (parts[-1][-1] if parts else 0.0))
    return np.concatenate(parts)


def _split(cluster: int, step: Drawn) -> Floats:
    return evidence.share_differs(_cumulated(step.canary) / cluster, _cumulated(~step.canary) / cluster, step.weight)


def _more_bad(kind: Callable[[Drawn], Bools], tolerated: float, cluster: int, step: Drawn) -> Floats:
    share, bad = evidence.share_of(step.weight, tolerated), kind(step)
    return _along(bad & step.canary, bad & ~step.canary, share, cluster)


def _slower(edge: int, tolerated: int, cluster: int, step: Drawn) -> Floats:
    hits = step.canary & (step.over > edge + tolerated + (BESIDE_STEPS if step.copies else 0))
    return _along(hits, step.beside & (step.over > edge), step.timed_weight, cluster)


def _pairs(hit: Bools, tolerated: float, asked: int) -> Floats:
    along = np.concatenate([[0.0], _along(hit, ~hit, tolerated)])
    return np.asarray(along[np.arange(1, asked + 1) // PER_PAIR])


def _along(hits: Bools, misses: Bools, share: float, cluster: int = 1) -> Floats:
    """Evidence after each request; it is worked out where something happened, and stays the same in between."""
    events = hits | misses
    seen = _cumulated(hits[events]) / cluster, _cumulated(misses[events]) / cluster
    after = np.concatenate([[0.0], evidence.share_above(*seen, share)])
    return np.asarray(after[np.cumsum(events)])


def _cumulated(happened: Bools) -> Counts:
    return np.cumsum(happened, dtype=np.int64)


def _counted(step: Drawn) -> Phase:
    canary, over = step.canary, step.over
    levels = [_over(over[own]) for own in (canary, step.beside)]
    timed = None if step.baseline is None else Split(int(canary.sum()), int(step.baseline.sum()))
    return Phase(
        weight=step.weight,
        requests=Split(int(canary.sum()), int((~canary).sum())),
        errors=_both(step.error, canary),
        refused=_both(step.refused, canary),
        over={edge: Split(*both) for edge, *both in zip(GRID, *levels, strict=True)},
        timed=timed,
        drawn=not step.copies,
    )


def _both(happened: Bools, canary: Bools) -> Split:
    return Split(int((happened & canary).sum()), int((happened & ~canary).sum()))


def _over(levels: Counts) -> list[int]:
    """Requests over each edge of the grid."""
    each = np.bincount(levels, minlength=len(GRID) + 1)
    return [int(count) for count in each[::-1].cumsum()[::-1][1:]]


def _median(requests: Floats) -> str:
    middle = float(np.median(requests))
    return f"{middle:,.0f}" if math.isfinite(middle) else "-"
