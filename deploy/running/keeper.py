"""The keeper: a process of its own that keeps the router and the instances running, whoever started them.

It does what the journal wants: starts what is missing, starts again what died (with a limit), ends what is not wanted
any more. It finds its processes again by what the journal knows of them, so it may be killed and started anew
while they go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from data import command, ending
from data.errors import BentocastError
from deploy import journals
from deploy.faults import InstanceError
from deploy.journal import AUTOSCALER, INSTANCE, Journal, Process
from deploy.place import Place
from deploy.running import discovery, processes

LOCK = "keeper"
LOOK_SECONDS = 0.1
#: A process that was started so often within so long is given up.
STARTS, WITHIN_SECONDS = 5, 60.0
#: A process that is asked to end gets so long: a worker passes its drain, the deadline of what it answers, and some seconds.
END_SECONDS = 45.0
#: How long a command waits for the keeper that it started.
UP_SECONDS = 10.0


def ensure(place: Place) -> None:
    """Start the keeper of a deployment if it does not run."""
    if place.is_held(LOCK):
        return
    processes.start(
        [sys.executable, "-m", "deploy.running.keeper", str(place.folder)],
        Path(__file__).parents[2],
        _without("MONITORING_"),
        place.logs / "keeper.log",
        f"{place.folder}:keeper",
    )
    late = time.monotonic() + UP_SECONDS
    while not place.is_held(LOCK):
        if time.monotonic() > late:
            raise InstanceError(f"the keeper does not start: see {place.logs / 'keeper.log'}")
        time.sleep(processes.POLL_SECONDS)


def end(place: Place) -> None:
    """End the keeper of a deployment; what it keeps goes on."""
    running = ending.marked(processes.MARK, f"{place.folder}:keeper")
    ending.send(signal.SIGTERM, running)
    ending.wait(running, UP_SECONDS)


def wait_until_gone(place: Place, journal: Journal, names: set[str]) -> None:
    """Wait until the keeper has ended some processes; one that is killed on the way is started again."""
    late = time.monotonic() + 2 * END_SECONDS
    while left := {one.name for one in journal.processes()} & names:
        if time.monotonic() > late:
            raise InstanceError(f"{', '.join(sorted(left))} did not end within {2 * END_SECONDS:.0f} s")
        ensure(place)
        time.sleep(processes.POLL_SECONDS)


def may_start(starts: list[float], now: float) -> bool:
    """Whether a process may be started (again): not if it was so often by now.

    Args:
        starts: when it was started, seconds since 1970.
        now: seconds since 1970.
    """
    return sum(now - WITHIN_SECONDS < moment <= now for moment in starts) < STARTS


@dataclass
class Keeper:
    """Looks after the processes of one deployment.

    Attributes:
        place: the deployment.
        journal: of it.
        children: those that this keeper started, so that they leave no zombies.
        leaving: when a process was asked to end, on the monotonic clock.
    """

    place: Place
    journal: Journal
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    leaving: dict[str, float] = field(default_factory=dict)

    def look(self) -> int:
        """Look after each process once; how many are known.

        Raises:
            OSError: no file can be written; what needs none was done.
        """
        for pid, child in list(self.children.items()):
            if child.poll() is not None:
                del self.children[pid]
        known = self.journal.processes()
        fault: OSError | None = None
        try:
            discovery.write(self.place.targets, known)
        except OSError as err:  # a full disk is no reason to leave the service to itself
            fault = err
        for process in known:
            running = processes.alive(process.pid, process.made)
            if process.wanted and not running and not process.fault:
                self._start(process)
            elif not process.wanted:
                self._end(process, running)
        if fault:
            raise fault
        return len(known)

    def _start(self, process: Process) -> None:
        now = time.time()
        if not may_start(list(process.starts), now):
            fault = f"ended {STARTS} times within {WITHIN_SECONDS:.0f} s"
            command.say(f"{process.name}: given up, it {fault}")
            self.journal.given_up(process.name, fault)
            return
        mark = self._mark(process)
        left = ending.marked(
            processes.MARK, mark
        )  # a worker that outlived its parent, or what was started and not noted
        if left:
            ending.send(signal.SIGKILL, left)
            ending.wait(left, END_SECONDS)
        starts = [*process.starts, now][-STARTS:]
        self.journal.started(process.name, starts, None, None)
        about = process.about
        child = processes.start(
            about["arguments"],
            Path(about["folder"]),
            {**self._environment(about["kind"]), **about["environment"]},
            self.place.logs / f"{process.name}.log",
            mark,
        )
        self.children[child.pid] = child
        self.journal.started(process.name, starts, child.pid, processes.made(child.pid))
        command.say(
            f"{process.name}: started, pid {child.pid}" + (f" (start {len(starts)})" if len(starts) > 1 else "")
        )

    def _end(self, process: Process, running: psutil.Process | None) -> None:
        if process.name not in self.leaving:
            self.leaving[process.name] = time.monotonic()
            if running:
                ending.send(signal.SIGTERM, [running])
            return
        late = time.monotonic() - self.leaving[process.name] > END_SECONDS
        if running and not late:
            return
        left = ending.marked(processes.MARK, self._mark(process))
        ending.send(signal.SIGKILL, left)
        ending.wait(left, END_SECONDS)
        del self.leaving[process.name]
        if process.about["kind"] == INSTANCE:  # its home has links to the version's store, and nothing of its own
            shutil.rmtree(self.place.instances / process.name, ignore_errors=True)
        self.journal.forget(process.name)
        command.say(f"{process.name}: ended" + (", killed" if running else ""))

    def _mark(self, process: Process) -> str:
        return f"{self.place.folder}:{process.name}"

    def _environment(self, kind: str) -> dict[str, str]:
        """Of this process, with the settings that the deployment was brought up with; where the journal is, and what
        opens MLflow's server and the object store, is no instance's business.
        """
        kept = _without("BENTOCAST_", "DEPLOY_", "MONITORING_", "MLFLOW_", "AWS_")
        if kind == AUTOSCALER and journals.URL in os.environ:
            kept[journals.URL] = os.environ[journals.URL]
        with contextlib.suppress(FileNotFoundError):
            settings: dict[str, Any] = json.loads(self.place.environment.read_text())
            kept |= settings
        return kept


def _without(*prefixes: str) -> dict[str, str]:
    """The environment of this process, but for some variables.

    What is kept outlives the loop that may have begun it: with the loop's mark, the loop's next step would end it.
    """
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}


def run(place: Place) -> None:
    """Keep until SIGTERM; what is kept goes on."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with place.held(LOCK, f"another keeper keeps {place.folder}"):
        keeper = Keeper(place, journals.of(place))
        command.say(f"keeper of {place.folder}: pid {os.getpid()}")
        while not over.is_set():
            try:
                keeper.look()
            except (BentocastError, OSError) as err:  # the journal is away, or the disk is full: what runs goes on
                with contextlib.suppress(OSError):
                    command.say(f"{err}; trying again")
                over.wait(1.0)
            over.wait(LOOK_SECONDS)


if __name__ == "__main__":
    command.run(lambda argv: run(Place(Path(argv[0]))), sys.argv[1:])
