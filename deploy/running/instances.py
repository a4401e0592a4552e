"""Instances: `bentoml serve` processes of one version, each with a BENTOML_HOME and ports of its own."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import time
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy import ports
from deploy.faults import InstanceError
from deploy.journal import INSTANCE, Journal, Process
from deploy.place import Place
from deploy.router.routing import Endpoint
from deploy.running import keeper, processes
from deploy.versions import Version

READY = "/readyz"
READY_SECONDS = 120.0
POLL_SECONDS = 0.05
#: Ports that instances get: below those that systems give to clients.
FIRST_PORT, LAST_PORT = 21_000, 28_999
LOG_LINES = 20
#: While an instance starts, one of its processes may end: a helper may, a worker that is started again may not.
MOST_ENDED = 2
#: So often a person is told what is waited for.
SAY_SECONDS = 3


@dataclass(frozen=True)
class Instance:
    """An instance, as the journal knows it.

    Attributes:
        name: of its process.
        version: name.
        tag: of its Bento.
        endpoint: where it listens.
        fault: why it is not there, or nothing.
    """

    name: str
    version: str
    tag: str
    endpoint: Endpoint
    fault: str = ""


def known(journal: Journal) -> list[Instance]:
    """All instances that are wanted."""
    return [_of(one) for one in journal.processes() if one.wanted and one.about["kind"] == INSTANCE]


def add(place: Place, journal: Journal, version: Version, many: int) -> list[Instance]:
    """Ask for more instances of a version; they are not ready yet.

    Args:
        place: the deployment.
        journal: of it.
        version: which.
        many: how many.
    """
    made = []
    for _ in range(many):
        there = journal.processes()
        numbers = [int(one.name.rpartition("-")[2]) for one in there if one.about["kind"] == INSTANCE]
        name = f"{version.name}-{max(numbers, default=0) + 1}"
        port = free_port({used for one in there for used in one.about.get("ports", ())})
        home = place.instances / name
        _make_home(home, version)
        journal.want(name, _about(version, home, port))
        made.append(Instance(name, version.name, version.tag, Endpoint(port, port + 1)))
    return made


def wait_until_ready(
    place: Place,
    journal: Journal,
    instances: Collection[Instance],
    say: Callable[[str], None],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until each instance answers that it is ready.

    Args:
        place: the deployment.
        journal: of it.
        instances: that are waited for.
        say: tells a person.
        meanwhile: called once a second; what it raises ends the wait.

    Raises:
        InstanceError: one does not get ready; with the end of its log.
    """
    began = time.monotonic()
    waiting = [_Waiting(instance) for instance in instances]
    looks = 0
    while waiting := [one for one in waiting if not is_ready(one.instance.endpoint)]:
        seconds = time.monotonic() - began
        if seconds > looks:
            looks += 1
            meanwhile()
            keeper.ensure(place)  # which starts them, and may be killed meanwhile
            known = {process.name: process for process in journal.processes()}
            for one in waiting:
                name = one.instance.name
                fault = one.fault(known.get(name), seconds)
                if fault:
                    raise InstanceError(f"{name} ({one.instance.tag}) {fault}; {_tail(place, name)}")
            if looks % SAY_SECONDS == 0:
                say(f"waiting for {', '.join(one.instance.name for one in waiting)}")
        time.sleep(POLL_SECONDS)


@dataclass
class _Waiting:
    """An instance that is not ready yet. BentoML starts a worker that cannot start again and again."""

    instance: Instance
    _pid: int | None = None
    _below: set[int] = field(default_factory=set)
    _ended: int = 0

    def fault(self, process: Process | None, seconds: float) -> str:
        """Why it will not get ready, or nothing; asked once a second."""
        if process is None or not process.wanted:
            return "was taken away while it started"
        if process.fault:
            return f"does not stay up: it {process.fault}"
        now = processes.below(process.pid)
        # With one that was killed itself all below it end, and the keeper starts it again; it counts how often.
        if process.pid == self._pid and processes.alive(process.pid, process.made):
            self._ended += len(self._below - now)
        self._pid, self._below = process.pid, now
        if self._ended >= MOST_ENDED:
            return f"starts processes that end again ({self._ended} by now)"
        return f"was not ready after {READY_SECONDS:.0f} s" if seconds > READY_SECONDS else ""


def is_ready(endpoint: Endpoint) -> bool:
    """Whether an instance says that it can answer."""
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.http, timeout=2)
    try:
        connection.request("GET", READY)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port(used: Set[int]) -> int:
    """The first of two ports in a row on which nothing listens, and which no other instance has.

    They are tried in random order: another deployment on this machine may have picked one that it does not listen on yet.

    Raises:
        InstanceError: there are none.
    """
    tried = list(range(FIRST_PORT, LAST_PORT, 2))
    random.shuffle(tried)
    for port in tried:
        both = (port, port + 1)
        if used.isdisjoint(both) and not any(ports.refusal("127.0.0.1", one) for one in both):
            return port
    raise InstanceError(f"no two free ports in a row from {FIRST_PORT} to {LAST_PORT}")


def check_localhost() -> None:
    """BentoML's workers listen on the name localhost; a bare root file system may have no /etc/hosts to find it in.

    Raises:
        InstanceError: it does not resolve.
    """
    try:
        socket.getaddrinfo("localhost", None, socket.AF_INET)
    except OSError as err:
        raise InstanceError(
            f"the name localhost does not resolve ({err.strerror}), and instances listen on it: add the line "
            "`127.0.0.1 localhost` to /etc/hosts, as root (`make localhost` does)"
        ) from err


def _make_home(home: Path, version: Version) -> None:
    """A store of its own in which both folders are the version's: BentoML keeps metrics of a server in its home."""
    home.mkdir(parents=True, exist_ok=True)
    for name in ("bentos", "models"):
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(version.store / name)


def _about(version: Version, home: Path, port: int) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("bentoml"))
    return {
        "kind": INSTANCE,
        "version": version.name,
        "tag": version.tag,
        "ports": [port, port + 1],
        "arguments": [program, "serve", version.tag, "--host", "127.0.0.1", "--port", str(port)],
        "folder": str(home),
        "environment": {
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOCAST_PORT": str(port),
            "BENTOCAST_GRPC_PORT": str(port + 1),
        },
    }


def _of(process: Process) -> Instance:
    about = process.about
    return Instance(process.name, about["version"], about["tag"], Endpoint(*about["ports"]), process.fault)


def _tail(place: Place, name: str) -> str:
    log = place.logs / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    return "\n".join((f"the end of {log}:", *lines))
