"""The fleet: all versions that are up, the router before them, and the one place where either is changed.

Where requests go is written to the journal before the router is told, so whoever comes after a crash tells it again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from data import command
from data.atomic import replacing
from data.deployment import Deploy
from deploy import ports, settings, versions
from deploy.faults import RolloutError, RouterError
from deploy.journal import ROUTER, Journal, Rollout
from deploy.place import LOOK_SECONDS, SCALING, Place
from deploy.rollouts.states import GONE, RUNNING
from deploy.router.messages import LOCAL, Limits
from deploy.router.router import Router, Settings
from deploy.router.routing import WHOLE, Choice, Endpoint, Mirror, Routing
from deploy.running import instances, keeper
from deploy.running.instances import Instance
from deploy.versions import Version

#: Held by whoever changes the fleet: a command that drives a rollout, or the autoscaler.
LOCK = "rollout"
#: How long requests under way get before their instance is asked to end.
DRAIN_SECONDS = 30.0
#: The autoscaler gets so long to end what it began.
SCALE_SECONDS = 180.0


def state_of(rollout: Rollout, place: Place) -> str:
    """State of a rollout of this machine's deployment: what the journal says, unless nobody drives it any more."""
    return GONE if rollout.state == RUNNING and not place.is_held(LOCK) else rollout.state


@dataclass(frozen=True)
class Traffic:
    """Where requests go, as the journal keeps it.

    Attributes:
        revision: rises with each change.
        stable: name of the version that serves.
        weights: parts of `WHOLE`, by version.
        mirror: of requests, to a version that is tried.
        choices: by header.
    """

    revision: int
    stable: str
    weights: dict[str, int]
    mirror: Mirror | None = None
    choices: tuple[Choice, ...] = ()

    @property
    def shares(self) -> dict[str, float]:
        """Share of users' requests by version, with its baseline's."""
        found: dict[str, float] = {}
        for name, weight in self.weights.items():
            found[versions.own(name)] = found.get(versions.own(name), 0.0) + weight / WHOLE
        return found

    @property
    def back(self) -> Traffic:
        """All users with the stable version."""
        return replace(self, weights={self.stable: WHOLE}, mirror=None, choices=())

    @classmethod
    def of(cls, state: dict[str, Any], *, retreated: bool) -> Traffic:
        """Where requests go: as the journal has it, unless users were brought back without it."""
        found = cls.read(state)
        return found.back if retreated else found

    @classmethod
    def read(cls, state: dict[str, Any]) -> Traffic:
        """From the journal."""
        mirror = state["mirror"]
        return cls(
            state["revision"],
            state["stable"],
            dict(state["weights"]),
            Mirror(**mirror) if mirror else None,
            tuple(Choice(**choice) for choice in state["choices"]),
        )

    def written(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "revision": self.revision,
            "stable": self.stable,
            "weights": self.weights,
            "mirror": vars(self.mirror) if self.mirror else None,
            "choices": [vars(choice) for choice in self.choices],
        }


class Fleet:
    """A deployment that is up, or can be brought up.

    Args:
        place: where it is kept.
        journal: of it.
        plan: how it is set up.
        say: tells a person what goes on.
    """

    def __init__(self, place: Place, journal: Journal, plan: Deploy, say: Callable[[str], None] = command.say) -> None:
        self.place = place
        self.journal = journal
        self.plan = plan
        self.say = say
        set_up = plan.router
        limits = Limits(connections=set_up.connections, requests=set_up.requests, pending=set_up.requests)
        self.router = Router(
            place.router,
            Settings(set_up.host, set_up.port, set_up.admin_ports, set_up.threads, limits, set_up.access_log),
        )

    @property
    def address(self) -> str:
        """Where users find the service."""
        return f"http://{self.plan.router.host}:{self.plan.router.port}"

    def record_url(self) -> str | None:
        """Where instances record what they forecast, or None if they do not."""
        return settings.record_url(json.loads(self.place.environment.read_text(encoding="utf-8")))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes the fleet, and the keeper is there to start and end what is asked for.

        Raises:
            BusyError: a command drives a rollout, or brings the deployment up or down.
        """
        # It waits for the autoscaler, not for a rollout.
        patience = SCALE_SECONDS if self.place.is_held(SCALING) else LOOK_SECONDS
        with self.place.held(LOCK, "another command drives a rollout: see `python -m deploy status`", patience):
            if self.journal.state():
                keeper.ensure(self.place)
            yield

    def traffic(self) -> Traffic:
        """Where requests go; after a retreat, that is not what the journal has.

        Raises:
            RolloutError: nothing is up.
        """
        state = self.journal.state()
        if not state:
            raise RolloutError("nothing is up: bring a Bento up with `python -m deploy up <bento>`")
        return Traffic.of(state, retreated=self.router.has_retreated())

    def up(self, tag: str) -> None:
        """Serve a Bento behind the router; does what is left to do if it was begun before.

        Raises:
            RolloutError: another Bento serves, or this one does not get ready.
            InstanceError: instances cannot start here.
            BusyError: another command changes the fleet; the keeper is there again all the same.
        """
        instances.check_localhost()
        version = versions.take(self.place, tag)
        if self.journal.state():
            keeper.ensure(self.place)
        with self.alone():
            self._begin(version, self.journal.state())

    def _begin(self, version: Version, state: dict[str, Any]) -> None:
        if state and state["stable"] != version.name:
            raise RolloutError(
                f"{state['stable']} serves here already: bring {version.tag} out with `python -m deploy canary "
                f"{version.tag}`, or end the deployment with `python -m deploy down`"
            )
        self._check_router()
        self._write_environment()
        keeper.ensure(self.place)
        try:
            self._up(version, state)
        except BaseException:
            if not state:
                self._all_down()
            raise

    def _up(self, version: Version, state: dict[str, Any]) -> None:
        scaled = self.plan.autoscale
        self.bring(version, scaled.within(self.plan.instances) if scaled else self.plan.instances)
        traffic = Traffic.read(state) if state else Traffic(1, version.name, {version.name: WHOLE})
        if not (state and self.router.has_retreated()):
            self.router.write(self._routing(traffic), traffic.revision)
        self.journal.put_state(traffic.written())
        running = {one.name for one in self.journal.processes() if one.wanted and not one.fault}
        for port in self.plan.router.admin_ports:
            name = _router(port)
            if name not in running:
                self.journal.want(name, self._about_router(port))
        self.router.wait_until_up(self._fault)

    def down(self) -> None:
        """End everything: the router first, which lets requests under way be answered, then the instances."""
        endpoints = [one.endpoint for one in self.instances()]
        self.router.drain([port for one in endpoints for port in (one.http, one.grpc)], DRAIN_SECONDS)
        self._all_down()

    def _all_down(self) -> None:
        known = {one.name for one in self.journal.processes()}
        for name in known:
            self.journal.unwant(name)
        if known:
            keeper.ensure(self.place)
            keeper.wait_until_gone(self.place, self.journal, known)
        keeper.end(self.place)
        self.journal.put_state({})

    def bring(self, version: Version, many: int, meanwhile: Callable[[], None] = lambda: None) -> list[Instance]:
        """Have so many instances of a version, or more; all are ready. Those that were given up are replaced.

        Args:
            version: which.
            many: how many.
            meanwhile: called once a second while they start; if it raises, those that came are taken away again.

        Raises:
            InstanceError: one does not get ready; those that came are taken away again.
        """
        known = self.of(version.name)
        there = [one for one in known if not one.fault]
        new = instances.add(self.place, self.journal, version, max(0, many - len(there)))
        try:
            instances.wait_until_ready(self.place, self.journal, [*there, *new], self.say, meanwhile)
        except BaseException:
            self._drop(new)
            raise
        self._drop([one for one in known if one.fault])  # others are there for them by now
        return [*there, *new]

    def instances(self) -> list[Instance]:
        """All that are up, or should be."""
        return instances.known(self.journal)

    def version(self, name: str) -> Version:
        """A version of which there are instances."""
        tag = self.of(name)[0].tag
        return versions.find(self.place, tag) or versions.take(self.place, tag)

    def of(self, version: str) -> list[Instance]:
        """Instances of a version."""
        return [one for one in self.instances() if one.version == version]

    def move(self, trusted: str | None = None, **changes: Any) -> Traffic:
        """Change where requests go: journal first, then the router.

        Args:
            trusted: a version that is not waited for, since it serves already.
            changes: fields of `Traffic`.

        Raises:
            RouterError: the router does not take it; it and the journal stay as they were.
        """
        return self._apply(changes, trusted=trusted)

    def back(self) -> Traffic:
        """Bring all users back to the stable version; it is not waited for."""
        back = self.traffic().back
        return self.move(back.stable, weights=back.weights, mirror=back.mirror, choices=back.choices)

    def retreat(self) -> None:
        """The same without the journal and without room on the disk, for when one of them is missing."""
        if self.router.retreat():
            self.say("users are back with the version before, until `python -m deploy resume` or `abort`")

    def _apply(
        self, changes: dict[str, Any], without: frozenset[str] = frozenset(), trusted: str | None = None
    ) -> Traffic:
        before = self.traffic()
        after = replace(before, revision=before.revision + 1, **changes)
        self.journal.put_state(after.written())
        try:
            back = after.back
            way_back = self._routing(back, without) if back != after else None
            self.router.apply(self._routing(after, without), after.revision, trusted, way_back)
        except BaseException:
            self.journal.put_state(replace(before, revision=after.revision).written())
            raise
        return after

    def scale(self, version: Version, many: int) -> None:
        """Have so many instances of a version; new ones get requests once they are ready, old ones end when idle."""
        known = {one.name for one in self.of(version.name)}
        there = self.bring(version, many)
        too_many = there[many:]
        try:
            self._take_away(too_many)
        except BaseException:
            self._drop([one for one in there if one.name not in known])
            raise
        keeper.wait_until_gone(self.place, self.journal, {one.name for one in too_many})

    def retire(self, *names: str) -> None:
        """End all instances of versions that get no requests any more."""
        self._take_away([one for name in names for one in self.of(name)])

    def _take_away(self, going: list[Instance]) -> None:
        """Out of the router, then end: an instance answers what is under way before it goes."""
        self._apply({}, without=frozenset(one.name for one in going))
        for one in going:
            for port in (one.endpoint.http, one.endpoint.grpc):
                self.router.wait_until_forgotten(port, DRAIN_SECONDS)
        self._drop(going)

    def _drop(self, going: list[Instance]) -> None:
        for one in going:
            self.journal.unwant(one.name)

    def _routing(self, traffic: Traffic, without: frozenset[str] = frozenset()) -> Routing:
        endpoints: dict[str, tuple[Endpoint, ...]] = {}
        for one in self.instances():
            if one.name not in without and not one.fault:
                endpoints[one.version] = (*endpoints.get(one.version, ()), one.endpoint)
        weights: dict[str, int] = {}
        for name, weight in traffic.weights.items():
            # What a baseline without an instance would answer, others of its version do.
            answers = name if name in endpoints else versions.own(name)
            weights[answers] = weights.get(answers, 0) + weight
        try:
            return Routing(endpoints, weights, traffic.mirror, traffic.choices, self.plan.router.sticky)
        except ValueError as err:
            raise RolloutError(
                f"{err}: `python -m deploy resume` brings others, `abort` takes users back to the version before"
            ) from err

    def _fault(self, admin_port: int) -> str:
        return next((one.fault for one in self.journal.processes() if one.name == _router(admin_port)), "")

    def _check_router(self) -> None:
        """Nobody else listens where the router will, or it is up as it is wanted.

        Raises:
            RouterError: a port cannot be had, or the router is up with other settings, which it keeps until it is started.
        """
        wanted = self.plan.router
        running = [one for one in self.journal.processes() if one.wanted and not one.fault]
        there = [one for one in running if one.about["kind"] == ROUTER]
        if there:
            found = self.router.differences([(one.about["ports"][0], one.about["arguments"]) for one in there])
            if found:
                raise RouterError(
                    f"the router is up with other settings than deploy.router of params.yaml has: {', '.join(found)}. It "
                    "takes them over when it starts: set them back, or `python -m deploy down` and `up`"
                )
            return
        for host, port in ((wanted.host, wanted.port), *((LOCAL, port) for port in wanted.admin_ports)):
            why = ports.refusal(host, port)
            if why:
                raise RouterError(
                    f"the router cannot listen on {host}:{port} ({why}): free it, or set another one in deploy.router of "
                    "params.yaml"
                )

    def _about_router(self, admin_port: int) -> dict[str, Any]:
        return {
            "kind": ROUTER,
            "ports": [admin_port],
            "arguments": self.router.command(admin_port),
            "folder": str(self.place.router),
            "environment": {},
        }

    def _write_environment(self) -> None:
        """Keep the settings that instances get, so that one that is started again next week gets the same."""
        kept = settings.of(os.environ, self.place.folder / "record.db")
        with replacing(self.place.environment) as scratch:
            scratch.touch(mode=0o600)
            scratch.write_text(json.dumps(kept), encoding="utf-8")


def _router(admin_port: int) -> str:
    """Name of an Envoy's process."""
    return f"{ROUTER}-{admin_port}"
