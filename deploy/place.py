"""Where a deployment keeps what it needs: one folder, `.deploy` unless DEPLOY_HOME says otherwise."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.faults import BusyError

HOME = "DEPLOY_HOME"
#: Lock of the autoscaler while it changes something.
SCALING = "scaling"
POLL_SECONDS = 0.05
#: Whoever looks whether a lock is held has it for a moment, which is waited for.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """The folder of a deployment.

    Attributes:
        folder: absolute.
    """

    folder: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place:
        """What the environment says."""
        return cls(Path(environ.get(HOME) or ".deploy").resolve())

    @property
    def journal(self) -> Path:
        """File of the journal, unless it is kept elsewhere."""
        return self.folder / "journal.db"

    @property
    def router(self) -> Path:
        """Folder of the router's configuration."""
        return self.folder / "router"

    @property
    def versions(self) -> Path:
        """Folder with a copy of each version's Bento and models."""
        return self.folder / "versions"

    @property
    def instances(self) -> Path:
        """Folder with a BENTOML_HOME for each instance."""
        return self.folder / "instances"

    @property
    def logs(self) -> Path:
        """Folder of what processes print."""
        return self.folder / "logs"

    @property
    def environment(self) -> Path:
        """File of the settings (`BENTOCAST_...`) that instances are started with; only its owner may read it."""
        return self.folder / "environment.json"

    @property
    def targets(self) -> Path:
        """File of whom Prometheus asks for metrics."""
        return self.folder / "targets.json"

    @property
    def turned(self) -> Path:
        """File that the loop of retrainings touches at each turn; whoever ends that loop for good removes it."""
        return self.folder / "loop.turn"

    @property
    def reports(self) -> Path:
        """Folder with a page for each rollout."""
        return self.folder / "reports"

    @contextlib.contextmanager
    def held(self, name: str, otherwise: str, patience_seconds: float = LOOK_SECONDS) -> Iterator[None]:
        """Hold a lock; it goes with the process that holds it, however that ends.

        Raises:
            BusyError: another process holds it, and did for so long; with the text `otherwise`.
        """
        late = time.monotonic() + patience_seconds
        with self._lock(name) as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as err:
                    if time.monotonic() >= late:
                        raise BusyError(otherwise) from err
                time.sleep(POLL_SECONDS)
            yield

    def is_held(self, name: str) -> bool:
        """Whether another process holds a lock."""
        with self._lock(name) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _lock(self, name: str) -> IO[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "w")
