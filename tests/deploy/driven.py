"""Rollouts without processes: a real journal, a router that only remembers, and instances that are there at once."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.deployment import Deploy
from deploy.faults import InstanceError
from deploy.fleet import Fleet, Traffic
from deploy.journal import INSTANCE, Journal
from deploy.place import Place
from deploy.rollouts.driver import Driver
from deploy.rollouts.steps import Clock
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Routing
from deploy.running import keeper
from deploy.running.instances import Instance
from deploy.versions import Version

OLD, NEW = "b:old", "b:new"
#: Of the router's histogram, seconds.
EDGES = [1e-3 * 1.1**power for power in range(60)]


class Remembering:
    """A router that takes everything over at once."""

    def __init__(self) -> None:
        self.weights: list[dict[str, int]] = []
        self.retreated = False

    def apply(self, routing: Routing, *_: object) -> None:
        self.weights.append(dict(routing.weights))
        self.retreated = False

    def has_retreated(self) -> bool:
        return self.retreated

    def retreat(self) -> bool:
        self.retreated = True
        return True

    def wait_until_forgotten(self, *_: object) -> None: ...

    def counted(self, *_: object, **__: object) -> dict[int, dict[str, Any]]:
        return {}


class Small(Fleet):
    """Instances are there as soon as they are asked for, but for those of versions that do not start."""

    broken: frozenset[str] = frozenset()

    def bring(self, version: Version, many: int, meanwhile: Callable[[], None] = lambda: None) -> list[Instance]:
        known = self.of(version.name)
        there = [one for one in known if not one.fault]
        if len(there) < many and version.name in self.broken:
            raise InstanceError(f"{version.name} does not start")
        if len(there) < many:
            meanwhile()
        next_one = 1 + max((int(one.name.rpartition("-")[2]) for one in known), default=-1)
        for number in range(next_one, next_one + many - len(there)):
            add(self.journal, version.name, number, version.tag)
        self._drop([one for one in known if one.fault])
        return self.of(version.name)


def add(journal: Journal, version: str, number: int, tag: str | None = None) -> None:
    ports = [21_000 + 2 * number + 100 * (version == "new"), 21_001 + 2 * number + 100 * (version == "new")]
    journal.want(
        f"{version}-{number}", {"kind": INSTANCE, "version": version, "tag": tag or f"b:{version}", "ports": ports}
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def driver(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """Two instances of one version serve, and there is a copy of another."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("DEPLOY_MLFLOW", "false")
    monkeypatch.setattr(keeper, "wait_until_gone", lambda *_: None)
    place = Place(tmp_path / "place")
    for name in ("old", "new"):
        (place.versions / name / "bentos" / "b" / name).mkdir(parents=True)
    place.environment.write_text('{"BENTOCAST_RECORD": "false"}')
    journal = Journal(f"sqlite:///{place.journal}")
    journal.put_state(Traffic(1, "old", {"old": WHOLE}).written())
    for number in range(2):
        add(journal, "old", number)
    fleet = Small(place, journal, Deploy(), said.append)
    fleet.router = Remembering()  # type: ignore[assignment]
    with place.held(keeper.LOCK, ""):
        yield Driver(fleet, Clock(sleep=lambda _: None))
    journal.close()


def state(driver: Driver, number: int) -> tuple[str, str]:
    found = driver.fleet.journal.rollout(number)
    assert found is not None
    return found.state, found.reason


def broken(driver: Driver, *names: str) -> None:
    assert isinstance(driver.fleet, Small)
    driver.fleet.broken = frozenset(names)


def serving(driver: Driver) -> dict[str, int]:
    return driver.fleet.traffic().weights


class Asked:
    """Users' requests, and copies of them, each time that the router's counters are read; all take as long, whoever answers.

    Args:
        driver: whose router is asked.
        many: requests each time.
        refuses: version that answers 4xx, whatever it is asked.
    """

    def __init__(self, driver: Driver, many: int, refuses: str = "") -> None:
        self._fleet, self._many, self._refuses = driver.fleet, many, refuses
        self._draw = np.random.default_rng(1)
        self._counts: dict[str, Counters] = {}
        #: Weights and how many instances there were, each time.
        self.seen: list[tuple[dict[str, int], dict[str, int]]] = []
        seconds = itertools.count()
        driver.clock.monotonic = lambda: 0.5 * next(seconds)
        driver.fleet.router.counted = self.counted  # type: ignore[method-assign, assignment]
        self._add("old", 5_000)

    def counted(self, names: list[str], *, mirrored: bool = False) -> dict[int, dict[str, Counters]]:
        """As `Router.counted`."""
        traffic = self._fleet.traffic()
        if mirrored:
            assert traffic.mirror
            self._add(traffic.mirror.version, round(self._many * traffic.mirror.share))
        else:
            for name, weight in traffic.weights.items():
                self._add(name, self._many * weight // WHOLE)
        many = Counter(one.version for one in self._fleet.instances())
        self.seen.append((dict(traffic.weights), dict(many)))
        return {1: {name: self._counts.get(name, Counters()) for name in names}}

    def _add(self, name: str, many: int) -> None:
        took = np.exp(self._draw.normal(np.log(0.01), 0.5, many))
        within = {edge: int((took <= edge).sum()) for edge in EDGES} | {math.inf: many}
        self._counts[name] = self._counts.get(name, Counters()) + Counters(
            many, 0, within, many * (name == self._refuses)
        )
