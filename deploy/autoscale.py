"""Autoscaling: a process that the keeper keeps, which has as many instances of the stable version as their work asks for.

It holds the lock of rollouts while it changes anything, and leaves all as it is while one is under way. What it knows is
gone with it: started anew, it makes the router know the instances that are wanted, and measures again.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from data import command, durations
from data.deployment import Autoscale, Deploy
from data.errors import BentocastError, ConfigError
from deploy import journals
from deploy.faults import BusyError
from deploy.fleet import LOCK, Fleet
from deploy.journal import AUTOSCALER, NO_ROLLOUT, Journal, Process
from deploy.place import HOME, SCALING, Place
from deploy.running import keeper

#: Processor seconds by pid and time of start.
Worked = dict[tuple[int, float], float]


def start(fleet: Fleet) -> None:
    """Have it run, by the plan as it is now.

    Raises:
        ConfigError: there is no such plan.
    """
    if fleet.plan.autoscale is None:
        raise ConfigError("deploy.autoscale: got null, wanted a section with least, most and target in params.yaml")
    stop(fleet)
    fleet.journal.want(AUTOSCALER, _about(fleet.place, fleet.plan))
    keeper.ensure(fleet.place)


def stop(fleet: Fleet) -> None:
    """End it; what it began to start goes again."""
    if any(one.name == AUTOSCALER for one in fleet.journal.processes()):
        fleet.journal.unwant(AUTOSCALER)
        keeper.ensure(fleet.place)
        keeper.wait_until_gone(fleet.place, fleet.journal, {AUTOSCALER})


def wanted(busy: float, plan: Autoscale) -> int:
    """How many instances it takes to be used as planned.

    Args:
        busy: processor seconds of all instances a second.
        plan: the target, and the limits.
    """
    return plan.within(math.ceil(round(busy / plan.target, 6)))


def busy(before: Worked, after: Worked, seconds: float) -> float:
    """Processor seconds a second, of those that were there all the while: what it takes to start is no load."""
    return sum(after[key] - before[key] for key in before.keys() & after.keys()) / seconds


@dataclass
class Window:
    """What was wanted of late. More is wanted at once, fewer only after nothing more was wanted for a while.

    Attributes:
        seconds: how long.
    """

    seconds: float
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, many: int) -> None:
        """What is wanted by a measurement; `now` on the monotonic clock, seconds."""
        self._seen.append((now, many))
        while len(self._seen) > 1 and self._seen[1][0] <= now - self.seconds:
            self._seen.popleft()

    def decide(self, there: int) -> int:
        """How many there should be, of those that were measured last: newest if more, highest in the window if fewer."""
        now, newest = self._seen[-1]
        if newest >= there:
            return newest
        if now - self._seen[0][0] < self.seconds:
            return there
        return min(there, max(many for _, many in self._seen))


@dataclass
class Autoscaler:
    """Looks at the instances of one deployment from time to time.

    Attributes:
        fleet: that is scaled.
        plan: by which.
    """

    fleet: Fleet
    plan: Autoscale
    _window: Window = field(init=False)
    _last: tuple[float, Worked] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Know nothing yet."""
        self._forget()

    def repair(self) -> None:
        """Make the router know the instances that are there: an earlier one may have been killed on the way."""
        with self._alone() as stable:
            if stable:
                self.fleet.scale(self.fleet.version(stable), len(self.fleet.of(stable)))

    def look(self, now: float) -> None:
        """Measure, and change what has to be changed.

        Args:
            now: on the monotonic clock, seconds.

        Raises:
            BentocastError: it could not be done; it is tried again after the next measurements.
        """
        journal = self.fleet.journal
        if not journal.state() or journal.under_way():
            self._forget()
            return
        stable = self.fleet.traffic().stable
        there = [one for one in self.fleet.of(stable) if not one.fault]  # one that was given up is replaced
        names = {one.name for one in there}
        last, worked = self._last, _worked(one for one in journal.processes() if one.name in names)
        self._last = now, worked
        if last is None:
            return
        used = busy(last[1], worked, now - last[0])
        self._window.add(now, wanted(used, self.plan))
        many = self._window.decide(len(there))
        if many != len(there):
            self._forget()
            self._scale(stable, len(there), many, used / max(1, len(there)))

    def _scale(self, stable: str, there: int, many: int, utilisation: float) -> None:
        with self._alone() as now_stable:
            if now_stable != stable:
                return
            about = {"version": stable, "from": there, "to": many, "utilisation": round(utilisation, 3)}
            self.fleet.journal.add(NO_ROLLOUT, "scale", about, time.time())
            self.fleet.say(f"{stable}: {there} -> {many} instances at a utilisation of {utilisation:.0%}")
            self.fleet.scale(self.fleet.version(stable), many)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[str | None]:
        """The version that serves, or None if nothing is up or a rollout is under way; none begins meanwhile.

        A rollout under way is looked for before the lock is taken too, so that one that is paused never finds it taken.
        """
        journal, place = self.fleet.journal, self.fleet.place
        if not journal.state() or journal.under_way():
            yield None
            return
        with place.held(SCALING, "another process scales"), place.held(LOCK, "a command drives a rollout"):
            keeper.ensure(place)
            yield None if not journal.state() or journal.under_way() else self.fleet.traffic().stable

    def _forget(self) -> None:
        self._window = Window(durations.seconds(self.plan.down_after))
        self._last = None


def _worked(kept: Iterable[Process]) -> Worked:
    """Of processes and all below them."""
    found: Worked = {}
    for one in kept:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(one.pid) if one.pid else None
            for process in [parent, *parent.children(recursive=True)] if parent else []:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    found[process.pid, process.create_time()] = times.user + times.system
    return found


def _about(place: Place, plan: Deploy) -> dict[str, Any]:
    """What the keeper has to know to start it."""
    return {
        "kind": AUTOSCALER,
        "arguments": [sys.executable, "-m", "deploy.autoscale"],
        "folder": str(Path(__file__).parents[1]),
        "environment": {HOME: str(place.folder)},
        "plan": plan.model_dump(mode="json"),
    }


def run(place: Place, journal: Journal) -> None:
    """Scale until SIGTERM, which ends a change that is under way too."""
    (kept,) = (one for one in journal.processes() if one.name == AUTOSCALER)
    plan = Deploy.model_validate(kept.about["plan"])
    assert plan.autoscale is not None, "it was started by it"
    scaler = Autoscaler(Fleet(place, journal, plan), plan.autoscale)
    repaired = False
    while True:
        try:
            if repaired:
                scaler.look(time.monotonic())
            else:
                scaler.repair()
                repaired = True
        except BusyError:
            pass
        except (BentocastError, OSError) as err:  # what serves goes on
            command.say(f"{err}; trying again")
        time.sleep(durations.seconds(plan.autoscale.every))


def main(_: list[str]) -> None:
    """Run for the deployment that the environment names, until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Place.of(os.environ)
    run(place, journals.of(place))


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
