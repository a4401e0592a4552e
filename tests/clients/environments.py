"""A virtual environment for each client library: their versions clash with the service's and with one another's.

`python -m tests.clients.environments` makes those that are not there yet, and shows how that goes. They are
kept in `.clients/`, by the hash of the lock file they were made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data import command

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".clients"
UV = str(Path(sys.executable).with_name("uv"))
#: Made last, so that an environment without it is known to be half made.
DONE = ".installed"
#: How uv ends when it could not ask; with 1 it could, and did not get what it wanted.
COULD_NOT_ASK = 2
#: What could not be had: it is not waited for again in this process.
_missed: list[str] = []


class UnreachableError(Exception):
    """The packages cannot be had from here."""


def python(name: str) -> Path:
    """The interpreter that has a client library; its environment is made if it is not there.

    Raises:
        UnreachableError: the package registry does not answer.
        subprocess.CalledProcessError: it answers, and the packages cannot be installed.
    """
    folder = kept(name)
    with _alone(name):
        if not (folder / DONE).exists():
            _make(name, folder)
    return folder / "bin" / "python"


def kept(name: str) -> Path:
    """Where an environment is, or will be."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(_lock(name).read_bytes() + version.encode()).hexdigest()
    return KEPT / f"{name}-{digest[:16]}"


def names() -> list[str]:
    """All client libraries that have an environment."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/requirements.txt"))


def _lock(name: str) -> Path:
    return Path(__file__).parent / name / "requirements.txt"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process at a time: pytest has several."""
    KEPT.mkdir(exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(name: str, folder: Path) -> None:
    for old in KEPT.glob(f"{name}-*"):
        shutil.rmtree(old)
    subprocess.run([UV, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder)], check=True)
    if not _missed:
        command = [UV, "pip", "install", "--python", str(folder / "bin" / "python"), "--require-hashes"]
        patience = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"} | os.environ
        done = subprocess.run([*command, "-r", str(_lock(name))], env=patience, check=False)
        if done.returncode == COULD_NOT_ASK:
            _missed.append(name)
        else:
            done.check_returncode()
    if _missed:
        raise UnreachableError(f"the package registry does not answer, and {name} is not in {KEPT.name}/ yet")
    (folder / DONE).touch()


def main() -> None:
    """Make what is missing; without a network there is nothing to be done, and the tests say so."""
    for name in names():
        if (kept(name) / DONE).exists():
            continue
        began = time.monotonic()
        command.say(f"client {name}: making its environment, once")
        try:
            python(name)
        except UnreachableError as err:
            command.say(f"client {name}: {err}; its tests will be skipped")
            return
        command.say(f"client {name}: made in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
