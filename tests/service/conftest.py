"""Two models that all tests of the room share."""

from __future__ import annotations

import pytest

from tests.service import world
from tests.service.bentos import home  # noqa: F401 (fixture)
from tests.service.front import Client
from tests.service.world import World


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model with covariates, matched means and targets that are never negative."""
    return world.make(world.CITY, 0.0, tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model without any covariate, of a target that falls below zero."""
    return world.make(world.PLAIN, 12.0, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def client(city: World) -> Client:
    """Of the HTTP front, without a network."""
    return Client.of(city)
