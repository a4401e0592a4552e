"""The deployment's database, for whoever keeps something in it: each use is one transaction."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data.errors import BentocastError
from service.record.address import Address
from service.record.engine import open_engine


class Database:
    """One connection.

    Args:
        url: of it.
        name: what is kept there, for messages.
        fault: what is raised where it cannot be read or written.
    """

    def __init__(self, url: str, name: str, fault: type[BentocastError]) -> None:
        self._address = Address.parse(url)
        self._engine = open_engine(self._address)
        self._fault = fault
        self.shown = f"{name} {self._address.shown}"

    def close(self) -> None:
        """Give the connection back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """On disk when it ends.

        Raises:
            IntegrityError: a row is there already.
            BentocastError: of the kind `fault`; nothing was changed.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, json.JSONDecodeError) as err:
            raise self._fault(f"{self.shown}: {self._address.explain(err)}; nothing was changed") from err
