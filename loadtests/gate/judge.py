"""The load gate's rule: from rounds in which baseline and candidate were measured side by side to a verdict.

It may be asked after several numbers of rounds (`looks`) and stop at the first that settles it. The chance to fail
an unchanged candidate is shared out among looks and figures; a pass needs every figure, so it is shared among looks
only (an intersection-union test: Berger 1982, "Multiparameter hypothesis testing and acceptance sampling").
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from data.verdict import Check, Outcome, Verdict
from loadtests.gate.intervals import Interval, difference_of_shares, rounds_needed, sign_test, signed_rank

RATIOS = ("p50", "p95", "p99", "throughput", "processor", "memory")
FIGURES = (*RATIOS, "errors")
#: The figures of which more is better.
RISING = frozenset({"throughput"})
NEARLY_NONE = 1e-6


class Limits(Protocol):
    """How much worse a candidate may be; None is measured, not judged.

    Ratios of candidate to baseline: the largest (1.05), for throughput the smallest (0.95). Of errors: the largest
    difference of shares (0.001).
    """

    @property
    def p50(self) -> float | None: ...
    @property
    def p95(self) -> float | None: ...
    @property
    def p99(self) -> float | None: ...
    @property
    def throughput(self) -> float | None: ...
    @property
    def processor(self) -> float | None: ...
    @property
    def memory(self) -> float | None: ...
    @property
    def errors(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """What one version did in a round.

    Attributes:
        p50: latency in seconds.
        p95: latency in seconds.
        p99: latency in seconds.
        throughput: answers a second within the latency limit.
        processor: seconds of processor time a request.
        memory: bytes.
        asked: requests sent.
        faults: of these, how many were not answered as they should be.
    """

    p50: float
    p95: float
    p99: float
    throughput: float
    processor: float
    memory: float
    asked: int
    faults: int


@dataclass(frozen=True, slots=True)
class Round:
    """Both versions under the same requests, in random order."""

    baseline: Side
    candidate: Side


class Levels(NamedTuple):
    """How likely a bound may be on the wrong side of the truth: the one that fails a figure, the one that passes it."""

    fail: float
    passing: float

    @classmethod
    def of(cls, limits: Limits, confidence: float, looks: int) -> Levels:
        """Share the doubt out.

        Raises:
            ValueError: no figure has a limit, the confidence is not from 0.5 to below 1, or there are no looks.
        """
        judged = sum(getattr(limits, name) is not None for name in FIGURES)
        if not judged:
            raise ValueError(f"nothing to judge: give a limit to one or more of {', '.join(FIGURES)}")
        if not 0.5 <= confidence < 1:
            raise ValueError(f"got a confidence of {confidence:g}, wanted one from 0.5 to below 1")
        if looks < 1:
            raise ValueError(f"got {looks} looks, wanted one or more")
        return cls(fail=(1 - confidence) / (looks * judged), passing=(1 - confidence) / looks)


def judge(rounds: Sequence[Round], limits: Limits, confidence: float, looks: int) -> Verdict:
    """Whether the candidate is no worse than the limits allow.

    A figure fails if its bound at (1 - confidence) / (looks * figures judged) lies beyond the limit, passes if its
    bound on the other side at (1 - confidence) / looks lies within, and is inconclusive otherwise; errors fail only if
    a sign test over rounds says so too. So a
    candidate within all limits fails at some look, and one beyond a limit passes at some look, with a probability of
    at most 1 - confidence each.

    Args:
        rounds: all so far.
        limits: of the figures; None is measured, not judged.
        confidence: from 0.5 to below 1.
        looks: how often this is asked of a candidate at most, whatever it answers.

    Returns:
        A check a figure. `numbers` has estimate, low, high, limit, rounds, baseline and candidate (medians over
        rounds in the figure's unit; of errors, the share of all requests), without those that are infinite. No
        rounds, no requests or what is not a number above 0 is an error.

    Raises:
        ValueError: as `Levels.of`.
    """
    levels = Levels.of(limits, confidence, looks)
    trouble = _trouble(rounds)
    return Verdict.of([_check(name, rounds, getattr(limits, name), levels, trouble) for name in FIGURES])


def settled(verdict: Verdict) -> bool:
    """Whether more rounds are of no use: a figure failed or could not be had, or all passed."""
    return verdict.passed or verdict.outcome in {Outcome.FAIL, Outcome.ERROR}


def fewest(limits: Limits, confidence: float, looks: int) -> int:
    """The fewest rounds after which every bound of `judge` is finite.

    Raises:
        ValueError: as `Levels.of`.
    """
    return rounds_needed(Levels.of(limits, confidence, looks).fail)


def looks(rounds: int, most: int, many: int = 4) -> tuple[int, ...]:
    """After how many rounds to judge: each look the same factor of rounds after the one before it.

    Args:
        rounds: at the first look, `fewest` or more.
        most: rounds at the last look.
        many: looks; fewer come back where some would fall on the same round.

    Raises:
        ValueError: `most` is below `rounds`, or `rounds` or `many` below 1.
    """
    if rounds < 1 or many < 1:
        raise ValueError(f"got {many} looks from {rounds} rounds on, wanted one or more of both")
    if most < rounds:
        raise ValueError(
            f"at most {most} rounds < {rounds}, the fewest at which every bound is finite; "
            "allow more (loadtest.gate.rounds), or take fewer limits or a lower confidence"
        )
    if many == 1:
        return (most,)
    return tuple(sorted({round(rounds * (most / rounds) ** (look / (many - 1))) for look in range(many)}))


def _check(name: str, rounds: Sequence[Round], limit: float | None, levels: Levels, trouble: str) -> Check:
    trouble = trouble or _gap(name, rounds)
    if trouble:
        return Check(name=name, outcome=Outcome.ERROR, text=f"{name}: {trouble}")
    baseline, candidate = _typical(name, rounds)
    interval = _interval(name, rounds, levels)
    outcome, sign = conclude(interval, limit, rising=name in RISING)
    if name == "errors" and outcome is Outcome.FAIL and _in_few_rounds(rounds, levels.fail):
        outcome, sign = Outcome.INCONCLUSIVE, " in too few rounds to tell it from chance, "
    numbers = {**interval._asdict(), "rounds": float(len(rounds)), "baseline": baseline, "candidate": candidate}
    if limit is not None:
        numbers["limit"] = limit
    against = "not judged" if limit is None else f"{limit:.4g} (limit)"
    text = f"{name} {_shown(name, interval)}{sign}{against}, {_sample(name, rounds)}"
    finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
    return Check(name=name, outcome=outcome, text=text, numbers=finite)


def conclude(interval: Interval, limit: float | None, *, rising: bool) -> tuple[Outcome, str]:
    """The outcome and the sign between interval and limit; what has no limit keeps nothing from passing.

    Args:
        interval: of the candidate, compared with the baseline.
        limit: the largest value allowed, or None.
        rising: more is better, and the limit is the smallest value.
    """
    if limit is None:
        return Outcome.PASS, ", "
    if interval.low >= limit if rising else interval.high <= limit:
        return Outcome.PASS, " >= " if rising else " <= "
    if interval.high < limit if rising else interval.low > limit:
        return Outcome.FAIL, " < " if rising else " > "
    return Outcome.INCONCLUSIVE, " around "


def _interval(name: str, rounds: Sequence[Round], levels: Levels) -> Interval:
    below, above = (levels.passing, levels.fail) if name in RISING else (levels.fail, levels.passing)
    if name == "errors":
        return difference_of_shares(*_counts(rounds, "candidate"), *_counts(rounds, "baseline"), below, above)
    return signed_rank(_values(name, rounds, "candidate") / _values(name, rounds, "baseline"), below, above)


def _in_few_rounds(rounds: Sequence[Round], level: float) -> bool:
    """Whether more faults than the baseline's come in no more rounds than chance would have it.

    Faults come together (a pause, a connection that breaks), which the interval does not know of: a burst in one
    round is as likely to hit either version.
    """
    shares = [(one.candidate.faults / one.candidate.asked, one.baseline.faults / one.baseline.asked) for one in rounds]
    worse, better = sum(own > other for own, other in shares), sum(own < other for own, other in shares)
    return sign_test(worse, better) > level


def _values(name: str, rounds: Sequence[Round], side: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shape (rounds,): a figure of one side. No answer in time at all is a throughput of nearly none, not a gap."""
    values = np.array([getattr(getattr(one, side), name) for one in rounds], dtype=np.float64)
    return np.maximum(values, NEARLY_NONE) if name in RISING else values


def _counts(rounds: Sequence[Round], side: str) -> tuple[int, int]:
    """Faults and requests of one side in all rounds."""
    sides: list[Side] = [getattr(one, side) for one in rounds]
    return sum(one.faults for one in sides), sum(one.asked for one in sides)


def _typical(name: str, rounds: Sequence[Round]) -> tuple[float, float]:
    """Baseline and candidate: the median over rounds, or the share of all requests."""
    if name == "errors":
        (bad_b, n_b), (bad_c, n_c) = _counts(rounds, "baseline"), _counts(rounds, "candidate")
        return bad_b / n_b, bad_c / n_c
    baseline, candidate = (statistics.median(_values(name, rounds, side)) for side in ("baseline", "candidate"))
    return float(baseline), float(candidate)


def _shown(name: str, interval: Interval) -> str:
    if name == "errors":
        return f"{interval.estimate:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _sample(name: str, rounds: Sequence[Round]) -> str:
    counted = f"{len(rounds)} round{'' if len(rounds) == 1 else 's'}"
    if name != "errors":
        return counted
    (bad_b, n_b), (bad_c, n_c) = _counts(rounds, "baseline"), _counts(rounds, "candidate")
    return f"{bad_c:,} of {n_c:,} requests against {bad_b:,} of {n_b:,}, {counted}"


def _trouble(rounds: Sequence[Round]) -> str:
    """Why nothing can be judged, or nothing at all."""
    if not rounds:
        return "no rounds"
    for number, one in enumerate(rounds, 1):
        for version, side in (("baseline", one.baseline), ("candidate", one.candidate)):
            if side.asked < 1:
                return f"no requests to the {version} in round {number}"
            if not 0 <= side.faults <= side.asked:
                return f"{side.faults} faults of {side.asked} requests to the {version} in round {number}"
    return ""


def _gap(name: str, rounds: Sequence[Round]) -> str:
    """What keeps a ratio from being one, or nothing."""
    if name not in RATIOS:
        return ""
    for number, one in enumerate(rounds, 1):
        for version, side in (("baseline", one.baseline), ("candidate", one.candidate)):
            value = getattr(side, name)
            nothing = name in RISING and version == "candidate" and value == 0  # as bad as can be, but a figure
            if not nothing and not (math.isfinite(value) and value > 0):
                return f"the {version} has {value:g} in round {number}, wanted a number above 0"
    return ""
