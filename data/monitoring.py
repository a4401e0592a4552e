"""The section of params.yaml on monitoring: limits of the seven tests, and when a model is made anew."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from data import durations
from data.deployment import CANARY, Plan
from data.rollout import Judgement, PairLimits
from data.section import Duration, Section, Share


def _whole_days(duration: str) -> str:
    if durations.seconds(duration) % 86_400:
        raise ValueError(f"got {duration!r}, wanted whole days, such as '14d'")
    return duration


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
    #: Share of what training had of a feature's values that may be missing.
    missing: Share = 0.5
    #: How much more than training's own stretches a stretch of requests may differ, as a ratio of PSI,
    margin: float = Field(default=1.25, ge=1)
    #: and how much on top of that.
    psi: float = Field(default=0.3, gt=0)


class Skew(Section):
    """Test 3: served features are those that training computes (see `monitoring.skew`)."""

    #: Requests of this time are computed again: after it, a service that samples none any more is no pass.
    window: Duration = "28d"
    #: Fewest requests that are computed again before the test passes.
    requests: int = Field(default=20, ge=1)
    #: Most that are, the newest first.
    most: int = Field(default=500, ge=1)


class Staleness(Section):
    """Test 4: nothing is too old (see `monitoring.staleness`)."""

    #: Age of the newest actual value of each series that is forecast,
    data: Duration = "2d"
    #: but for so many of them.
    silent: float = Field(default=0.05, ge=0, lt=1)
    #: Age of the newest row of the table that training reads.
    table: Duration = "60d"
    #: Since features were last computed.
    features: Duration = "35d"
    #: Since the pipeline's last success.
    training: Duration = "35d"
    #: Age of the last value that the model was trained on.
    model: Duration = "60d"
    #: Since a stage of the pipeline began that has not ended.
    pipeline: Duration = "12h"
    #: Since another test was last run.
    monitor: Duration = "1h"


class Numerics(Section):
    """Test 5: numbers are finite and of a possible size (see `monitoring.numerics`)."""

    window: Duration = "1h"
    #: Share of forecasts that may be larger than ten times the largest value of training.
    extreme: Share = 0.001
    #: Largest relative difference between the exported model and scikit-learn's.
    parity: float = Field(default=1e-5, gt=0)


class Cost(Section):
    """Test 6: training and serving cost what they did (see `monitoring.cost`)."""

    #: How much more than the version before, or than before, at most.
    sudden: float = Field(default=1.5, gt=1)
    #: How much more over so many versions, at most.
    slow: float = Field(default=1.3, gt=1)
    versions: int = Field(default=10, ge=4)
    #: Requests of this time are compared with those before it, and with the version before, so far back.
    window: Duration = "1d"
    before: Duration = "14d"
    #: Fewest requests whose latencies are compared.
    requests: int = Field(default=200, ge=1)
    #: A process whose memory rises steadily must not be `sudden` times as large after so long,
    leak: Duration = "7d"
    #: looked at from so long after its start.
    warm_up: Duration = "1h"


class Quality(Section):
    """Test 7: forecasts are as good as the backtest said (see `monitoring.quality`)."""

    #: Actual values of this time are compared with what was forecast.
    window: Annotated[Duration, AfterValidator(_whole_days)] = "14d"
    #: Of forecasts whose time is over, so many must have an actual value.
    arrived: Share = 0.5
    #: A service whose forecasts are as good as they were fails about once in this time.
    false_alarm: Duration = "7300d"
    #: Largest ratio of errors to what the backtest lets expect, over the window, and in a slice while it gets worse.
    worse: float = Field(default=1.25, gt=1)
    #: Largest mean of forecast - actual over the window, up or down, in units of the expected error.
    bias: float = Field(default=0.75, gt=0)
    #: How much more than their share of actual values may lie beyond the median; of other quantiles as much less as
    #: shares of their size vary less.
    coverage: float = Field(default=0.15, gt=0, lt=0.5)


#: A model that is made anew is meant to answer differently: its canary fails only if most answers do.
RETRAINED = Plan(steps=CANARY.steps, judgement=Judgement(answers=PairLimits(tolerated=0.5, excluded=0.9)))


class Loop(Section):
    """When a model is made anew, and how it comes to users (see `monitoring.loop`)."""

    #: Of which tests a failing one asks for it.
    tests: tuple[Literal["invariants", "staleness", "quality"], ...] = ("invariants", "staleness", "quality")
    #: How often the tests are run.
    every: Duration = "1h"
    #: A model that was trained on data up to so long ago is made anew though no test asks for it; null: never.
    schedule: Duration | None = "28d"
    #: From the end of one to the next; twice as long after each whose model was refused.
    cooldown: Duration = "7d"
    #: Who has to agree before users get it.
    approval: Literal["none", "command", "webhook"] = "none"
    #: Command that brings new data before `dvc repro`; nothing where DVC sees by itself that the table is new.
    fetch: tuple[str, ...] = ()
    #: The longest that a command of it may take (its canary has limits of its own, in its plan), and that a step is
    #: tried again for which something is away.
    at_most: Duration = "12h"
    #: The plan of its canary.
    rollout: Plan = RETRAINED


class Monitoring(Section):
    """How the service is watched."""

    #: Address of the Prometheus that pulls from the service.
    prometheus: str = Field(default="http://127.0.0.1:9090", pattern=r"^https?://")
    #: Hours that times in the table and in requests are ahead of UTC, where they are local standard time; of data, wall
    #: time counts.
    utc_offset: float = Field(default=0.0, ge=-12, le=14)
    #: From one run of a test to the next (`python -m monitoring serve`).
    every: Duration = "5min"
    #: Where docs/runbooks.md can be read by whoever gets an alert: an address at your git server, say.
    runbook: str = "docs/runbooks.md"
    dependencies: Dependencies = Dependencies()
    invariants: Invariants = Invariants()
    skew: Skew = Skew()
    staleness: Staleness = Staleness()
    numerics: Numerics = Numerics()
    cost: Cost = Cost()
    quality: Quality = Quality()
    loop: Loop = Loop()
