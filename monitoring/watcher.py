"""What is looked at every now and then, since it may be slow, and told to Prometheus as it was a moment ago."""

from __future__ import annotations

import threading
from abc import abstractmethod

from prometheus_client.registry import Collector

from data import command
from data.errors import BentocastError

LOOK_SECONDS = 10.0


class Watcher(Collector):
    """Looks, and has what it saw.

    Args:
        name: of what is looked at, for people.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._over = threading.Event()

    def start(self) -> None:
        """Look every now and then."""
        threading.Thread(target=self._repeat, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    @abstractmethod
    def look(self) -> None:
        """See how it is now; whatever goes wrong is raised."""

    @abstractmethod
    def forget(self) -> None:
        """What was seen before is no longer known to hold."""

    def _repeat(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except Exception as err:  # the next look may go better
                self.forget()
                command.say(
                    err.message if isinstance(err, BentocastError) else f"{self._name}: {type(err).__name__}: {err}"
                )
            self._over.wait(LOOK_SECONDS)
