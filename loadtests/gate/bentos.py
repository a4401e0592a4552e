"""Bentos as servers: what is known of one, and how one is started so that a load test leaves no trace in what is real."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from data.errors import RegistryError
from loadtests.processes import Command

READY = "/readyz"


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


def _bentoml() -> str:
    return str(Path(sys.executable).with_name("bentoml"))
