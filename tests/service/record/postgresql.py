"""A PostgreSQL server of the tests' own, from Debian's binaries, on a free port and in a folder that is removed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.ports import free_ports

PASSWORD = "s3cret-pass"
_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
_NAMES = count()


def missing() -> str:
    """Why no server can be started here; empty if one can."""
    if not _BINARIES:
        return "no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql"
    if importlib.util.find_spec("psycopg") is None:
        return "no psycopg: pip install '.[postgres]'"
    return ""


@dataclass
class Postgresql:
    """A server; `start` and `stop` may be called again and again."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                _binary("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=30",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_as_somebody(),
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(Exception):
                self.execute("SELECT 1")
                return
            assert self._process.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, breaking off its connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def execute(self, statement: Any, database: str = "postgres") -> list[Any]:
        """Run a statement outside of a transaction; its rows, if it gives any."""
        import psycopg

        with psycopg.connect(
            self.url(database).replace("+psycopg", ""), autocommit=True, connect_timeout=2
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"record_{next(_NAMES)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def server() -> Iterator[Postgresql]:
    """A running server."""
    folder = Path(tempfile.mkdtemp(prefix="bentocast-postgresql-", dir="/tmp"))
    made = Postgresql(folder, free_ports())
    try:
        if _as_somebody():
            somebody = pwd.getpwnam(_as_somebody()["user"])
            os.chown(folder, somebody.pw_uid, somebody.pw_gid)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        subprocess.run(
            [
                _binary("initdb"), "-D", str(folder / "data"), "-U", "tester", "--auth=scram-sha-256", "-E", "UTF8",
                "--locale=C.UTF-8", f"--pwfile={folder / 'password'}", "--no-sync",
            ],
            check=True,
            capture_output=True,
            **_as_somebody(),
        )  # fmt: skip
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> str:
    return str(_BINARIES[-1].with_name(name))


def _as_somebody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    known = {user.pw_name for user in pwd.getpwall()}
    name = "postgres" if "postgres" in known else "nobody"
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": [], "cwd": "/"}
