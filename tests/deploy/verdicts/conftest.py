"""Two versions behind a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.verdicts import town as made
from tests.deploy.verdicts.town import Town
from tests.service.world import World


@pytest.fixture(scope="module")
def town(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """With some traffic before the candidate."""
    with made.up(city, tmp_path_factory.mktemp("prometheus")) as ready:
        yield ready
