"""The seven monitoring tests of the ML Test Score (Breck et al. 2017), one module each, run together.

A test that cannot be run is an error, and an error is not a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from data.errors import BentocastError
from data.verdict import Check, Outcome, Verdict
from monitoring import cost, dependencies, invariants, numerics, quality, skew, staleness
from monitoring.context import Context

#: By name, in the order of the paper.
TESTS: Mapping[str, Callable[[Context], Verdict]] = {
    "dependencies": dependencies.check,
    "invariants": invariants.check,
    "skew": skew.check,
    "staleness": staleness.check,
    "numerics": numerics.check,
    "cost": cost.check,
    "quality": quality.check,
}


def run(context: Context, names: Collection[str] = TESTS) -> dict[str, Verdict]:
    """Run some tests, one after another.

    Args:
        context: what they look at.
        names: of tests; all unless said otherwise.

    Returns:
        A verdict for each name, in the paper's order.
    """
    return {name: _run(name, test, context) for name, test in TESTS.items() if name in names}


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """Of several tests; one without any check is inconclusive, and so is none at all."""
    return Verdict.of([Check(name="", outcome=one.outcome, text="") for one in verdicts]).outcome


def _run(name: str, test: Callable[[Context], Verdict], context: Context) -> Verdict:
    try:
        return test(context)
    except BentocastError as err:
        fault = err.message
    except Exception as err:  # whatever is wrong with one test, the others run, and it does not pass
        fault = f"a fault of this program: {type(err).__name__}: {err}"
    return Verdict.of([Check(name=name, outcome=Outcome.ERROR, text=fault)])
