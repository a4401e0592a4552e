"""What can go wrong when a model is made anew."""

from __future__ import annotations

from data.errors import BentocastError


class LoopError(BentocastError):
    """A retraining cannot begin or go on."""

    exit_code = 10


class WaitError(BentocastError):
    """Somebody has to decide before it goes on."""


class StopError(BentocastError):
    """A retraining has to stop, with the reason; users stay with the model that serves."""

    exit_code = 7


class RefusedError(StopError):
    """It has to stop since its model is not one to ship: the gate, a person, or its rollout said so."""
