"""One type for every verdict: the evaluation gate, the load gate, a rollout, each monitoring test.

No data, NaN and errors never pass.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, field_validator


class Outcome(StrEnum):
    """What a check concluded."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        """With which a command ends that was asked for it (see `data.command`)."""
        return {Outcome.PASS: 0, Outcome.FAIL: 7, Outcome.INCONCLUSIVE: 8, Outcome.ERROR: 9}[self]


#: From best to worst: a verdict is as good as its worst check.
_ORDER = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.ERROR]


class Check(BaseModel):
    """One condition, with the numbers that decided it."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Outcome
    text: str
    numbers: dict[str, float] = {}

    @field_validator("numbers", mode="before")
    @classmethod
    def _known_from_json(cls, numbers: Any) -> Any:
        """JSON has null for NaN and the infinite."""
        if not isinstance(numbers, dict):
            return numbers
        return {name: math.nan if number is None else number for name, number in numbers.items()}

    @classmethod
    def at_most(cls, name: str, value: float, limit: float, unit: str = "") -> Self:
        """Pass if `value <= limit`; an error if the value is not a finite number."""
        if not math.isfinite(value):
            return cls(
                name=name, outcome=Outcome.ERROR, text=f"{name} is {value}, wanted a number", numbers={"limit": limit}
            )
        outcome = Outcome.PASS if value <= limit else Outcome.FAIL
        sign = "<=" if outcome is Outcome.PASS else ">"
        text = f"{name} {value:.4g}{unit} {sign} {limit:.4g}{unit} (limit)"
        return cls(name=name, outcome=outcome, text=text, numbers={"value": value, "limit": limit})

    @classmethod
    def between(cls, name: str, value: float, low: float, high: float) -> Self:
        """Pass if `low <= value <= high`; an error if the value is not a finite number."""
        if not math.isfinite(value):
            return cls(name=name, outcome=Outcome.ERROR, text=f"{name} is {value}, wanted a number")
        inside = low <= value <= high
        text = f"{name} {value:.4g} {'in' if inside else 'outside'} {low:.4g} to {high:.4g}"
        outcome = Outcome.PASS if inside else Outcome.FAIL
        return cls(name=name, outcome=outcome, text=text, numbers={"value": value, "low": low, "high": high})


class Verdict(BaseModel):
    """The conclusion of all checks of one gate."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, checks: list[Check]) -> Self:
        """As good as the worst check; no check at all is inconclusive."""
        outcomes = [check.outcome for check in checks] or [Outcome.INCONCLUSIVE]
        return cls(outcome=max(outcomes, key=_ORDER.index), checks=tuple(checks))

    @property
    def passed(self) -> bool:
        """Whether what the gate guards may go ahead."""
        return self.outcome is Outcome.PASS and bool(self.checks)

    def __str__(self) -> str:
        return f"{self.outcome.upper()}: " + "; ".join(check.text for check in self.checks)
