"""Since when, and where, the model that serves now has served: counters of another version are no evidence of it."""

from __future__ import annotations

from typing import NamedTuple

from data.errors import BentocastError
from monitoring.context import Context, Served
from monitoring.metrics import ANY, STALE_SECONDS, Labels, Sample

#: Looks back in so many steps.
POINTS = 500
SHORTEST_STEP_SECONDS = 15.0


class NothingServedError(BentocastError):
    """No service says which model it serves: there is nothing to judge."""


class Seen(NamedTuple):
    """The served model, and the part of the past that is about it.

    Attributes:
        served: the model.
        instances: that served it and no other since; where all have served another meanwhile, since that.
        seconds: since it was seen first, at most as far as was looked back.
    """

    served: Served
    instances: frozenset[str]
    seconds: float

    def increase(self, context: Context, name: str, seconds: float, where: Labels = ANY) -> list[Sample]:
        """How much counters of this model's instances rose."""
        return [one for one in context.metrics.increase(name, seconds, where) if self.own(one)]

    def last(self, context: Context, name: str) -> list[Sample]:
        """The newest values of this model's instances."""
        return [one for one in context.metrics.last(name) if self.own(one)]

    def own(self, sample: Sample) -> bool:
        """Whether a sample comes from an instance of this model."""
        return sample.labels["instance"] in self.instances


def seen(context: Context, longest: float) -> Seen:
    """What serves, and since when.

    Args:
        context: what is looked at.
        longest: seconds to look back.

    Raises:
        NothingServedError: no instance says what it serves.
        MetricsError: the source of metrics cannot be read.
    """
    served = context.served()
    if served is None:
        raise NothingServedError(
            "no service says which model it serves (model_info): start one, and see that Prometheus pulls from it"
        )
    step = max(longest / POINTS, SHORTEST_STEP_SECONDS)
    ours: dict[str, float] = {}
    others: dict[str, float] = {}
    for labels, points in context.metrics.over("model_info", longest, step):
        instance = labels["instance"]
        if all(labels.get(name) == value for name, value in served._asdict().items()):
            ours[instance] = min(points[0][0], ours.get(instance, points[0][0]))
        else:
            others[instance] = max(points[-1][0], others.get(instance, points[-1][0]))
    begin = min(ours.values(), default=context.now)
    # A value is taken to hold for a while after it was seen last.
    doubt = step + STALE_SECONDS
    instances = frozenset(instance for instance in ours if others.get(instance, begin) <= begin + doubt)
    if ours and not instances:  # it came back everywhere
        begin = min(others[instance] for instance in ours)
        instances = frozenset(instance for instance in ours if others[instance] <= begin + doubt)
    return Seen(served, instances, max(context.now - begin, step))
