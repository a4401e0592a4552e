"""The end of a rollout: users are brought to where they stay, the other version ends, and people are told."""

from __future__ import annotations

from collections.abc import Callable

from data.deployment import Plan
from deploy import versions
from deploy.faults import AskedError, InstanceError, RouterError
from deploy.fleet import Fleet
from deploy.journal import Rollout
from deploy.rollouts.states import ABORT, PROMOTED, ROLLED_BACK
from deploy.rollouts.steps import make_whole, recall
from deploy.router.routing import WHOLE
from deploy.versions import Version

#: Name in the journal of what says how a rollout is to end.
ENDING = "ending"


def close(fleet: Fleet, rollout: Rollout, state: str, reason: str, now: float) -> str:
    """Write down how it ends, then end it.

    Args:
        fleet: what is up.
        rollout: which.
        state: to end in.
        reason: why.
        now: seconds since 1970.

    Returns:
        The state that it ended in.
    """
    fleet.journal.add(rollout.id, ENDING, {"state": state, "reason": reason}, now)
    return end(fleet, rollout, state, reason, now)


def end(fleet: Fleet, rollout: Rollout, state: str, reason: str, now: float) -> str:
    """Bring users to where they are to stay, then end the other version; may be done twice.

    A candidate that cannot be brought to all users is taken back, and so is one that somebody aborts before it has them.
    A version before that does not get all of its instances back serves with those that it has. Arguments and result as of
    `close`.
    """

    def heed() -> None:
        if state == PROMOTED and fleet.journal.wished(rollout.id) == ABORT:
            raise AskedError(ABORT)

    progress = recall(fleet, rollout.id)
    assert rollout.stable is not None, "there is a version before it"
    plan = Plan.model_validate(rollout.plan) if rollout.plan else None
    stays, goes = rollout.stable, rollout.candidate
    if state == PROMOTED:
        stays, goes = goes, stays
    version = versions.take(fleet.place, stays)
    serves = any(not one.fault for one in fleet.of(version.name))
    if state != PROMOTED and serves:  # back at once, then whole again, unless it was taken apart
        if plan:
            make_whole(fleet, plan, version, progress.instances)
        fleet.move(version.name, stable=version.name, weights={version.name: WHOLE}, mirror=None, choices=())
    try:
        _bring(fleet, version, progress.instances, heed, needed=state == PROMOTED or not serves)
        heed()
        fleet.move(stable=version.name, weights={version.name: WHOLE}, mirror=None, choices=())
    except (AskedError, InstanceError, RouterError) as err:
        if state != PROMOTED:
            raise
        return close(fleet, rollout, ROLLED_BACK, err.message, now)
    kept = plan is not None and plan.keep and state == PROMOTED
    fleet.retire(*(() if kept else (versions.name(goes),)), progress.baseline)
    fleet.journal.end(rollout.id, state, reason, now)
    tell(fleet, rollout.id)
    return state


def tell(fleet: Fleet, number: int) -> None:
    """Tell people: here, in a report, by the webhook, and in MLflow. None of it may undo what was done."""
    from deploy.rollouts import (  # matplotlib takes a second to import, and nobody waits for it before
        notify,
        report,
        tracked,
    )

    rollout = fleet.journal.rollout(number)
    assert rollout is not None, "it is told of, so it is there"
    fleet.say(f"{rollout.candidate} {rollout.state}: {rollout.reason}")
    page = None
    try:
        page = report.write(report.Story.of(fleet.journal, rollout), fleet.place.reports)
        fleet.say(f"report: {page}")
    except Exception as err:
        fleet.say(f"no report: {type(err).__name__}: {err}")
    notify.tell(rollout, fleet.say)
    if page is not None and rollout.ended is not None:
        tracked.log(rollout, page, fleet.say)


def _bring(fleet: Fleet, version: Version, many: int, heed: Callable[[], None], *, needed: bool) -> None:
    """So many instances; if they are not needed, fewer are told of."""
    try:
        fleet.bring(version, many, heed)
    except InstanceError as err:
        if needed:
            raise
        fleet.say(f"{version.name} has fewer instances than before: {err.message}")
