"""A Bento of today's code and copies of it that are bad on purpose, to roll out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from loadtests import spoiled
from tests.deploy.driven import driver, said  # noqa: F401 (fixtures)
from tests.deploy.fleet import Deployment
from tests.loadtests.store import Store
from tests.service import world
from tests.service.record.conftest import server, sqlite, url  # noqa: F401 (fixtures)
from tests.service.world import World

#: Code at the end of the worker's module, by what it makes of the Bento.
BAD = {
    "same": "",
    "failing": spoiled.failing(0.2),
    "nonsense": spoiled.nonsense(),
    "broken": "\nraise RuntimeError('does not start, on purpose')\n",
}


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model with covariates."""
    return world.make(world.CITY, 0.0, tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="session")
def store(city: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A BENTOML_HOME with the Bento and its copies."""
    made = Store.make(city.folder, tmp_path_factory.mktemp("store"))
    for name, code in BAD.items():
        made.copy(name, code)
    return made


@pytest.fixture(scope="module")
def deployment(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Brought up, and ended with all that belongs to it."""
    made = Deployment.make(store, tmp_path_factory.mktemp("fleet"))
    done = made.run("up", store.tag)
    assert done.returncode == 0, done.stderr
    try:
        yield made
    finally:
        made.end()
        assert not made.processes(""), "something was left running"


@pytest.fixture
def body(city: World) -> dict[str, Any]:
    """A request."""
    return city.document(city.history(), quantiles=[0.1, 0.9])
