"""The section of params.yaml on deployment: the router, and the plans that rollouts go by."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from data import durations
from data.rollout import Judgement
from data.section import Duration, Section, Share

Port = Annotated[int, Field(ge=1, le=65_535)]

#: Weights are parts of this many.
WHOLE = 10_000

#: What happens to a rollout whose verdict is not clear when its time is over.
Undecided = Literal["pause", "rollback"]


class Sticky(Section):
    """By what a user is known who stays with one version. Give one of `header` and `cookie`."""

    #: Whoever sends the same value stays; without it, chance decides about each request.
    header: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$")
    #: The router gives one to whoever has none.
    cookie: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.header is None) == (self.cookie is None):
            raise ValueError(f"got {'neither' if self.header is None else 'both'} of header and cookie, wanted one")
        return self


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
    #: Users stay with a version while the weights stay; null leaves each request to chance.
    sticky: Sticky | None = None

    @model_validator(mode="after")
    def _differ(self) -> Self:
        ports = (self.port, *self.admin_ports)
        if not self.admin_ports:
            raise ValueError("admin_ports: wanted one port or more")
        if len(set(ports)) < len(ports):
            raise ValueError(f"port and admin_ports: got {ports}, wanted each once")
        return self


class Header(Section):
    """Requests that carry a header with a value."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    value: str = Field(min_length=1)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class Step(Section):
    """One step of a rollout, until enough was seen. Give one of `mirror`, `weight` and `header`."""

    #: Share of requests that the candidate gets copies of; nobody sees its answers.
    mirror: Annotated[float, Field(gt=0, le=1)] | None = None
    #: Share of users' requests that the candidate answers.
    weight: Share | None = None
    #: The candidate answers those who send this header, and nobody else.
    header: Header | None = None
    #: That the candidate has to answer in this step, at least.
    requests: int = Field(default=100, ge=1)
    #: The step takes so long at least.
    at_least: Duration | None = None
    #: If the verdict is not clear by then, the rollout is undecided.
    at_most: Duration = "30min"

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("mirror", "weight", "header") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {' and '.join(given) or 'none'} of mirror, weight and header, wanted one")
        return self

    def check(self) -> None:
        """Refuse what cannot be done. Not when it is read: the journal has steps of rollouts that were tried once.

        Raises:
            ValueError: it would be undecided before it may be over, or its weight is none or all.
        """
        if self.at_least is not None and durations.seconds(self.at_least) >= durations.seconds(self.at_most):
            raise ValueError(
                f"got at_least {self.at_least} with at_most {self.at_most}, wanted a longer at_most: by then a step that is "
                "not over is undecided"
            )
        if self.weight is not None and not 1 <= round(self.weight * WHOLE) < WHOLE:
            raise ValueError(
                f"got weight {self.weight:g}, wanted {1 / WHOLE} to {1 - 1 / WHOLE}: the router splits requests in parts of "
                f"{WHOLE}, and this would be none or all of them"
            )

    def __str__(self) -> str:
        if self.mirror is not None:
            return f"copies of {self.mirror:.0%}"
        return f"weight {self.weight:.0%}" if self.weight is not None else f"header {self.header!s}"


def _rise(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if not steps:
        raise ValueError("wanted one step or more")
    weights = [step.weight for step in steps if step.weight is not None]
    if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
        raise ValueError(
            f"got weights {', '.join(f'{weight:g}' for weight in weights)}, wanted each above the one before"
        )
    first = next((place for place, step in enumerate(steps) if step.weight is not None), len(steps))
    if any(step.weight is None for step in steps[first:]):
        raise ValueError(
            "got a step without a weight after one with, wanted those first: users see its answers by then"
        )
    return steps


class Plan(Section):
    """How a candidate is brought to users.

    Raises:
        ValueError: a plan that promotes without ever judging.
    """

    steps: Annotated[tuple[Step, ...], AfterValidator(_rise)]
    #: After the last step: `promote` a candidate that passed, `stop` and take it away whatever the verdict, or `stay`
    #: as it is until somebody says `promote` or `abort`.
    end: Literal["promote", "stop", "stay"] = "promote"
    #: What becomes of a rollout that is undecided.
    undecided: Undecided = "pause"
    #: For each instance of the candidate that comes, one of the version before goes.
    replace: bool = False
    #: The version before stays up without requests after a promotion, until the next rollout: a way back in a second.
    keep: bool = False
    #: At weights of at most a half, latencies are compared with as many new instances of the version before that get as
    #: much traffic as the candidate's: with another share of it, an instance is quicker or slower whatever its version.
    #: Not where instances are replaced, and so have their share anyway.
    baseline: bool = True
    #: Those who send this header get the candidate while it has no users yet.
    preview: Header | None = None
    #: What is to differ from deploy.judgement in rollouts that go by this plan.
    judgement: Judgement | None = None

    @model_validator(mode="after")
    def _is_judged(self) -> Self:
        if self.end != "stay" and all(step.header for step in self.steps):
            raise ValueError(
                f"got end {self.end} with steps that go by a header alone, wanted one with mirror or weight before it, or end "
                "stay: whom a header chooses, chance does not, and nothing is judged"
            )
        return self

    def header(self, step: Step) -> Header | None:
        """Whoever sends it gets the candidate in a step: not where it has users, for these would not be split by chance."""
        return step.header or (self.preview if step.weight is None else None)

    def has_baseline(self, step: Step) -> bool:
        """Whether a baseline gets as much traffic as the candidate in a step; one that stays is not judged."""
        stays = self.end == "stay" and step is self.steps[-1]
        is_small = step.weight is not None and step.weight <= 0.5
        return self.baseline and is_small and not self.replace and not stays


CANARY = Plan(
    steps=(
        Step(mirror=1.0, requests=200),
        Step(weight=0.1, requests=200),
        Step(weight=0.25, requests=500),
        Step(weight=0.5, requests=1_000),
    )
)
#: All of it at once, after it was tried on copies, with the old version kept warm.
BLUE_GREEN = Plan(
    steps=(Step(mirror=1.0, requests=500),), keep=True, preview=Header(name="x-preview", value="candidate")
)
#: Instance by instance.
ROLLING = Plan(steps=(Step(weight=0.25), Step(weight=0.5), Step(weight=0.75)), replace=True)
#: On copies alone.
SHADOW = Plan(steps=(Step(mirror=1.0, requests=1_000),), end="stop")
#: For those who ask for it, until somebody ends it.
AB = Plan(steps=(Step(header=Header(name="x-group", value="b")),), end="stay")


class Autoscale(Section):
    """How many instances of the version that serves there are, by how much they are used."""

    least: int = Field(default=1, ge=1, le=256)
    most: int = Field(default=4, ge=1, le=256)
    #: Processor time of instances as a share of a core each.
    target: Share = 0.6
    #: So long is measured for one answer.
    every: Duration = "15s"
    #: So long fewer have to be enough before some are ended.
    down_after: Duration = "5min"

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"got most {self.most} with least {self.least}, wanted as many or more")
        return self

    def within(self, many: int) -> int:
        """The nearest number that is allowed."""
        return min(self.most, max(self.least, many))


#: Of an object, a namespace, a port: as DNS has labels.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
#: Of an image, without a tag, and with one.
Repository = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9./:_-]*/[a-z0-9._-]+$|^[a-z0-9][a-z0-9._-]*$", max_length=200)
]
Image = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./:_-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", max_length=300)]
Cpu = Annotated[str, Field(pattern=r"^([1-9][0-9]*m|[1-9][0-9]*|[0-9]+\.[0-9]{1,3})$")]
Bytes = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi)$")]


class Gateway(Section):
    """The gateway that users come through (Gateway API); it is the cluster's, not ours."""

    name: Name
    #: Where it is, and from where its proxies ask.
    namespace: Name


class Kubernetes(Section):
    """What `python -m deploy render kubernetes` has to know of the cluster."""

    #: Of the service's image, without a tag: the tag is the Bento's version.
    image: Repository
    #: The judge's image, with a tag.
    judge: Image
    #: Under which name users find the service.
    host: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    gateway: Gateway
    #: Which scrapes the service, as the judge reaches it.
    prometheus: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=300)]
    #: Where that runs.
    prometheus_namespace: Name = "monitoring"
    #: Where Argo Rollouts runs.
    argo_namespace: Name = "argo-rollouts"
    namespace: Name = "bentocast"
    #: A step with a weight takes so long, unless it has a longer `at_least`.
    step: Duration = "10min"
    #: Asked for, for each instance.
    cpu: Cpu = "1"
    #: Asked for, and never more.
    memory: Bytes = "1Gi"
    #: Of the record's PostgreSQL, whose address is in the secret `bentocast-record`; null: each pod has a file that goes with it.
    record_port: Port | None = None


class Deploy(Section):
    """How versions of the service are brought to users."""

    #: Of the version that serves.
    instances: int = Field(default=1, ge=1, le=256)
    #: Null leaves their number to `python -m deploy scale`.
    autoscale: Autoscale | None = None
    router: Router = Router()
    judgement: Judgement = Judgement()
    canary: Plan = CANARY
    blue_green: Plan = BLUE_GREEN
    rolling: Plan = ROLLING
    shadow: Plan = SHADOW
    ab: Plan = AB
    #: Null where there is no cluster.
    kubernetes: Kubernetes | None = None

    def judged(self, plan: Plan) -> Plan:
        """A plan with the whole judgement that rollouts by it go by.

        Raises:
            ValueError: what the plan says of it does not go with what is said here, or one of its steps cannot be done.
        """
        for place, step in enumerate(plan.steps):
            try:
                step.check()
            except ValueError as err:
                raise ValueError(f"{err} (steps.{place})") from err
        judgement = self.judgement if plan.judgement is None else self.judgement.changed(plan.judgement)
        if self.router.sticky and judgement.cluster == 1:
            raise ValueError(
                "router.sticky: all requests of a user go to one version and share its luck, got judgement.cluster 1, "
                "wanted how many requests one user makes in a rollout, at most: set judgement.cluster to that"
            )
        return plan.model_copy(update={"judgement": judgement})

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        for name in ("canary", "blue_green", "rolling", "shadow", "ab"):
            try:
                self.judged(getattr(self, name))
            except ValueError as err:
                raise ValueError(f"{err} (of {name})") from err
        return self
