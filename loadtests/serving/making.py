"""What servers need before they start: virtual environments, models, stores. Made once, and again after a change."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from data import command
from data.errors import BentocastError
from loadtests import lock
from loadtests.processes import Mark
from loadtests.serving.settings import CACHE, PEERS, ROOT, WORKS, environment, own_binaries

MODELS = CACHE / "models"
#: What decides on the models; a change makes them anew.
SOURCES = ("data/*.py", "training/estimator.py", "training/export.py", "training/intervals.py", "params.yaml")


class MakingError(BentocastError):
    """Something that a server needs could not be made."""


def alone() -> contextlib.AbstractContextManager[Mark]:
    """One run at a time: another would take the stores away from under its servers.

    Raises:
        BusyError: there is another.
    """
    return lock.alone(CACHE / "lock")


def binaries(peer: str) -> Path:
    """Where a server's commands are."""
    return CACHE / "environments" / peer / "bin"


def lock_file(peer: str) -> Path:
    """What a server needs."""
    return ROOT / "requirements" / "serve.txt" if peer == "ours" else PEERS / peer / "requirements.txt"


def virtual_environment(peer: str) -> None:
    """A server's own virtual environment, from its lock file: ours holds what a Bento's container holds."""
    pins = lock_file(peer)
    uv = str(own_binaries() / "uv")

    def make(folder: Path) -> None:
        command.say(f"{peer}: installing {pins.relative_to(ROOT)}")
        run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        run([uv, "pip", "install", "--python", str(folder / "bin/python"), "--require-hashes", "-r", str(pins)])

    _once(CACHE / "environments" / peer, [pins], make)


def models() -> None:
    """The models of both works, and their questions and answers."""
    sources = [path for pattern in SOURCES for path in sorted(ROOT.glob(pattern))] + sorted(PEERS.glob("*.py"))

    def make(folder: Path) -> None:
        command.say("training the models of both works (a minute, once)")
        run([sys.executable, "-m", "loadtests.peers.prepare", str(folder)])

    _once(MODELS, sources, make)


def saved(peer: str, work: str) -> Path:
    """A work's model as a peer stores models: a store, a repository, a folder."""
    folder = CACHE / "saved" / f"{peer}-{work}"
    program = PEERS / peer / "save.py"
    if not program.exists():
        return MODELS / work
    sources = [CACHE / "models.stamp", PEERS / peer / "requirements.txt", *sorted(PEERS.glob("*.py"))]
    sources += sorted(program.parent.glob("*.py"))

    def make(target: Path) -> None:
        command.say(f"{peer}: storing the model of work {WORKS[work]}")
        home = {"BENTOML_HOME": str(target)} if peer == "stock_bentoml" else {}
        env = environment(binaries(peer), PYTHONPATH=str(ROOT), **home)
        run([str(binaries(peer) / "python"), str(program), str(MODELS / work), str(target)], env=env, quiet=True)

    _once(folder, sources, make)
    return folder


def bento(work: str) -> tuple[Path, str]:
    """A BENTOML_HOME with a Bento of today's code and a work's model, and the Bento's tag."""
    home = CACHE / "saved" / f"ours-{work}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    command.say(f"ours: building a Bento for work {WORKS[work]}")
    env = environment(own_binaries(), BENTOML_HOME=str(home))
    run([sys.executable, str(PEERS / "ours" / "save.py"), str(MODELS / work)], env=env, quiet=True)
    told = run([str(own_binaries() / "bentoml"), "build", "--output", "tag"], env=env, quiet=True)
    return home, told.strip().splitlines()[-1].removeprefix("__tag__:")


def run(command_line: list[str], *, env: dict[str, str] | None = None, quiet: bool = False) -> str:
    """Run a command in the project's folder; its output is shown, or returned and shown if it fails.

    Raises:
        MakingError: it failed.
    """
    done = subprocess.run(
        command_line,
        cwd=ROOT,
        env=env or environment(own_binaries()),
        stdout=subprocess.PIPE if quiet else sys.stderr,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MakingError(
            f"{' '.join(command_line)} ended with {done.returncode}:\n{done.stdout or ''}{done.stderr or ''}"
        )
    return done.stdout or ""


def digest(paths: Iterable[Path]) -> str:
    """One hash of the content of some files."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def _once(folder: Path, sources: list[Path], make: Callable[[Path], None]) -> None:
    """Make a folder unless it was made from the same sources; a half-made one is made again."""
    stamp = folder.with_name(f"{folder.name}.stamp")
    wanted = digest(sources)
    if folder.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    make(folder)
    stamp.write_text(wanted)
