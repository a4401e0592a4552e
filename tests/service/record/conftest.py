"""Databases to keep a record in: one suite runs over both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.record import postgresql
from tests.service.record.postgresql import Postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[Postgresql]:
    """A PostgreSQL server; the test is skipped where there is none."""
    if reason := postgresql.missing():
        pytest.skip(reason)
    with postgresql.server() as running:
        yield running


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """URL of a SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/record.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database, of either kind."""
    if request.param == "sqlite":
        made: str = request.getfixturevalue("sqlite")
        return made
    running: Postgresql = request.getfixturevalue("server")
    return running.new_database()
