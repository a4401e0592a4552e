"""Figures over versions: each gate compared two, and their ratios put end to end show what no single gate would fail.

A version that is 4 % slower passes a limit of 5 %; after ten of them a service takes half as long again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.verdict import Check, Outcome, Verdict
from loadtests.gate.intervals import Interval
from loadtests.gate.judge import RATIOS, RISING, conclude


@dataclass(frozen=True)
class Gate:
    """One gate of the past.

    Attributes:
        began: seconds since 1970.
        baseline: tag of the Bento.
        candidate: tag of the Bento.
        protocol: that users spoke.
        outcome: of the gate.
        numbers: `<figure>.<estimate, low, high, baseline, candidate>`.
    """

    began: float
    baseline: str
    candidate: str
    protocol: str
    outcome: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Link:
    """A version, and how a figure of it compares with the first version of the chain.

    Attributes:
        tag: of the version.
        ratio: to the first version.
        low: its lower bound.
        high: its upper bound.
        value: the figure itself, on the machine on which it was measured.
    """

    tag: str
    ratio: float
    low: float
    high: float
    value: float


def chain(gates: Sequence[Gate]) -> list[Gate]:
    """The gates that lead to the newest candidate, oldest first, each candidate the next one's baseline.

    A candidate that was measured again counts as it was last; a gate of a Bento against itself is no step.
    """
    to = {gate.candidate: gate for gate in sorted(gates, key=lambda one: one.began) if gate.candidate != gate.baseline}
    if not to:
        return []
    found: list[Gate] = []
    at: str | None = max(to.values(), key=lambda one: one.began).candidate
    while at in to and to[at] not in found:
        found.append(to[at])
        at = to[at].baseline
    return found[::-1]


def links(gates: Sequence[Gate], figure: str) -> list[Link]:
    """One figure along a chain: ratios multiply; the widths of their intervals, in logarithms, add as squares."""
    first = gates[0]
    made = [Link(first.baseline, 1.0, 1.0, 1.0, first.numbers.get(f"{figure}.baseline", math.nan))]
    ratio, down, up = 0.0, 0.0, 0.0
    for gate in gates:
        estimate = math.log(gate.numbers[f"{figure}.estimate"])
        ratio += estimate
        down += (estimate - _log(gate.numbers.get(f"{figure}.low", 0.0))) ** 2
        up += (_log(gate.numbers.get(f"{figure}.high", math.inf)) - estimate) ** 2
        bounds = (math.exp(ratio - math.sqrt(down)), math.exp(min(700.0, ratio + math.sqrt(up))))
        made.append(Link(gate.candidate, math.exp(ratio), *bounds, gate.numbers.get(f"{figure}.candidate", math.nan)))
    return made


def judge(gates: Sequence[Gate], limit: float) -> Verdict:
    """Whether any figure got worse over the whole chain by more than a limit.

    Args:
        gates: a chain.
        limit: largest ratio of the newest version to the first; of throughput its inverse is the smallest.

    Returns:
        As in the gate, a figure fails if its interval lies beyond the limit, passes if it lies within, and is
        inconclusive otherwise, also if one of the gates lacks it; so is a chain without gates.
    """
    return Verdict.of([_check(gates, figure, limit) for figure in RATIOS] if gates else [])


def _check(gates: Sequence[Gate], figure: str, limit: float) -> Check:
    lacking = [gate.candidate for gate in gates if f"{figure}.estimate" not in gate.numbers]
    if lacking:
        text = f"{figure}: the gate of {lacking[0]} has no such figure"
        return Check(name=figure, outcome=Outcome.INCONCLUSIVE, text=text)
    last = links(gates, figure)[-1]
    rising = figure in RISING
    bound = 1 / limit if rising else limit
    outcome, sign = conclude(Interval(last.ratio, last.low, last.high), bound, rising=rising)
    over = f"{len(gates)} step{'' if len(gates) == 1 else 's'}"
    text = f"{figure} {last.ratio:.3f} ({last.low:.3f} to {last.high:.3f}) over {over}{sign}{bound:.4g} (limit)"
    numbers = {"ratio": last.ratio, "low": last.low, "high": last.high, "limit": bound, "steps": float(len(gates))}
    finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
    return Check(name=figure, outcome=outcome, text=text, numbers=finite)


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.copysign(math.inf, value - 1)
