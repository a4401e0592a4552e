"""What is up and what went on, for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from data.deployment import Plan
from data.rollout import Judgement
from deploy import versions
from deploy.fleet import Fleet, state_of
from deploy.journal import AUTOSCALER, NO_ROLLOUT, Rollout
from deploy.rollouts import steps
from deploy.rollouts.states import GONE, GONE_ADVICE
from deploy.router.routing import WHOLE
from deploy.running import instances


def text(fleet: Fleet) -> str:
    """Versions with their weights and instances, and the rollout that is under way."""
    state = fleet.journal.state()
    if not state:
        return "nothing is up"
    traffic = fleet.traffic()
    lines = [f"{fleet.address}  (revision {traffic.revision})"]
    known = fleet.instances()
    for version in sorted(
        {one.version for one in known}, key=lambda name: (versions.own(name) != traffic.stable, name)
    ):
        share = traffic.weights.get(version, 0) / WHOLE
        mirrored = (
            f", copies of {traffic.mirror.share:.0%}" if traffic.mirror and traffic.mirror.version == version else ""
        )
        chosen = "".join(f", those with {one.header}: {one.value}" for one in traffic.choices if one.version == version)
        role = {traffic.stable: " (stable)", versions.baseline(traffic.stable): " (stable, beside the candidate)"}
        lines.append(f"  {version}: {share:.1%} of requests{mirrored}{chosen}{role.get(version, '')}")
        lines += [f"    {one.curl(fleet.address)}" for one in traffic.choices if one.version == version]
        lines += [
            f"    {one.name} on {one.endpoint.http} and {one.endpoint.grpc}: {_how(one)}"
            for one in known
            if one.version == version
        ]
    lines += _autoscaling(fleet)
    under_way = fleet.journal.under_way()
    if under_way:
        gone = state_of(under_way, fleet.place) == GONE
        how = GONE_ADVICE if gone else under_way.why
        lines.append(
            f"{under_way.strategy} {under_way.id} of {under_way.candidate}: {under_way.state}; {how}".rstrip("; ")
        )
    return "\n".join(lines)


def history(rollouts: Sequence[Rollout]) -> str:
    """A line a rollout, the newest first."""
    if not rollouts:
        return "no rollouts yet"
    return "\n".join(
        f"{one.id:>4}  {_time(one.began)}  {one.strategy:10}  {one.stable} -> {one.candidate}  {one.state}"
        + (f": {one.why}" if one.why else "")
        for one in rollouts
    )


def plan(strategy: str, tag: str, chosen: Plan) -> str:
    """What a rollout would do."""
    lines = [f"{strategy} of {tag}:"]
    for place, step in enumerate(chosen.steps, 1):
        least = f", {step.at_least} or longer" if step.at_least else ""
        lines.append(
            f"  {place}. {step}: {step.requests:,} requests of the candidate or more{least}, {step.at_most} at most"
        )
    ends = {
        "promote": "promoted if the verdict is a pass",
        "stop": "taken away again, with a verdict",
        "stay": "stays so until `promote` or `abort`",
    }
    lines.append(f"  then {ends[chosen.end]}; rolled back on a fail at any time; undecided: {chosen.undecided}")
    if chosen.replace:
        lines.append("  for each instance of the candidate that comes, one of the version before goes")
    if any(chosen.has_baseline(step) for step in chosen.steps):
        lines.append(
            "  at weights up to 50% as many new instances of the version before get as much traffic, to compare latencies with"
        )
    if chosen.preview:
        lines.append(f"  while it has no users, who sends a header gets it: curl -i -H '{chosen.preview}' ADDRESS")
    if chosen.keep:
        lines.append("  the version before stays up, without requests, until the next rollout")
    if chosen.judgement is not None:
        lines.append(f"  judged by: {'; '.join(_limits(chosen.judgement))}")
    return "\n".join(lines)


def begins(chosen: Plan, stable: str, candidate: str, many: int) -> str:
    """What a plan would do here.

    Args:
        chosen: the plan.
        stable: tag of the Bento that serves.
        candidate: tag of the other.
        many: instances of the former.
    """
    lines = [f"it can begin: {stable} -> {candidate}"]
    for place, step in enumerate(chosen.steps, 1):
        coming = steps.needed(step, many)
        stays = steps.left(many, coming) if chosen.replace and step.weight else many
        beside = f" and {coming} more to compare latencies with" if chosen.has_baseline(step) else ""
        lines.append(f"  {place}. {stays} of {stable}{beside}, {coming} of {candidate}")
    return "\n".join(lines)


def _limits(judgement: Judgement) -> list[str]:
    """What a candidate is judged by: a part for each check, and the numbers that all share."""
    whole = judgement.model_dump()
    checks = [
        f"{name} {', '.join(f'{key} {value:g}' for key, value in limits.items())}"
        for name, limits in whole.items()
        if isinstance(limits, dict) and name != "parts"
    ]
    return [*checks, *(f"{name} {value:g}" for name, value in whole.items() if not isinstance(value, dict))]


def _autoscaling(fleet: Fleet) -> list[str]:
    """What the autoscaler goes by and did last, if it is wanted."""
    kept = next((one for one in fleet.journal.processes() if one.name == AUTOSCALER and one.wanted), None)
    if kept is None:
        return []
    plan = kept.about["plan"]["autoscale"]
    told = f"autoscaling: {plan['least']} to {plan['most']} instances, used {plan['target']:.0%}"
    if kept.fault:
        return [f"{told}; given up, it {kept.fault}"]
    last = fleet.journal.last(NO_ROLLOUT, "scale")
    if last is None:
        return [told]
    change = f"{last.about['from']} -> {last.about['to']} at {last.about['utilisation']:.0%}"
    return [f"{told}; last {_time(last.at)}: {change}"]


def _how(one: instances.Instance) -> str:
    if one.fault:
        return f"given up, it {one.fault}"
    return "ready" if instances.is_ready(one.endpoint) else "not ready"


def _time(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
