"""The ledger of retrainings: each step is written here before it is taken, and read again after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from deploy.database import Database
from monitoring.faults import LoopError

METADATA = MetaData()

RETRAININGS = Table(
    "monitoring_retrainings",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("began", Double, nullable=False),
    Column("ended", Double),
    Column("reason", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("about", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False, default=""),
    # What somebody says to a proposal: approve or reject.
    Column("wish", Text, nullable=False, default=""),
    # 1 while it is under way, then null: no two rows may have it.
    Column("open", Integer, unique=True),
)

#: Held by the loop, or by a retraining that somebody asked for, for as long as it runs.
LOCK = "loop"
RUNNING, WAITING, HEALED, STOPPED = "running", "waiting", "healed", "stopped"
#: In `about`: since when a step cannot be taken, seconds since 1970; that a model was made which is not one to ship.
AWAY, REFUSED = "away_since", "refused"


@dataclass(frozen=True)
class Retraining:
    """A retraining as it stands in the ledger.

    Attributes:
        id: number.
        began: seconds since 1970.
        ended: seconds since 1970, or None while it is under way.
        reason: which tests asked for it, and what they said.
        step: the one that is taken, or was last.
        about: what the steps found out: `version` in MLflow, `bento`, `rollout`, and AWAY or REFUSED.
        state: `running`, `waiting` (for somebody, or for what is away), `healed` or `stopped`.
        why: of the state, for people.
        wish: what somebody said: `approve`, `reject`, or nothing.
    """

    id: int
    began: float
    ended: float | None
    reason: str
    step: str
    about: dict[str, Any]
    state: str
    why: str
    wish: str


class Ledger:
    """Access to the table.

    Args:
        url: of the database.

    Raises:
        LoopError: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, "ledger", LoopError)
        self._at = self._database.transaction
        with self._at() as connection:
            METADATA.create_all(connection)

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()

    def begin(self, reason: str, step: str, now: float) -> Retraining:
        """Write one down.

        Raises:
            LoopError: another one is under way.
        """
        try:
            with self._at() as connection:
                connection.execute(
                    insert(RETRAININGS).values(
                        began=now, reason=reason, step=step, about={}, state=RUNNING, why="", wish="", open=1
                    )
                )
        except IntegrityError as err:
            raise LoopError(
                "a retraining is under way: `python -m monitoring loop` goes on with it, `history` says where it is"
            ) from err
        found = self.under_way()
        assert found is not None, "it was just written"
        return found

    def under_way(self) -> Retraining | None:
        """The one that has not ended."""
        found = self._found(RETRAININGS.c.open == 1)
        return found[0] if found else None

    def all(self) -> list[Retraining]:
        """The newest first."""
        return self._found()

    def step(self, number: int, step: str, about: dict[str, Any]) -> None:
        """A step is about to be taken, with what the ones before found out."""
        self._update(number, step=step, about=about, state=RUNNING, why="")

    def wait(self, number: int, why: str, about: dict[str, Any]) -> None:
        """It goes on when somebody has decided, or when what is away is back."""
        self._update(number, state=WAITING, why=why, about=about)

    def wish(self, number: int, wish: str) -> None:
        """Somebody has decided: `approve` or `reject`."""
        self._update(number, wish=wish)

    def end(self, number: int, state: str, why: str, now: float, about: dict[str, Any]) -> None:
        """It is over."""
        self._update(number, state=state, why=why, ended=now, about=about, open=None)

    def _update(self, number: int, **values: Any) -> None:
        with self._at() as connection:
            connection.execute(update(RETRAININGS).where(RETRAININGS.c.id == number).values(values))

    def _found(self, *conditions: Any) -> list[Retraining]:
        with self._at() as connection:
            chosen = select(RETRAININGS).where(*conditions).order_by(RETRAININGS.c.id.desc())
            rows = connection.execute(chosen).mappings()
            return [Retraining(**{key: value for key, value in row.items() if key != "open"}) for row in rows]
