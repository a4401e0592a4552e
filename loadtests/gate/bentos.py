"""Bentos as servers: what is known of one, and how one is started so that a load test leaves no trace in what is real."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.command import say
from data.errors import RegistryError
from loadtests.lock import alone
from loadtests.ports import PORTS
from loadtests.processes import Command, Server, running

READY = "/readyz"
#: Whoever holds it may load this machine; two load tests at once would measure each other.
LOCK = Path(tempfile.gettempdir()) / f"bentocast-loadtest-{os.getuid()}.lock"
#: What Bentos of the lock's holder write.
SCRATCH = LOCK.with_suffix(".scratch")


@dataclass(frozen=True)
class Bento:
    """A Bento in the store.

    Attributes:
        tag: `name:version`.
        labels: what it was labelled with when it was built, such as the version in MLflow.
    """

    tag: str
    labels: dict[str, str]


def find(tag: str) -> Bento:
    """The Bento with a tag.

    Raises:
        RegistryError: BentoML's store has no such Bento.
    """
    import bentoml

    try:
        found = bentoml.bentos.get(tag)
    except (bentoml.exceptions.BentoMLException, ValueError) as err:
        raise RegistryError(f"BentoML's store holds no Bento {tag!r}: see them with `bentoml list`") from err
    return Bento(str(found.tag), dict(found.info.labels))


def command(name: str, bento: Bento, folder: Path, port: int | None = None) -> Command:
    """How a Bento is served for a load test.

    Its record is a file in `folder`, so that no forecast of a load test gets into the real one; of the operator's
    settings (`BENTOCAST_...`) none is taken over, so that both sides are served alike.

    Args:
        name: of the side, for messages.
        bento: what is served.
        folder: of its own.
        port: of HTTP; gRPC is on the next one. Free ones if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BENTOCAST_")}
    return Command(
        name=f"{name} ({bento.tag})",
        arguments=(_bentoml(), "serve", bento.tag, "--host", "127.0.0.1", "--port", "{port}"),
        folder=folder,
        environment=kept
        | {
            "BENTOCAST_RECORD_URL": f"sqlite:///{folder.resolve()}/record.db",
            "BENTOML_DO_NOT_TRACK": "True",
            "OMP_NUM_THREADS": "1",
        },
        ready=READY,
        port=port,
    )


@contextlib.contextmanager
def serving(sides: dict[str, Bento], port: int | None, logs: Path) -> Iterator[dict[str, Server]]:
    """Some Bentos side by side, each ready; all are ended, whatever happens, and their records thrown away.

    Args:
        sides: what is served, by name.
        port: first of three for each; free ones if None.
        logs: folder that their logs go to.

    Raises:
        BusyError: another load test runs.
        PortError: a port is taken.
        StartError: one did not get ready.
    """
    with alone(LOCK) as mark:
        shutil.rmtree(SCRATCH, ignore_errors=True)  # of a run that was killed
        commands = {
            side: command(side, bento, SCRATCH / side, None if port is None else port + PORTS * place)
            for place, (side, bento) in enumerate(sides.items())
        }
        say(f"starting {' and '.join(one.name for one in commands.values())}")
        try:
            with running(commands, logs, mark=mark, together=True) as servers:
                yield servers
        finally:
            shutil.rmtree(SCRATCH, ignore_errors=True)


def _bentoml() -> str:
    return str(Path(sys.executable).with_name("bentoml"))
