"""The journal: every step of a rollout is written here before it is taken, and read again after a crash.

SQLite, in the deployment's folder, or PostgreSQL by a URL in DEPLOY_JOURNAL_URL. A transaction is on disk before it
returns, so whoever reads the journal after a kill finds either what was before a step or what it was about to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Index,
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
from deploy.faults import BusyError, RolloutError

#: Raised with every change of the tables.
SCHEMA_VERSION = 1
METADATA = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")

#: One row: the version of the tables.
VERSION = Table("deploy_version", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

#: Where requests go now, and what is asked of the keeper; one row.
STATE = Table(
    "deploy_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("state", JSON, nullable=False),
)

PROCESSES = Table(
    "deploy_processes",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("about", JSON, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("pid", Integer),
    # When the process with this pid was made, so that another one that has the pid by now is told apart.
    Column("made", Double),
    Column("starts", JSON, nullable=False),
    Column("fault", Text, nullable=False, default=""),
)

ROLLOUTS = Table(
    "deploy_rollouts",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("began", Double, nullable=False),
    Column("ended", Double),
    Column("strategy", Text, nullable=False),
    Column("stable", Text),
    Column("candidate", Text, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    # What somebody asks of the command that drives it: pause, resume, promote, abort.
    Column("wish", Text, nullable=False, default=""),
    # What was counted so far.
    Column("progress", JSON),
    # 1 while it is under way, then null: no two rows may have it.
    Column("open", Integer, unique=True),
)

EVENTS = Table(
    "deploy_events",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("rollout", _Id, nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("about", JSON, nullable=False),
    Index("deploy_events_rollout", "rollout", "id"),
)


#: What a kept process is (`about["kind"]`).
INSTANCE, ROUTER, AUTOSCALER = "instance", "router", "autoscaler"
#: Number of events that are of no rollout.
NO_ROLLOUT = 0


@dataclass(frozen=True)
class Process:
    """A process that the keeper keeps.

    Attributes:
        name: of it.
        about: what it is: its kind, command, folder, environment, ports, version.
        wanted: whether it should run.
        pid: of the last one, or None.
        made: when that was made, seconds since the machine started.
        starts: when it was started, the last few times.
        fault: why it is not started any more, or nothing.
    """

    name: str
    about: dict[str, Any]
    wanted: bool
    pid: int | None
    made: float | None
    starts: tuple[float, ...]
    fault: str


@dataclass(frozen=True)
class Rollout:
    """A rollout as it stands in the journal.

    Attributes:
        id: number.
        began: seconds since 1970.
        ended: seconds since 1970, or None while it is under way.
        strategy: name of it.
        stable: tag of the Bento that served before.
        candidate: tag of the one that is rolled out.
        plan: that it goes by.
        state: `running`, `paused`, `promoted`, `rolled back`, `ended`.
        reason: of the state, for people.
        wish: what somebody asks of it.
    """

    id: int
    began: float
    ended: float | None
    strategy: str
    stable: str | None
    candidate: str
    plan: dict[str, Any]
    state: str
    reason: str
    wish: str

    @property
    def why(self) -> str:
        """The reason in one line; what comes below it is the end of a log."""
        return self.reason.partition("\n")[0]


@dataclass(frozen=True)
class Event:
    """Something that a rollout did, or was about to do."""

    at: float
    kind: str
    about: dict[str, Any]


class Journal:
    """Access to the tables.

    Args:
        url: of the database.

    Raises:
        RolloutError: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, "journal", RolloutError)
        self._at = self._database.transaction
        with self._at() as connection:
            METADATA.create_all(connection)
            found = connection.execute(select(VERSION.c.version)).scalar()
            if found is None:
                connection.execute(insert(VERSION).values(version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise RolloutError(
                    f"{self._database.shown}: its tables are of version {found}, wanted {SCHEMA_VERSION}: "
                    "use the version of this program that wrote it"
                )

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()

    # Where requests go.

    def state(self) -> dict[str, Any]:
        """What was last put there; nothing at first."""
        with self._at() as connection:
            found = connection.execute(select(STATE.c.state)).scalar()
        return dict(found) if found else {}

    def put_state(self, state: dict[str, Any]) -> None:
        """Replace it."""
        with self._at() as connection:
            if not connection.execute(update(STATE).values(state=state)).rowcount:
                connection.execute(insert(STATE).values(id=1, state=state))

    # Processes.

    def processes(self) -> list[Process]:
        """All that are known, in order of their names."""
        with self._at() as connection:
            rows = connection.execute(select(PROCESSES).order_by(PROCESSES.c.name)).mappings()
            return [Process(**{**row, "wanted": bool(row["wanted"]), "starts": tuple(row["starts"])}) for row in rows]

    def want(self, name: str, about: dict[str, Any]) -> None:
        """Ask for a process; a known one is started again even if it was given up."""
        with self._at() as connection:
            asked = {"about": about, "wanted": 1, "starts": [], "fault": ""}
            changed = connection.execute(update(PROCESSES).where(PROCESSES.c.name == name).values(asked)).rowcount
            if not changed:
                connection.execute(insert(PROCESSES).values(name=name, **asked))

    def unwant(self, name: str) -> None:
        """Ask for the end of a process."""
        self._process(name, wanted=0)

    def started(self, name: str, starts: list[float], pid: int | None, made: float | None) -> None:
        """Note that a process is about to be started (no pid), or was."""
        self._process(name, starts=starts, pid=pid, made=made)

    def given_up(self, name: str, fault: str) -> None:
        """Note that a process is not started any more."""
        self._process(name, fault=fault)

    def forget(self, name: str) -> None:
        """Take out a process that has ended."""
        with self._at() as connection:
            connection.execute(PROCESSES.delete().where(PROCESSES.c.name == name))

    def _process(self, name: str, **values: Any) -> None:
        with self._at() as connection:
            connection.execute(update(PROCESSES).where(PROCESSES.c.name == name).values(values))

    # Rollouts.

    def begin(
        self,
        strategy: str,
        stable: str,
        candidate: str,
        plan: dict[str, Any],
        progress: dict[str, Any],
        now: float,
    ) -> int:
        """Write a rollout down.

        Raises:
            BusyError: another one is under way.
        """
        try:
            with self._at() as connection:
                made = connection.execute(
                    insert(ROLLOUTS).values(
                        began=now,
                        strategy=strategy,
                        stable=stable,
                        candidate=candidate,
                        plan=plan,
                        progress=progress,
                        state="running",
                        open=1,
                    )
                )
                assert made.inserted_primary_key is not None, "the table has one"
                return int(made.inserted_primary_key[0])
        except IntegrityError as err:
            raise busy(self.under_way()) from err

    def under_way(self) -> Rollout | None:
        """The rollout that has not ended."""
        found = self._rollouts(ROLLOUTS.c.open == 1)
        return found[0] if found else None

    def rollout(self, number: int) -> Rollout | None:
        """One by its number."""
        found = self._rollouts(ROLLOUTS.c.id == number)
        return found[0] if found else None

    def rollouts(self) -> list[Rollout]:
        """All, the newest first."""
        return self._rollouts()

    def set_state(self, number: int, state: str, reason: str = "") -> None:
        """Of a rollout that goes on."""
        self._rollout(number, state=state, reason=reason)

    def wish(self, number: int, wish: str) -> None:
        """Ask something of whoever drives a rollout."""
        self._rollout(number, wish=wish)

    def wished(self, number: int) -> str:
        """What was asked of whoever drives a rollout, or nothing."""
        found = self.rollout(number)
        return found.wish if found else ""

    def end(self, number: int, state: str, reason: str, now: float) -> None:
        """A rollout is over."""
        self._rollout(number, state=state, reason=reason, ended=now, open=None, wish="")

    def add(self, number: int, kind: str, about: dict[str, Any], now: float) -> None:
        """Add an event of a rollout."""
        with self._at() as connection:
            connection.execute(insert(EVENTS).values(rollout=number, at=now, kind=kind, about=about))

    def progress(self, number: int) -> dict[str, Any] | None:
        """What a rollout had seen when it was last written down."""
        with self._at() as connection:
            found = connection.execute(select(ROLLOUTS.c.progress).where(ROLLOUTS.c.id == number)).scalar()
        return dict(found) if found else None

    def keep(self, number: int, progress: dict[str, Any]) -> None:
        """Write down what a rollout has seen."""
        self._rollout(number, progress=progress)

    def step(self, number: int, progress: dict[str, Any], about: dict[str, Any], now: float) -> None:
        """A step is about to be taken."""
        self._with_progress(number, progress, "step", about, now)

    def look(
        self, number: int, progress: dict[str, Any], about: dict[str, Any], now: float, apart: float = 0.0
    ) -> None:
        """Something was counted and judged; a step of days does not fill the disk with looks.

        Args:
            number: of the rollout.
            progress: what was counted.
            about: what is shown of it.
            now: seconds since 1970.
            apart: seconds; the newest look takes the place of the one before while that is no longer from its own.
        """
        with self._at() as connection:
            connection.execute(update(ROLLOUTS).where(ROLLOUTS.c.id == number).values(progress=progress))
            newest = (
                select(EVENTS.c.id, EVENTS.c.at, EVENTS.c.kind)
                .where(EVENTS.c.rollout == number)
                .order_by(EVENTS.c.id.desc())
                .limit(2)
            )
            rows = connection.execute(newest).all()
            if len(rows) == 2 and {row.kind for row in rows} == {"look"} and rows[0].at - rows[1].at < apart:
                connection.execute(update(EVENTS).where(EVENTS.c.id == rows[0].id).values(at=now, about=about))
            else:
                connection.execute(insert(EVENTS).values(rollout=number, at=now, kind="look", about=about))

    def held(self, number: int, progress: dict[str, Any], now: float) -> None:
        """Users are about to be sent back, or were, until somebody goes on."""
        self._with_progress(number, progress, "held", {}, now)

    def events(self, number: int) -> list[Event]:
        """Of a rollout, in their order."""
        with self._at() as connection:
            chosen = select(EVENTS).where(EVENTS.c.rollout == number).order_by(EVENTS.c.id)
            return [Event(row.at, row.kind, dict(row.about)) for row in connection.execute(chosen)]

    def last(self, number: int, kind: str) -> Event | None:
        """The newest event of a kind."""
        with self._at() as connection:
            chosen = (
                select(EVENTS)
                .where(EVENTS.c.rollout == number, EVENTS.c.kind == kind)
                .order_by(EVENTS.c.id.desc())
                .limit(1)
            )
            row = connection.execute(chosen).first()
        return Event(row.at, row.kind, dict(row.about)) if row else None

    def _with_progress(
        self, number: int, progress: dict[str, Any], kind: str, about: dict[str, Any], now: float
    ) -> None:
        with self._at() as connection:
            connection.execute(update(ROLLOUTS).where(ROLLOUTS.c.id == number).values(progress=progress))
            connection.execute(insert(EVENTS).values(rollout=number, at=now, kind=kind, about=about))

    def _rollout(self, number: int, **values: Any) -> None:
        with self._at() as connection:
            connection.execute(update(ROLLOUTS).where(ROLLOUTS.c.id == number).values(values))

    def _rollouts(self, *conditions: Any) -> list[Rollout]:
        with self._at() as connection:
            rows = connection.execute(select(ROLLOUTS).where(*conditions).order_by(ROLLOUTS.c.id.desc())).mappings()
            return [
                Rollout(**{key: value for key, value in row.items() if key not in ("open", "progress")}) for row in rows
            ]


def busy(under_way: Rollout | None) -> BusyError:
    """Why no rollout can begin beside another one."""
    which = f"{under_way.strategy} of {under_way.candidate} ({under_way.state})" if under_way else "another one"
    return BusyError(
        f"a rollout is under way: {which}; there can be one: see `python -m deploy status`, and end it with `promote` or "
        "`abort`"
    )
