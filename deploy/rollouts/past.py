"""Which versions served here, by the rollouts that were promoted: where a way back may lead."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deploy import versions
from deploy.faults import RolloutError
from deploy.journal import Rollout
from deploy.rollouts.states import PROMOTED

BACK = "rollback"


def before(rollouts: Sequence[Rollout], serves: str) -> str:
    """Tag of the version before the one that serves; one that was left by a way back is none.

    Args:
        rollouts: all there ever were, the newest first.
        serves: name of the version.

    Raises:
        RolloutError: there is none.
    """
    path: list[str] = []
    for rollout in reversed(_promoted(rollouts)):
        assert rollout.stable is not None, "others are left out"
        # It serves without a rollout where another deployment was brought up.
        path = _up_to(path, rollout.stable) or [rollout.stable]
        there = _up_to(path, rollout.candidate) if rollout.strategy == BACK else []
        path = there or [*path, rollout.candidate]
    path = _up_to(path, serves)
    if len(path) < 2:
        raise RolloutError("there is no version before the one that serves: see `python -m deploy history`")
    return path[-2]


def check_served(tag: str, rollouts: Sequence[Rollout], serve: Collection[str]) -> None:
    """See that a Bento served here at some time: nobody is brought to another one without a judge.

    Args:
        tag: of the Bento.
        rollouts: all there ever were.
        serve: tags of those that do now.

    Raises:
        RolloutError: it never did; names those that did.
    """
    served = {*serve, *(one.candidate for one in _promoted(rollouts)), *(one.stable for one in rollouts if one.stable)}
    if tag not in served:
        raise RolloutError(
            f"{tag} never served here, and nobody is brought to it without a judge: bring it out with `python -m deploy "
            f"canary {tag}`, or go back to one of {', '.join(sorted(served))}"
        )


def _promoted(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [one for one in rollouts if one.state == PROMOTED and one.stable]


def _up_to(path: list[str], to: str) -> list[str]:
    """A path of tags up to where it was last at a Bento, by its tag or name; nothing if it never was there."""
    at = [place for place, tag in enumerate(path) if to in (tag, versions.name(tag))]
    return path[: at[-1] + 1] if at else []
