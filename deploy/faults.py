"""What can go wrong with a rollout, each with the exit code that it maps to."""

from __future__ import annotations

from data.errors import BentocastError


class RolloutError(BentocastError):
    """A rollout cannot begin, or not go on; traffic stays where it was."""

    exit_code = 10
    code = "rollout_failed"


class InstanceError(RolloutError):
    """An instance does not get ready, or does not stay up."""


class RouterError(RolloutError):
    """The router refuses its configuration, or cannot be reached."""


class BusyError(RolloutError):
    """Another rollout is under way, or another command drives it."""

    exit_code = 2
    code = "rollout_under_way"


class AskedError(RolloutError):
    """Somebody asked for something else while an instance was waited for, or before users were moved.

    Attributes:
        wish: `pause`, `promote` or `abort`.
    """

    def __init__(self, wish: str) -> None:
        super().__init__(f"asked to {wish}")
        self.wish = wish


class BuildError(BentocastError):
    """A Bento cannot be built."""

    exit_code = 10
    code = "build_failed"
