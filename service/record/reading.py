"""The record as others read it: one transaction after another, and what is wrong in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from service.record.address import Address
from service.record.engine import open_engine
from service.record.errors import RecordUnavailableError
from service.record.health import fix
from service.record.tables import check_version

#: Begins a transaction.
Begin = Callable[[], contextlib.AbstractContextManager[Connection]]


@contextlib.contextmanager
def reading(url: str) -> Iterator[Begin]:
    """Read the record of a service.

    Args:
        url: as in `RecordSettings`.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    address = Address.parse(url)
    if address.path is not None and not address.path.is_file():
        raise RecordUnavailableError(
            f"record {address.shown}: there is no such file: has the service kept a record there?"
        )
    engine = open_engine(address, reading=True)

    @contextlib.contextmanager
    def begin() -> Iterator[Connection]:
        with engine.begin() as connection:
            check_version(connection, address.shown)
            yield connection

    try:
        yield begin
    except SQLAlchemyError as err:
        reason = address.explain(err)
        raise RecordUnavailableError(f"record {address.shown} cannot be read: {reason}: {fix(reason)}") from err
    finally:
        engine.dispose()
