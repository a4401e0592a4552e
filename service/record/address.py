"""Where the record is: a database URL that is checked, and never shown with its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from data.errors import ConfigError

_WANTED = "wanted 'sqlite:///PATH' or 'postgresql+psycopg://USER:PASSWORD@HOST/DATABASE'"
#: As SQLAlchemy reads it: a password ends at the first @.
_SHAPE = re.compile(r"(?P<kind>[\w+]+)://(?:[^:/@]*(?::(?P<password>[^@]*))?@)?(?P<place>[^?]*)(?:\?(?P<query>.*))?")
_USER_INFO = re.compile(r"(://[^:/?#]*):.*@", re.DOTALL)
_SECRET_OPTIONS = re.compile(r"([?&](?:password|sslpassword)=)([^&]*)")


@dataclass(frozen=True)
class Address:
    """A database URL.

    Attributes:
        url: with its password, for the driver alone.
        shown: for people, with the password masked.
        path: the file, where the database is SQLite.
    """

    url: str = field(repr=False)
    shown: str
    path: Path | None = None
    _secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Raises:
            ConfigError: it is none, or not of a database that can hold the record; the password is masked.
        """
        shown = _SECRET_OPTIONS.sub(r"\1***", _USER_INFO.sub(r"\1:***@", text))
        match = _SHAPE.fullmatch(text)
        kind = match["kind"] if match else ""
        if match and kind == "sqlite":
            return cls(url=text, shown=shown, path=_file(match["place"], shown))
        if not match or kind not in ("postgresql", "postgresql+psycopg"):
            raise _refused(shown, _WANTED)
        if "@" in match["place"]:
            raise _refused(shown, "wanted one @ before the host: write an @ in a password as %40")
        secrets = [match["password"], *(option[1] for option in _SECRET_OPTIONS.findall(f"?{match['query'] or ''}"))]
        return cls(
            url=f"postgresql+psycopg{text.removeprefix(kind)}",
            shown=shown,
            _secrets=tuple({spelling for secret in secrets if secret for spelling in (secret, unquote(secret))}),
        )

    def hide(self, text: str) -> str:
        """A text without any password of this address, on one line."""
        for secret in self._secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return " ".join(text.split())

    def explain(self, err: BaseException) -> str:
        """What a database said, without SQLAlchemy's statement and without any password."""
        return self.hide(str(getattr(err, "orig", None) or err) or type(err).__name__)


def _file(place: str, shown: str) -> Path:
    path = place.removeprefix("/")
    if not place.startswith("/") or path in ("", ":memory:") or path.startswith("file:"):
        raise _refused(
            shown,
            "wanted the path of a file, 'sqlite:///PATH' (four slashes if it starts at the root): the record outlives "
            "the process",
        )
    return Path(path)


def _refused(shown: str, wanted: str) -> ConfigError:
    return ConfigError(f"record: got {shown!r}, {wanted}", param="url")
