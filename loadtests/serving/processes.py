"""A server in a process of its own: started, waited for, weighed, ended with all that it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from data.errors import BentocastError

READY_SECONDS = 120.0
END_SECONDS = 15.0
POLL_SECONDS = 0.01
#: Ports that a server may use: its own, gRPC on the next one, one more for metrics.
PORTS = 3


class StartError(BentocastError):
    """A server did not get ready."""


@dataclass(frozen=True)
class Command:
    """How a server is started; `{port}`, `{port1}` and `{port2}` stand for three ports in a row.

    Attributes:
        name: of the server.
        arguments: the command.
        folder: that it runs in.
        environment: all of it.
        ready: path that answers 200 once it can be asked.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    ready: str


class Memory(NamedTuple):
    """Resident bytes: of the process that answers, and of all that belong to the server."""

    worker: int
    whole: int


class Server:
    """A running server.

    Args:
        command: how it is started.
        log: what it prints goes there.
    """

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.port = free_ports()
        self.ready_seconds = float("nan")
        self._log = log
        self._leaving: list[psutil.Process] = []
        self._began = time.monotonic()
        names = {f"{{port{step or ''}}}": str(self.port + step) for step in range(PORTS)}
        with log.open("wb") as target:
            self._process = subprocess.Popen(
                [_filled(argument, names) for argument in command.arguments],
                cwd=command.folder,
                env={key: _filled(value, names) for key, value in command.environment.items()},
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Ask until it answers 200; `ready_seconds` then says how long that took from the start.

        Raises:
            StartError: it ended or took too long; with the end of its log.
        """
        while not self._is_ready():
            seconds = time.monotonic() - self._began
            code = self._process.poll()
            if code is not None or seconds > READY_SECONDS:
                fault = f"ended with {code}" if code is not None else f"was not ready after {seconds:.0f} s"
                raise StartError(f"{self.command.name} {fault}; the end of {self._log}:\n{self._tail()}")
            time.sleep(POLL_SECONDS)
        self.ready_seconds = time.monotonic() - self._began

    def memory(self) -> Memory:
        """What it takes now."""
        sizes: dict[psutil.Process, int] = {}
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes[process] = process.memory_info().rss
        parents = {process.ppid() for process in sizes}
        leaves = [size for process, size in sizes.items() if process.pid not in parents]
        return Memory(max(leaves), sum(sizes.values()))

    def processor_seconds(self) -> float:
        """Processor time that all its processes have taken so far."""
        seconds = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def ask_to_end(self) -> None:
        """Send SIGTERM; `end` waits for all that are there now, also those that the first one leaves behind."""
        self._leaving += self._family()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """End it and all that it started; what does not go in time is killed."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        _, alive = psutil.wait_procs(self._leaving, timeout=2)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=END_SECONDS)
        self._process.wait(END_SECONDS)

    def _family(self) -> list[psutil.Process]:
        """The process and all below it; BentoML's workers are in sessions of their own."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.command.ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


@contextlib.contextmanager
def running(commands: dict[str, Command], logs: Path) -> Iterator[dict[str, Server]]:
    """Some servers, each ready; all are ended, whatever happens."""
    logs.mkdir(parents=True, exist_ok=True)
    started: dict[str, Server] = {}
    try:
        for key, command in commands.items():
            started[key] = Server(command, logs / f"{key}.log")
            started[key].wait_until_ready()
        yield started
    finally:
        with _undisturbed():
            for server in started.values():
                server.ask_to_end()
            for server in started.values():
                server.end()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C, or SIGTERM, must not leave servers behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_ports(count: int = PORTS) -> int:
    """The first of some free ports in a row."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for step in range(1, count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + step))
            except (OSError, OverflowError):
                continue
            return port
