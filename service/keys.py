"""API keys: several, by name, kept as hashes in a file that may change while the service runs.

A line of the file is `NAME SHA256`, a `#` begins a comment. A key has 256 random bits, so a plain hash is
enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from data.errors import BentocastError, ConfigError

#: The file is looked at no more often.
LOOK_SECONDS = 1.0
_LINE = re.compile(r"^(?P<name>[\w.@-]{1,64})\s+(?P<hash>[0-9a-f]{64})$")

logger = logging.getLogger("bentocast.service")


class UnauthorizedError(BentocastError):
    """No key, or not one of ours."""

    status = 401
    code = "unauthorized"


class Keys:
    """The keys of a file, read again when it changes.

    Args:
        path: the file.
        clock: seconds, monotonic.

    Raises:
        ConfigError: the file cannot be read, a line is not a name and a hash, or there is no key.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = _stamp(path)
        self._names = read(path)

    def check(self, key: str | None) -> str:
        """Name of a key.

        Raises:
            UnauthorizedError: there is no key, or no such one.
        """
        self._look()
        name = None if key is None else self._names.get(hashed(key))
        if name is None:
            raise UnauthorizedError(
                "this service wants an API key: send the header 'authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        return name

    def _look(self) -> None:
        """Read the file again if it changed; one that cannot be read leaves the keys as they are.

        What does not stand there any more is withdrawn, whatever else is wrong with the file: a line that is none is left
        out, and a file without a key refuses everybody.
        """
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._names, faults = _lines(self._path)
        except ConfigError as err:
            logger.error("API keys stay as they were: %s", err)  # noqa: TRY400 - the message says it all
            return
        self._stamp = stamp
        for fault in faults:
            logger.error("API keys: the line is left out: %s", fault)
        if self._names:
            logger.info("read %d API keys from %s", len(self._names), self._path)
        else:
            logger.error("API keys: everybody is refused: %s", _no_key(self._path))


def read(path: Path, *, empty: bool = False) -> dict[str, str]:
    """Names by hash.

    Args:
        path: the file.
        empty: whether there may be none.

    Raises:
        ConfigError: see `Keys`.
    """
    names, faults = _lines(path)
    if faults:
        raise ConfigError(faults[0])
    if not names and not empty:
        raise ConfigError(_no_key(path))
    return names


def _lines(path: Path) -> tuple[dict[str, str], list[str]]:
    """Names by hash, and what is wrong with lines that are none.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read the API keys in {path}: {err}") from err
    names, faults = {}, []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        found = _LINE.match(text)
        if found is not None:
            names[found["hash"]] = found["name"]
        elif text:
            faults.append(
                f"{path}, line {number}: wanted a name and the SHA-256 of a key, as `python -m service key NAME` writes them"
            )
    return names, faults


def _no_key(path: Path) -> str:
    return f"{path} holds no key: make one with `python -m service key NAME --file {path}`"


def make(name: str) -> tuple[str, str]:
    """A new key, and the line for the file.

    Raises:
        ConfigError: the name has characters that the file cannot hold.
    """
    if not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise ConfigError(f"name: got {name!r}, wanted 1 to 64 letters, digits, '.', '-', '_' or '@'")
    key = f"bc_{secrets.token_urlsafe(32)}"
    return key, f"{name} {hashed(key)}"


def hashed(key: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def of_headers(authorization: bytes | None, api_key: bytes | None) -> str | None:
    """The key out of a request's headers."""
    if api_key is not None:
        return api_key.decode("latin-1")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1")
    return None


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as err:
        raise ConfigError(f"cannot read the API keys in {path}: {err}") from err
    return found.st_mtime_ns, found.st_size, found.st_ino
