"""Whether the record's database works: when to try it again, and what to tell people, once."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from service.record.address import Address

#: The wait after a first failure, doubled up to the longest.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.25, 5.0
#: A database that comes and goes is reported no more often than this.
_QUIET_SECONDS = 60.0
_FIXES = (
    ("locked", "end the process that holds it"),
    ("full|no space|disk i/o", "make room on its disk"),
    ("read-?only", "make it, and its folder, writable for this user"),
    ("unable to open|no such file|not permitted", "see that its folder is there and writable for this user"),
    ("deleted or replaced", "nothing, a new one is made; stop the service before you move its record"),
    ("malformed|not a database", "move the file away, a new one is made"),
    ("without locks", "give it a file on a local disk, or use PostgreSQL"),
    ("tables are of version", "see above"),
    ("authentication|no password|permission denied", "check the user, its password and its rights"),
    ("no such table|no such column|does not exist", "give the record a database of its own"),
)
_DEFAULT_FIX = "see that the database runs and can be reached from here"

logger = logging.getLogger("bentocast.record")


@dataclass
class Health:
    """The state of the database as the writer finds it; times are those of a clock that never goes back.

    Attributes:
        failures: how often it failed in all.
        broken_since: when it last broke, or None while it works.
        retry_at: when it is tried again.
        reason: what it said when it last failed.
    """

    address: Address
    failures: int = 0
    broken_since: float | None = None
    retry_at: float = 0.0
    reason: str = ""
    _pause: float = _SHORTEST_SECONDS
    _told: bool = False
    _quiet_until: float = float("-inf")

    @property
    def good(self) -> bool:
        """Whether the last attempt succeeded."""
        return self.broken_since is None

    def failed(self, err: BaseException, now: float, waiting: int) -> None:
        """Note a failure, and tell if people do not know of it yet."""
        self.failures += 1
        self.reason = self.address.explain(err)
        if self.broken_since is None:
            self.broken_since, self._pause = now, _SHORTEST_SECONDS
        self.retry_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_SECONDS)
        if not self._told and now >= self._quiet_until:
            self._told, self._quiet_until = True, now + _QUIET_SECONDS
            logger.error(
                "record %s does not take what is written: %s: %s; forecasts go on, %d of them wait, what does not fit "
                "in the queue is dropped, actual values are refused with 503",
                self.address.shown,
                self.reason,
                fix(self.reason),
                waiting,
            )

    def works(self, now: float, dropped: int) -> None:
        """Note a success, and tell if people know of a failure."""
        if self.broken_since is None:
            return
        if self._told:
            logger.warning(
                "record %s works again after %.0f s; %d forecasts were dropped since this worker started",
                self.address.shown,
                now - self.broken_since,
                dropped,
            )
        self.broken_since, self._told = None, False


def fix(reason: str) -> str:
    """What to do about it."""
    return next((text for pattern, text in _FIXES if re.search(pattern, reason, re.IGNORECASE)), _DEFAULT_FIX)
