"""A server in a process of its own: started, waited for, weighed, ended with all that it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from data.ending import END_SECONDS, end, is_alive
from loadtests import signals
from loadtests.faults import LoadtestError
from loadtests.ports import PORTS, check_free, free_ports

READY_SECONDS = 120.0
#: What a server leaves behind gets less: it had the time that the server took to end.
REST_SECONDS = 2.0
POLL_SECONDS = 0.01
#: While a server starts, so often its processes are looked at; so many may last for a look and be gone at the next.
LOOK_SECONDS, MOST_FAILED = 1.0, 3
#: Variable in the environment of every process of a run. Not `BENTOCAST_...`: the service refuses what it does not know.
RUN = "LOADTEST_RUN"


class StartError(LoadtestError):
    """A server did not get ready."""


class DiedError(LoadtestError):
    """A server, or one of its processes, ended while it was needed."""


class Mark(NamedTuple):
    """By which processes of a run are known: the path of the run's lock."""

    value: str


@dataclass(frozen=True)
class Command:
    """How a server is started; `{port}`, `{port1}` and `{port2}` stand for three ports in a row.

    Attributes:
        name: of the server.
        arguments: the command.
        folder: that it runs in.
        environment: all of it.
        ready: path that answers 200 once it can be asked.
        port: the first of its ports; some free ones by default.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    ready: str
    port: int | None = None


class Memory(NamedTuple):
    """Resident bytes: of the process that answers, and of all that belong to the server."""

    worker: int
    whole: int


class Server:
    """A running server.

    Args:
        command: how it is started.
        log: what it prints goes there.
        mark: that it and all below it carry.
        used: ports of other servers, which may not listen yet.

    Raises:
        PortError: a port that the command fixes is taken.
    """

    def __init__(self, command: Command, log: Path, mark: Mark, used: Collection[int] = ()) -> None:
        if command.port is not None:
            check_free(command.port, command.name, used=used)
        self.command = command
        self.port = command.port if command.port is not None else free_ports(used=used)
        self.ready_seconds = float("nan")
        self._log = log
        self._lasting: list[psutil.Process] = []
        self._looks = self._failed = 0
        self._starting: set[int] = set()
        self._leaving: set[psutil.Process] = set()
        self._began = time.monotonic()
        names = {f"{{port{step or ''}}}": str(self.port + step) for step in range(PORTS)}
        with log.open("wb") as target:
            self._process = subprocess.Popen(
                [_filled(argument, names) for argument in command.arguments],
                cwd=command.folder,
                env={key: _filled(value, names) for key, value in command.environment.items()} | {RUN: mark.value},
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """Ask once; after a 200 `ready_seconds` says how long that took from the start.

        Raises:
            StartError: it ended or takes too long; with the end of its log.
        """
        answers = self._answers()
        code = self._process.poll()
        seconds = time.monotonic() - self._began
        fault = _ending(code) if code is not None else "" if answers else self._hopeless(seconds)
        if fault:
            raise StartError(f"{self.command.name} {fault}; {self._tail()}")
        if answers:
            self.ready_seconds = seconds
            self._lasting = self._family()
        return answers

    def family(self) -> frozenset[int]:
        """Pids of it and of all below it, now."""
        return frozenset(process.pid for process in self._family())

    def check_alive(self, since: frozenset[int]) -> None:
        """Make sure that it runs, and that each of `since` (an earlier `family()`) that was there when it got ready does.

        What came later, and may go again, is no worker that was measured. A worker that was restarted is another.

        Raises:
            DiedError: it ended, or one of those; with the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise DiedError(f"{self.command.name} {_ending(code)} while it was needed; {self._tail()}")
        wanted = [process for process in self._lasting if process.pid in since]
        lost = [str(process.pid) for process in wanted if not is_alive(process)]
        if lost:
            raise DiedError(
                f"{self.command.name}: {len(lost)} of its {len(wanted)} processes (pid {', '.join(lost)}) died during the"
                f" round, wanted all to last: find the reason in the log and measure again; {self._tail()}"
            )

    def memory(self) -> Memory:
        """What it takes now."""
        sizes: dict[psutil.Process, int] = {}
        parents: set[int] = set()
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes[process] = process.memory_info().rss
                parents.add(process.ppid())
        leaves = [size for process, size in sizes.items() if process.pid not in parents]
        return Memory(max(leaves), sum(sizes.values()))

    def processor_seconds(self) -> float:
        """Processor time that all its processes have taken so far."""
        return sum(_processor_seconds(pid) for pid in self.family())

    def ask_to_end(self) -> None:
        """Send SIGTERM; `end` waits for all that are there now, also those that the first one leaves behind."""
        self._leaving |= {*self._lasting, *self._family()}
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """End it and all that it started; what does not go in time is killed."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        end(self._leaving, REST_SECONDS)
        self._process.wait(END_SECONDS)

    def _family(self) -> list[psutil.Process]:
        """The process and all below it; BentoML's workers are in sessions of their own."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _hopeless(self, seconds: float) -> str:
        """Why it will not get ready, or nothing: BentoML starts a worker that cannot start again and again."""
        if seconds > READY_SECONDS:
            return f"was not ready after {seconds:.0f} s"
        if seconds < LOOK_SECONDS * (self._looks + 1):
            return ""
        self._looks += 1
        now = {process.pid for process in self._family()}
        self._failed += len(self._starting - now)
        self._starting = now
        return f"starts processes that end again ({self._failed} by now)" if self._failed >= MOST_FAILED else ""

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.command.ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-30:]
        return "\n".join((f"the end of {self._log}:", *lines))


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def _ending(code: int) -> str:
    return f"ended with {code}" if code >= 0 else f"was ended by signal {-code} ({signal.strsignal(-code)})"


def _processor_seconds(pid: int) -> float:
    """Linux counts to the nanosecond, on the process's clock (clock_getcpuclockid(3)); psutil has ticks of 10 ms."""
    try:
        if sys.platform != "linux":
            times = psutil.Process(pid).cpu_times()
            return float(times.user + times.system)
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, psutil.NoSuchProcess):
        return 0.0


@contextlib.contextmanager
def running(
    commands: dict[str, Command], logs: Path, *, mark: Mark, together: bool = False
) -> Iterator[dict[str, Server]]:
    """Some servers, each ready; all are ended, whatever happens. Only in the main thread: it minds Ctrl-C and SIGTERM.

    Args:
        commands: how each is started, by a name for its log.
        logs: folder of the logs; it is made.
        mark: that all processes carry.
        together: start all, then wait; otherwise each is ready before the next one starts.

    Raises:
        PortError: a port that a command fixes is taken.
        StartError: one did not get ready.
    """
    logs.mkdir(parents=True, exist_ok=True)
    started: dict[str, Server] = {}
    try:
        for key, command in commands.items():
            used = {server.port + step for server in started.values() for step in range(PORTS)}
            with signals.deferred():
                started[key] = Server(command, logs / f"{key}.log", mark, used)
            if not together:
                wait_until_ready(started[key])
        if together:
            wait_until_ready(*started.values())
        yield started
    finally:
        with signals.undisturbed(), contextlib.ExitStack() as ending:
            for server in started.values():
                ending.callback(server.end)
                server.ask_to_end()


def wait_until_ready(*servers: Server) -> None:
    """Ask each in turn until all have answered 200.

    Raises:
        StartError: one ended or took too long; with the end of its log.
    """
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.is_ready()]:
        time.sleep(POLL_SECONDS)
