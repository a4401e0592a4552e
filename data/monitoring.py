"""The section of params.yaml on monitoring: limits of the seven tests, and when a model is made anew."""

from __future__ import annotations

from pydantic import Field

from data.section import Duration, Section, Share


class Dependencies(Section):
    """Test 1: what the service runs on is what the model was made with (see `monitoring.dependencies`)."""

    #: Whether packages are looked up in a database of known vulnerabilities, where one can be reached.
    vulnerabilities: bool = True


class Invariants(Section):
    """Test 2: inputs are what they were in training (see `monitoring.invariants`)."""

    #: Longest stretch of requests that is compared with training; of 1d, 7d and 28d, those up to it are.
    window: Duration = "28d"
    #: Share of a column's values that may lie beyond its `series.limits`; training takes a table with none.
    beyond: Share = 0.01
    #: Share of a column's values that may stay longer than its limit.
    constant: Share = 0.2
    #: Share of a feature's values that may lie beyond all of training.
    outside: Share = 0.05
    #: How much more than training's own stretches a stretch of requests may differ, as a ratio of PSI,
    margin: float = Field(default=1.25, ge=1)
    #: and how much on top of that.
    psi: float = Field(default=0.3, gt=0)


class Skew(Section):
    """Test 3: served features are those that training computes (see `monitoring.skew`)."""

    #: Fewest requests that are computed again before the test passes.
    requests: int = Field(default=20, ge=1)
    #: Most that are, the newest first.
    most: int = Field(default=500, ge=1)


class Staleness(Section):
    """Test 4: nothing is too old (see `monitoring.staleness`)."""

    #: Age of the newest actual value.
    data: Duration = "2d"
    #: Since the pipeline's last success.
    training: Duration = "35d"
    #: Age of the last value that the model was trained on.
    model: Duration = "60d"


class Numerics(Section):
    """Test 5: numbers are finite and of a possible size (see `monitoring.numerics`)."""

    window: Duration = "1h"
    #: Share of forecasts that may be larger than ten times the largest value of training.
    extreme: Share = 0.001
    #: Largest relative difference between the exported model and scikit-learn's.
    parity: float = Field(default=1e-5, gt=0)


class Cost(Section):
    """Test 6: training and serving cost what they did (see `monitoring.cost`)."""

    #: How much more than the version before, at most.
    sudden: float = Field(default=1.5, gt=1)


class Quality(Section):
    """Test 7: forecasts are as good as the backtest said (see `monitoring.quality`)."""

    #: Actual values of this time are compared with what was forecast.
    window: Duration = "14d"
    #: Of forecasts whose time is over, so many must have an actual value.
    arrived: Share = 0.5


class Monitoring(Section):
    """How the service is watched."""

    #: Address of the Prometheus that pulls from the service.
    prometheus: str = Field(default="http://127.0.0.1:9090", pattern=r"^https?://")
    dependencies: Dependencies = Dependencies()
    invariants: Invariants = Invariants()
    skew: Skew = Skew()
    staleness: Staleness = Staleness()
    numerics: Numerics = Numerics()
    cost: Cost = Cost()
    quality: Quality = Quality()
