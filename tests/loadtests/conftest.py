"""A small real model, served or built, for tests that put load on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loadtests.store import Store
from tests.service import live, world
from tests.service.live import Server
from tests.service.world import World


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model with covariates."""
    return world.make(world.CITY, 0.0, tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="module")
def service(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`bentoml serve`, with HTTP and gRPC; a machine that stands still for a moment is no reason to refuse requests here."""
    with live.serve(city.folder, tmp_path_factory.mktemp("service"), max_wait_seconds=1) as running:
        yield running


@pytest.fixture(scope="session")
def store(city: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A BENTOML_HOME with a Bento, and room for copies of it."""
    return Store.make(city.folder, tmp_path_factory.mktemp("store"))
