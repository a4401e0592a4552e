"""Simulated rollouts that go by a plan: at which weight harm is found, and how long a good canary takes.

The steps end as they do in `deploy.rollouts.steps`, but for what takes time or pairs: a step is undecided after so many requests,
and answers and errors against actual values are not compared.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from data.deployment import CANARY, Plan
from data.rollout import Judgement
from deploy.judging import judge
from deploy.rollouts.progress import weight_of
from deploy.rollouts.states import PAUSED, PROMOTED, ROLLED_BACK
from deploy.simulation import drawn
from deploy.simulation.drawn import Drawn, Truth
from deploy.simulation.judged import Each, first_harm, phases_after

#: Requests, to both versions, after which a step is undecided.
MOST = 40_000
#: Requests between two looks.
LOOK = 250
FEW = 0.0005
#: What the second table of docs/decisions/0011-evidence.md shows.
TRUTHS = (
    Truth("the same version", errors=FEW, stable_errors=FEW),
    Truth("the same version, 0.5 % errors"),
    Truth("10 % slower", errors=FEW, stable_errors=FEW, slower=1.1),
    Truth("20 % slower", errors=FEW, stable_errors=FEW, slower=1.2),
    Truth("30 % slower", errors=FEW, stable_errors=FEW, slower=1.3),
    Truth("three of ten slower, 30 % at p95", errors=FEW, stable_errors=FEW, slower=1.74, slowed=0.3),
    Truth("1 % errors against 0.05 %", errors=0.01, stable_errors=FEW),
    Truth("2 % errors against 0.5 %", errors=0.02),
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one rollout ended.

    Attributes:
        state: promoted, rolled back or paused (undecided).
        step: that it ended in, from 0.
        requests: in all until then.
    """

    state: str
    step: int
    requests: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the rollouts of one canary came to.

    Attributes:
        truth: what it is like.
        waits: whether its steps go on while there is doubt.
        ended: how each rollout did.
    """

    truth: Truth
    waits: bool
    ended: tuple[Ended, ...]


def roll_out(
    truth: Truth,
    random: np.random.Generator,
    judgement: Judgement | None = None,
    plan: Plan = CANARY,
    *,
    waits: bool = True,
) -> Ended:
    """One rollout, until it ends.

    Args:
        truth: what the canary is like.
        random: where all that is random comes from.
        judgement: limits and error rates; the default ones unless given.
        plan: with steps that have a weight, or copies.
        waits: whether a step goes on while there is doubt.
    """
    judgement, steps = judgement or Judgement(), plan.steps
    kinds = [(step.mirror is not None, plan.has_baseline(step)) for step in steps]
    to_draw = [drawn.Step(weight_of(step) or 0.0, MOST, *kind) for step, kind in zip(steps, kinds, strict=True)]
    whole = drawn.draw(truth, to_draw, random)
    taken, before = replace(whole, steps=()), 0
    for number, (step, happened) in enumerate(zip(steps, whole.steps, strict=True)):
        is_last, known = number == len(steps) - 1, 0
        for requests in _looks(happened, step.requests):
            if requests > known:
                known = min(MOST, 2 * requests)
                going = replace(taken, steps=(*taken.steps, happened.first(known)))
                failed = first_harm(going, judgement)
            if failed <= before + requests:
                return Ended(ROLLED_BACK, number, failed)
            verdict = judge.judge(phases_after(going, before + requests), whole.edges, judgement)
            if judge.is_enough(verdict, is_last=is_last) or not (waits or is_last):
                taken, before = replace(taken, steps=(*taken.steps, happened.first(requests))), before + requests
                break
        else:
            return Ended(PAUSED, number, before + MOST)
    return Ended(PROMOTED, len(steps), before)


def proof(judgement: Judgement | None = None, rollouts: int = 200, seed: int = 1, each: Each = map) -> Iterator[Result]:
    """Each of `TRUTHS`, with steps that do not wait and with steps that do: about a minute each for 200 rollouts.

    Args:
        judgement: limits and error rates.
        rollouts: of each.
        seed: of the random numbers.
        each: `map`, or one that works on several at once.
    """
    rows = [(truth, waits) for truth in TRUTHS for waits in (False, True)]
    yield from each(functools.partial(_proven, judgement, rollouts, seed), rows)


def table(results: Iterable[Result]) -> str:
    """Markdown: a row a result."""
    names = " | ".join(f"back at {step}" for step in CANARY.steps)
    lines = [
        f"| canary | steps wait | {names} | undecided | promoted | median requests until it ends |",
        "|---|---|" + "---|" * (len(CANARY.steps) + 3),
    ]
    for one in results:
        ended = Counter((each.state, each.step if each.state == ROLLED_BACK else None) for each in one.ended)
        keys = [*((ROLLED_BACK, step) for step in range(len(CANARY.steps))), (PAUSED, None), (PROMOTED, None)]
        shares = " | ".join(f"{ended[key] / len(one.ended):.1%}" for key in keys)
        median = float(np.median([each.requests for each in one.ended]))
        lines.append(f"| {one.truth.name} | {'yes' if one.waits else 'no'} | {shares} | {median:,.0f} |")
    return "\n".join(lines)


def _proven(judgement: Judgement | None, rollouts: int, seed: int, row: tuple[Truth, bool]) -> Result:
    truth, waits = row
    randoms = (np.random.default_rng([seed, number]) for number in range(rollouts))
    return Result(truth, waits, tuple(roll_out(truth, random, judgement, waits=waits) for random in randoms))


def _looks(happened: Drawn, wanted: int) -> range:
    """After how many requests of a step it is looked whether it is over: from when the canary has had its own."""
    enough = np.flatnonzero(np.cumsum(happened.canary) >= wanted)
    return range(int(enough[0]) + 1, MOST + 1, LOOK) if enough.size else range(0)
