"""The faults that can be switched on, which test must find each, and whether a new model heals it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.simulation.city import Floats, Report

#: Put around a method of a class of the Bento, at the end of the module in which it answers.
_AROUND = """

from {module} import {name} as _{name}
_right = _{name}.{method}


def _wrong(self, *given, **named):  # type: ignore[no-untyped-def]
{body}


_{name}.{method} = _wrong  # type: ignore[method-assign]
"""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        what: in words.
        test: that must find it.
        heals: whether a model that is made anew is right again.
        covariate: whose sensor is at fault, and what it reports.
        code: at the end of a module of the Bento that serves from then on.
        late: hours that actual values come late.
        regime: the sample's change of regime.
        stopped: the job that trains anew does not run any more.
        days: the longest that it may take to be found.
    """

    what: str
    test: str
    heals: bool = False
    covariate: tuple[str, Report] | None = None
    code: str = ""
    late: int = 0
    regime: bool = False
    stopped: bool = False
    days: int = 14


def _drifts(values: Floats, days: Floats) -> Floats:
    return np.round(values + np.minimum(0.5 * days, 12.0), 1)


def _sticks(values: Floats, _: Floats) -> Floats:
    return np.full_like(values, values[0])


def _fahrenheit(values: Floats, _: Floats) -> Floats:
    return np.round(values * 9 / 5 + 32, 1)


def _around(module: str, name: str, method: str, body: str) -> str:
    return _AROUND.format(module=module, name=name, method=method, body=body)


SKEW = _around(
    "data.features",
    "Design",
    "rows",
    """\
    made = _right(self, *given, **named)
    inputs = made.inputs.copy()
    inputs[:, self.names.index("lag_1")] = inputs[:, self.names.index("lag_2")]
    return made._replace(inputs=inputs)""",
)
NAN = _around(
    "data.forecaster",
    "Forecaster",
    "trees",
    """\
    made = _right(self, *given, **named)
    for values in made:
        values[::50] = float("nan")
    return made""",
)
LEAK = _around(
    "data.forecaster",
    "Forecaster",
    "trees",
    """\
    _kept.append(bytes(bytearray(range(256)) * 10_000))
    return _right(self, *given, **named)


_kept = []""",
)

FAULTS = {
    "drift": Fault(
        "temperatures rise by half a degree a day", "invariants", covariate=("temperature", _drifts), days=30
    ),
    "sensor": Fault("the thermometer shows one value", "invariants", covariate=("temperature", _sticks)),
    "unit": Fault("temperatures come in Fahrenheit", "invariants", covariate=("temperature", _fahrenheit)),
    "regime": Fault("riders behave differently", "quality", heals=True, regime=True, days=3),
    "late": Fault("actual values come ten days late", "staleness", late=240),
    "leak": Fault("each forecast leaks 2.5 MB", "cost", code=LEAK, days=19),
    "skew": Fault("the service computes a lag wrongly", "skew", code=SKEW, days=7),
    "stopped": Fault("the job that trains anew has stopped", "staleness", heals=True, stopped=True, days=70),
    "nan": Fault("some outputs are no numbers", "numerics", code=NAN, days=2),
}
