"""The section of params.yaml on rollouts: how much worse a canary may be, and how sure its judge has to be of it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from data import validation
from data.section import Section, Share

#: Latencies are compared in steps: each is this many times the one before.
STEP = 1.1
#: A copy of a request is answered beside its original, and where both want the same core it takes up to twice as long: so
#: many steps more are tolerated, and have to be ruled out, of copies.
BESIDE_STEPS = 7
#: Ratios of latencies are whole steps up to rounding.
ROUNDING = 1e-9

#: Of the part of errors, what answers that are errors have, and those that refuse the request.
OF_ERRORS = {"errors": 5 / 6, "refused": 1 / 6}

Part = Annotated[float, Field(gt=0, le=1)]


def _check_apart(tolerated: float, excluded: float) -> None:
    if excluded <= tolerated:
        raise ValueError(f"got excluded {excluded:g} with tolerated {tolerated:g}, wanted a larger one")


class Parts(Section):
    """How `alpha` is shared out: each check may fail a canary that is no worse with its part of that chance."""

    #: Whether requests were split as configured.
    split: Part = 0.05
    #: Both kinds of them (`OF_ERRORS`): plans that an earlier program kept in the journal have one part for both.
    errors: Part = 0.6
    slowness: Part = 0.2
    answers: Part = 0.1
    accuracy: Part = 0.05

    def of(self, check: str) -> float:
        """What a check has."""
        return self.errors * OF_ERRORS[check] if check in OF_ERRORS else float(getattr(self, check))

    @model_validator(mode="after")
    def _are_parts_of_one(self) -> Self:
        whole = math.fsum((self.split, self.errors, self.slowness, self.answers, self.accuracy))
        if whole > 1 + ROUNDING:
            raise ValueError(f"got parts that add up to {whole:g}, wanted 1 or less")
        return self


class ErrorLimits(Section):
    """How many more errors than the stable version's a canary may have, and how many more requests it may refuse."""

    #: Ratio of rates that is no harm; above it, the canary fails.
    tolerated: float = Field(default=1.0, ge=0.5, le=10)
    #: Ratio of rates that must be ruled out before the canary passes...
    excluded: float = Field(default=2.0, gt=0.5, le=100)
    #: ...unless its share of errors is below this for sure.
    share: Share = 0.01

    @model_validator(mode="after")
    def _excludes_more_than_it_tolerates(self) -> Self:
        _check_apart(self.tolerated, self.excluded)
        return self


class SlownessLimits(Section):
    """How much longer than the stable version's a canary's answers may take; counted in whole steps of a tenth."""

    #: Ratio of latencies that is no harm, rounded up to a step; above it, the canary fails.
    tolerated: float = Field(default=1.1, ge=1, le=10)
    #: Ratio of latencies that must be ruled out before the canary passes, rounded down to a step.
    excluded: float = Field(default=1.35, gt=1, le=20)
    #: An edge that fewer of the canary's requests than this are over for sure needs no comparison.
    share: Share = 0.01

    @property
    def tolerated_steps(self) -> int:
        """Edges between those that stable and canary are compared at, to find harm."""
        return math.ceil(math.log(self.tolerated) / math.log(STEP) - ROUNDING)

    @property
    def excluded_steps(self) -> int:
        """Edges between those that stable and canary are compared at, to rule harm out."""
        return math.floor(math.log(self.excluded) / math.log(STEP) + ROUNDING)

    @property
    def room(self) -> int:
        """Edges that there must be above one that copies, too, are compared at."""
        return self.excluded_steps + BESIDE_STEPS

    @model_validator(mode="after")
    def _excludes_more_than_it_tolerates(self) -> Self:
        if self.excluded_steps <= self.tolerated_steps:
            raise ValueError(
                f"got excluded {self.excluded:g} with tolerated {self.tolerated:g}, "
                f"wanted {STEP ** (self.tolerated_steps + 1):.4g} or more: latencies are counted in steps of {STEP:g}"
            )
        return self


class PairLimits(Section):
    """In how large a share of pairs a canary may be the worse one."""

    #: Share that is no harm; above it, the canary fails.
    tolerated: Share
    #: Share that must be ruled out before the canary passes.
    excluded: Share

    @model_validator(mode="after")
    def _excludes_more_than_it_tolerates(self) -> Self:
        _check_apart(self.tolerated, self.excluded)
        return self


class Judgement(Section):
    """When a canary fails, and when it passes (see `deploy.judging.judge`)."""

    #: Chance that a canary within all that is tolerated ever fails, however often it is looked at.
    alpha: float = Field(default=0.01, gt=0, le=0.2)
    parts: Parts = Parts()
    #: Chance that a canary at or beyond what is excluded ever passes.
    beta: float = Field(default=0.05, gt=0, le=0.2)
    errors: ErrorLimits = ErrorLimits()
    slowness: SlownessLimits = SlownessLimits()
    #: Answers to the same mirrored requests that differ.
    answers: PairLimits = PairLimits(tolerated=0.01, excluded=0.05)
    #: Forecasts of the same target of which the canary's is further off.
    accuracy: PairLimits = PairLimits(tolerated=0.55, excluded=0.6)
    #: Requests of one version that share their luck: those of a user who sticks to it, or a burst of errors.
    cluster: int = Field(default=1, ge=1, le=10_000)
    #: Fewest requests to the canary before it passes.
    requests: int = Field(default=500, ge=1, le=10_000_000)
    #: Fewest pairs before answers and accuracy pass.
    pairs: int = Field(default=100, ge=1, le=10_000_000)

    def changed(self, by: Judgement) -> Judgement:
        """This one, with all that another one was given; what that was not given stays as it is here.

        Raises:
            ValueError: both together say what cannot be.
        """
        whole = _merged(self.model_dump(), by.model_dump(exclude_unset=True))
        try:
            return Judgement.model_validate(whole)
        except ValidationError as err:
            raise ValueError(
                f"got a judgement that does not go with deploy.judgement: {validation.explain(err, Judgement)}"
            ) from err


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    return below | {
        key: _merged(below[key], value) if isinstance(value, dict) else value for key, value in above.items()
    }
