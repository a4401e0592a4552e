"""PostgreSQL and an object store for all tests of a module, and the towns whose models are registered there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.record.conftest import server  # noqa: F401 (a fixture)
from tests.stores.servers import ObjectStore, running
from tests.training.conftest import town, workspace  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that runs."""
    made = ObjectStore(tmp_path_factory.mktemp("objects"))
    with running(made):
        yield made
