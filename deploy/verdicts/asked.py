"""What is asked of the judge over HTTP: two versions, the phases so far, and where the counts are to be had."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from data import validation
from data.errors import RequestError
from data.rollout import Judgement
from data.section import Section, Share
from deploy.judging import counts
from deploy.judging.counts import Pairs, Split

#: Phases of one rollout, and edges of one histogram.
MOST_PHASES = 20
MOST_EDGES = 200
#: From the first phase to the last.
LONGEST_SECONDS = 7 * 86_400

#: A value of a label; of a Bento's tag, as BentoML writes it, there are two.
Version = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(:[a-z0-9][a-z0-9._-]{0,62})?$")]
Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
#: Labels by which a version's counters are found: another value of them would be another version's.
TAKEN = {"__name__", "service_name", "service_version", "endpoint", "http_response_code", "le"}
#: A metric of Prometheus, with labels or without: no other expression of it.
Metric = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,127}(\{[^{}]{0,512}\})?$")]
Edge = Annotated[float, Field(gt=0, le=3_600)]


class Seen(Section):
    """What one version answered in one phase."""

    requests: Count
    errors: Count = 0
    #: Answered as if the client were at fault: 4xx but for 429.
    refused: Count = 0
    #: Requests by edge in seconds that took longer.
    over: dict[Edge, Count] = Field(default={}, max_length=MOST_EDGES)


class Period(Section):
    """A phase: while the weight stayed the same. Give `began` and `ended`, or what both versions answered."""

    #: Share of requests that the candidate was given.
    weight: Share
    #: Seconds since 1970; 0 or less is counted from now.
    began: float | None = None
    ended: float | None = None
    stable: Seen | None = None
    candidate: Seen | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        timed = [value is not None for value in (self.began, self.ended)]
        counted = [value is not None for value in (self.stable, self.candidate)]
        if not (all(timed) and not any(counted)) and not (all(counted) and not any(timed)):
            raise ValueError("wanted began and ended, or stable and candidate with what each answered")
        return self


class PairsSeen(Section):
    """Pairs in which the candidate was the worse one, and others."""

    worse: Count
    other: Count

    @property
    def pairs(self) -> Pairs:
        """As the judge takes them."""
        return Pairs(self.worse, self.other)


class Asked(Section):
    """The body of a request for a verdict."""

    #: Tags of both Bentos, or the values of the label `by`: needed to find them in Prometheus.
    stable: Version | None = None
    candidate: Version | None = None
    #: The label that tells the versions apart, such as `rollouts_pod_template_hash`; by default it is their tags that do.
    by: Label | None = None
    phases: tuple[Period, ...] = Field(default=(), max_length=MOST_PHASES)
    #: Instead of phases: the metric in Prometheus that is the candidate's weight in percent.
    weights: Metric | None = None
    #: Labels that tell these versions from others of the same name, such as a namespace.
    labels: dict[Label, Annotated[str, Field(max_length=256)]] = Field(default={}, max_length=10)
    #: At which latencies are compared, if counts are brought; chosen before they were counted.
    edges: tuple[Edge, ...] = Field(default=(), max_length=10)
    answers: PairsSeen | None = None
    accuracy: PairsSeen | None = None
    #: Instead of what deploy.judgement says; keys that are left out stay as they are there.
    judgement: Judgement = Judgement()

    @property
    def is_counted(self) -> bool:
        """Whether the counts are brought."""
        return bool(self.phases) and self.phases[0].stable is not None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.phases) == (self.weights is not None):
            raise ValueError("wanted one of phases and weights")
        if len({one.stable is None for one in self.phases}) > 1:
            raise ValueError("got phases with times and phases with counts, wanted one kind")
        if not self.is_counted and (self.stable is None or self.candidate is None):
            raise ValueError("wanted stable and candidate, the tags of both Bentos: their counts are in Prometheus")
        for name, version in (("stable", self.stable), ("candidate", self.candidate)):
            if version is not None and self.by is None and ":" not in version:
                raise ValueError(
                    f"{name}: got {version!r}, wanted a Bento's tag, or `by` with the label that has this value"
                )
        if not self.is_counted and self.edges:
            raise ValueError("got edges with phases that have times, whose edges are chosen from what came before")
        if self.by in self.labels:
            raise ValueError(
                f"labels: got {self.by!r} among them, wanted it as by alone: both versions would be the same one"
            )
        taken = sorted(TAKEN & (self.labels.keys() | {self.by}))
        if taken:
            raise ValueError(
                f"got {taken[0]} among labels or as by, wanted others: it is how a version's counters are found"
            )
        return self

    def at(self, now: float) -> list[tuple[float, float, float]]:
        """Weight, begin and end of each phase, in seconds since 1970.

        Raises:
            RequestError: they are not one after another, or too long ago.
        """
        found = []
        for number, one in enumerate(self.phases, 1):
            assert one.began is not None, "phases with times have both"
            assert one.ended is not None, "phases with times have both"
            began, ended = (moment + now if moment <= 0 else moment for moment in (one.began, one.ended))
            if not now - LONGEST_SECONDS <= began < ended <= now + 1:
                raise RequestError(
                    f"phases.{number - 1}: got began {one.began:g} and ended {one.ended:g}, wanted the end after the "
                    f"begin, both in the last {LONGEST_SECONDS // 86_400} days, as seconds since 1970 or, from 0 down, "
                    "counted from now"
                )
            found.append((one.weight, began, min(ended, now)))
        for (_, _, ended), (_, began, _) in itertools.pairwise(found):
            if began < ended:
                raise RequestError("phases: got one that begins before the one before it ends, wanted them in order")
        return found

    def counted(self) -> list[counts.Phase]:
        """Phases whose counts were brought."""
        found = []
        for one in self.phases:
            assert one.stable is not None, "phases with counts have both"
            assert one.candidate is not None, "phases with counts have both"
            edges = one.candidate.over.keys() & one.stable.over.keys()
            found.append(
                counts.Phase(
                    one.weight,
                    Split(one.candidate.requests, one.stable.requests),
                    Split(one.candidate.errors, one.stable.errors),
                    {edge: Split(one.candidate.over[edge], one.stable.over[edge]) for edge in sorted(edges)},
                    refused=Split(one.candidate.refused, one.stable.refused),
                )
            )
        return found


def read(body: bytes) -> Asked:
    """Read a body, or the one that Flagger's carries as a text in `metadata.verdict`.

    Raises:
        RequestError: it is not JSON, or not what is wanted; all faults in one message.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        body = json.loads(body)["metadata"]["verdict"].encode()
    try:
        return Asked.model_validate_json(body)
    except ValidationError as err:
        raise RequestError(f"the body: {validation.explain(err, Asked)[:2_000]}", param=validation.place(err)) from err
