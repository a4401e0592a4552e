"""The section of params.yaml on deployment: the router, and the plans that rollouts go by."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from data.rollout import Judgement
from data.section import Duration, Section, Share

Port = Annotated[int, Field(ge=1, le=65_535)]

#: What happens to a rollout whose verdict is not clear when its time is over.
Undecided = Literal["pause", "rollback"]


class Router(Section):
    """Envoy in front of the instances."""

    host: str = "127.0.0.1"
    #: Of HTTP and gRPC.
    port: Port = 8080
    #: Of Envoy's own pages, on 127.0.0.1; there are as many Envoys as ports, which share the port above.
    admin_ports: tuple[Port, ...] = (9901,)
    #: Of each Envoy.
    threads: int = Field(default=1, ge=1, le=64)
    #: A line of JSON for each request.
    access_log: bool = False
    #: Requests under way to one version at once.
    requests: int = Field(default=4_096, ge=1)
    #: Connections of clients at once.
    connections: int = Field(default=10_000, ge=1)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        ports = (self.port, *self.admin_ports)
        if not self.admin_ports:
            raise ValueError("admin_ports: wanted one port or more")
        if len(set(ports)) < len(ports):
            raise ValueError(f"port and admin_ports: got {ports}, wanted each once")
        return self


class Step(Section):
    """One step of a rollout: copies of requests, or a weight, until enough was seen.

    Give `mirror` (a share of requests that the candidate gets copies of, whose answers nobody sees) or `weight` (a
    share of users' requests).
    """

    mirror: Annotated[float, Field(gt=0, le=1)] | None = None
    weight: Share | None = None
    #: That the candidate has to answer in this step, at least.
    requests: int = Field(default=100, ge=1)
    #: The step takes so long at least.
    at_least: Duration | None = None
    #: If the verdict is not clear by then, the rollout is undecided.
    at_most: Duration = "30min"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.mirror is None) == (self.weight is None):
            raise ValueError("got both or neither of mirror and weight, wanted one of them")
        return self


def _rise(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if not steps:
        raise ValueError("wanted one step or more")
    weights = [step.weight for step in steps if step.weight is not None]
    if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
        raise ValueError(
            f"got weights {', '.join(f'{weight:g}' for weight in weights)}, wanted each above the one before"
        )
    first = next((place for place, step in enumerate(steps) if step.weight is not None), len(steps))
    if any(step.mirror is not None for step in steps[first:]):
        raise ValueError(
            "got a mirror step after a weight, wanted those first: afterwards users see the answers anyway"
        )
    return steps


class Canary(Section):
    """More and more requests go to the candidate, while it is judged; promoted or rolled back in the end."""

    steps: Annotated[tuple[Step, ...], AfterValidator(_rise)] = (
        Step(mirror=1.0, requests=200),
        Step(weight=0.1, requests=200),
        Step(weight=0.25, requests=500),
        Step(weight=0.5, requests=1_000),
    )
    undecided: Undecided = "pause"


class Deploy(Section):
    """How versions of the service are brought to users."""

    #: Of the version that serves.
    instances: int = Field(default=1, ge=1, le=256)
    router: Router = Router()
    judgement: Judgement = Judgement()
    canary: Canary = Canary()
