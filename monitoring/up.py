"""Prometheus, Alertmanager, Pushgateway and the exporter on this machine, in the foreground, ended together."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests

from data import command, ending
from data.errors import BentocastError, ConfigError
from data.params import Params
from deploy.place import Place
from deploy.running import processes
from monitoring import servers

#: Programs by what they are: Debian's name, and that of their own releases.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "pushgateway": ("prometheus-pushgateway", "pushgateway"),
}
PORTS = {"prometheus": 9090, "alertmanager": 9093, "pushgateway": 9091, "exporter": 9108}
INSTALL = "apt-get install --no-install-recommends prometheus prometheus-alertmanager prometheus-pushgateway"
#: Where `make run` serves.
SERVICE = "127.0.0.1:3000"
READY_SECONDS, POLL_SECONDS = 60.0, 0.1
#: Prometheus keeps values as long as the record keeps forecasts.
RETENTION = "90d"
LOG_LINES = 10


class UpError(BentocastError):
    """A server cannot be started, or has ended."""

    exit_code = 10


@dataclass(frozen=True)
class Plan:
    """What is started.

    Attributes:
        home: folder of data, configuration and logs.
        arguments: by what it is.
        addresses: of all.
        instead: whether a service of `make run` is watched because there is no deployment yet.
    """

    home: Path
    arguments: Mapping[str, list[str]]
    addresses: servers.Addresses
    instead: bool = False

    @property
    def mark(self) -> str:
        """By which its processes are found, also those of a command that was killed."""
        return f"{self.home}:monitoring"


def plan(home: Path, params: Path, ports: Mapping[str, int], targets: Path, services: tuple[str, ...]) -> Plan:
    """See what is installed and free.

    Args:
        home: folder.
        params: file of the configuration.
        ports: that are asked for; of others the usual one, or one that is free.
        targets: file in which the deployment says whom to ask.
        services: that are asked besides; where there are none and no such file, the service of `make run`, until there is.

    Raises:
        ConfigError: Prometheus is not installed, or a port that was asked for is taken.
    """
    programs = {name: found for name, names in PROGRAMS.items() if (found := _program(names))}
    if "prometheus" not in programs:
        raise ConfigError(f"Prometheus is not installed: {INSTALL} (their services need not run)")
    for name in PROGRAMS.keys() - programs.keys():
        command.say(f"{name} is not installed and left out: {INSTALL}")
    at = {name: f"127.0.0.1:{_port(name, ports.get(name))}" for name in (*programs, "exporter")}
    instead = not services and not targets.exists()
    addresses = servers.Addresses(
        targets=targets,
        services=(SERVICE,) if instead else services,
        exporter=at["exporter"],
        prometheus=at["prometheus"],
        alertmanager=at.get("alertmanager"),
        pushgateway=at.get("pushgateway"),
    )
    port = at["exporter"].rpartition(":")[2]
    options = {
        "prometheus": [
            f"--config.file={home / servers.PROMETHEUS}",
            f"--storage.tsdb.path={home / 'prometheus'}",
            f"--storage.tsdb.retention.time={RETENTION}",
        ],
        "alertmanager": [
            f"--config.file={home / servers.ALERTMANAGER}",
            f"--storage.path={home / 'alertmanager'}",
            "--cluster.listen-address=",
        ],
        "pushgateway": [f"--persistence.file={home / 'pushgateway'}"],
    }
    arguments = {
        name: [program, *options[name], f"--web.listen-address={at[name]}"] for name, program in programs.items()
    }
    arguments["exporter"] = [
        *(sys.executable, "-m", "monitoring", "--params", str(params.resolve()), "serve"),
        *("--port", port, "--prometheus", f"http://{at['prometheus']}"),
    ]
    return Plan(home, arguments, addresses, instead)


def usual_port(params: Params) -> int | None:
    """Prometheus' own, where params.yaml says that it is on this machine."""
    found = urlsplit(params.monitoring.prometheus)
    return (found.port or 80) if found.hostname in ("127.0.0.1", "localhost") else None


def run(made: Plan, params: Params) -> None:
    """Start all, and end all when this is interrupted.

    Raises:
        UpError: one does not start, or ends by itself; the others are ended.
        BusyError: they run already.
    """
    place = Place(made.home)
    with place.held("up", f"the servers of {made.home} run already: end them where they were started, with Ctrl-C"):
        ending.end(ending.marked(processes.MARK, made.mark))
        servers.write(made.home, params, made.addresses)
        with _running(made) as children, contextlib.suppress(KeyboardInterrupt):
            _wait_until_ready(made, children)
            _tell(made)
            while True:
                _check(made, children)
                made = _deployed(made, params, children["prometheus"])
                time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _running(made: Plan) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    children: dict[str, subprocess.Popen[bytes]] = {}
    before = [signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        for name, arguments in made.arguments.items():
            children[name] = processes.start(arguments, _folder(made, name), os.environ, _log(made, name), made.mark)
        yield children
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # the end is not interrupted
            signal.signal(number, signal.SIG_IGN)
        ending.end(ending.marked(processes.MARK, made.mark))
        for child in children.values():
            child.wait()
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


def _deployed(made: Plan, params: Params, prometheus: subprocess.Popen[bytes]) -> Plan:
    """What is watched now: where a deployment has come, nothing in its stead, which would be said to be down for ever."""
    targets = made.addresses.targets
    if not (made.instead and targets and targets.exists()):
        return made
    addresses = replace(made.addresses, services=())
    servers.write(made.home, params, addresses)
    prometheus.send_signal(signal.SIGHUP)
    command.say(f"a deployment has come: {targets} is watched in place of {SERVICE}")
    return replace(made, addresses=addresses, instead=False)


def _folder(made: Plan, name: str) -> Path:
    """The exporter is a module of this project."""
    return Path(__file__).parents[1] if name == "exporter" else made.home


def _log(made: Plan, name: str) -> Path:
    return made.home / "logs" / f"{name}.log"


def _check(made: Plan, children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            log = _log(made, name)
            end = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise UpError(f"{name} has ended with code {child.returncode}; the end of {log}:\n{end}")


def _wait_until_ready(made: Plan, children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    late = time.monotonic() + READY_SECONDS
    where = made.addresses
    paths = [f"http://{one}/-/ready" for one in (where.prometheus, where.alertmanager, where.pushgateway) if one]
    for url in (*paths, f"http://{where.exporter}/metrics"):
        while not _answers(url):
            _check(made, children)
            if time.monotonic() > late:
                raise UpError(f"{url} does not answer within {READY_SECONDS:.0f} s: see {made.home / 'logs'}")
            time.sleep(POLL_SECONDS)


def _tell(made: Plan) -> None:
    where = made.addresses
    for name, address in (
        ("Prometheus", where.prometheus),
        ("alerts", where.alertmanager),
        ("Pushgateway", where.pushgateway),
    ):
        if address:
            command.say(f"{name:12} http://{address}")
    command.say(f"{'the page':12} http://{where.exporter}")
    watched = [*([str(where.targets)] if where.targets and where.targets.exists() else []), *where.services]
    command.say(f"{'watched':12} {', '.join(watched) or f'nothing yet: {where.targets} does not exist'}")
    command.say(f"logs are in {made.home / 'logs'}; Ctrl-C ends all of them")


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=5).status_code == 200
    return False


def _program(names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def _port(name: str, asked: int | None) -> int:
    port = asked or PORTS[name]
    for candidate in (port, 0):
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", candidate))
            return int(found.getsockname()[1])
        if asked:
            raise ConfigError(f"{name}: port {port} of 127.0.0.1 is taken: give another one with --ports {name}=N")
    raise AssertionError("the system has no free port")
