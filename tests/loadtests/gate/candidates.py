"""Rounds in which a candidate is as it is told, and what the rule says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from data.verdict import Check, Verdict
from loadtests.gate.judge import FIGURES, Round, Side, judge


@dataclass(frozen=True)
class Limits:
    p50: float | None = 1.05
    p95: float | None = 1.05
    p99: float | None = 1.05
    throughput: float | None = 0.95
    processor: float | None = 1.05
    memory: float | None = 1.05
    errors: float | None = 0.001


LIMITS = Limits()
UNJUDGED = Limits(**dict.fromkeys(FIGURES))
CONFIDENCE = 0.95
#: As many as a gate with all limits has at this confidence, in 40 rounds.
LOOKS = (10, 16, 25, 40)
USUAL = Side(p50=0.004, p95=0.02, p99=0.05, throughput=800.0, processor=0.001, memory=2e8, asked=1_000, faults=0)


def different(**figures: Any) -> Side:
    return replace(USUAL, **figures)


def rounds_of(count: int, name: str = "p95", ratios: tuple[float, ...] = (1.0,)) -> list[Round]:
    """Rounds in which one figure of the candidate differs, by ratios that take turns."""
    base: float = getattr(USUAL, name)
    return [Round(USUAL, different(**{name: base * ratios[at % len(ratios)]})) for at in range(count)]


def only(name: str, limit: float) -> Limits:
    return replace(UNJUDGED, **{name: limit})


def check_of(verdict: Verdict, name: str) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def check(name: str, ratios: tuple[float, ...], limit: float, count: int = 27) -> Check:
    return check_of(judge(rounds_of(count, name, ratios), only(name, limit), CONFIDENCE, 4), name)


def faulty(lost: list[int], other: list[int]) -> Check:
    """The check of errors where rounds of 1,000 requests lose so many, for candidate and baseline."""
    rounds = [Round(different(faults=b), different(faults=c)) for c, b in zip(lost, other, strict=True)]
    return check_of(judge(rounds, only("errors", 0.001), CONFIDENCE, len(LOOKS)), "errors")
