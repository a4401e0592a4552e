"""Where a table's files are: one path, folder, pattern or address in, files that open out.

An exception of a remote file system may show a password or a signed address in its text. None of
them passes: what leaves here names the fault with the address masked, and keeps no cause.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from data.errors import BentocastError, SourceError
from data.sources import address

CONNECT_SECONDS, READ_SECONDS = 10, 30
COMPRESSED = (".gz", ".bz2", ".zst", ".zip")
ENDINGS = {"csv": (".csv", *(f".csv{suffix}" for suffix in COMPRESSED)), "parquet": (".parquet",)}
WEB = ("http", "https")
#: The extra of this project that brings a protocol's plugin.
EXTRAS = {"s3": "s3", "s3a": "s3"}
KEY = "ingest.path"


@dataclass(frozen=True)
class File:
    """One file of a table.

    Attributes:
        system: the fsspec file system that holds it.
        path: its path there.
        shown: its name in messages, masked.
    """

    system: Any
    path: str
    shown: str

    @property
    def suffix(self) -> str:
        """The last ending (`.gz`), in small letters."""
        path = urlsplit(self.path).path if address.scheme(self.path) in WEB else self.path
        return posixpath.splitext(path)[1].lower()

    def open(self, *, whole: bool) -> IO[bytes]:
        """Open it for reading, seekable.

        Args:
            whole: all of it will be read: a remote file is fetched at once. A web server is always
                read at once, as few of them can do anything else reliably.

        Raises:
            SourceError: it cannot be read.
        """
        with reaching(self.shown):
            remote = not _is_local(self.system)
            if remote and (whole or address.scheme(self.path) in WEB):
                return io.BytesIO(self.system.cat_file(self.path))
            stream: IO[bytes] = self.system.open(self.path, "rb")
            return stream


def find(path: str, kind: Literal["csv", "parquet"]) -> list[File]:
    """The files that make up a table, sorted by name.

    Args:
        path: a file, a folder (its files of that kind, not those in its subfolders), a pattern with
            `*`, `?` or `[...]`, or an address that fsspec knows.
        kind: what the files hold; in a folder it is also their ending, compressed or not.

    Raises:
        SourceError: nothing is there, it cannot be reached, or its protocol is not installed.
    """
    shown = address.mask(path)
    with reaching(shown):
        system, root = _system(path)
        names = _names(system, root, kind, shown)
        if names == [root]:
            return [File(system, root, shown)]
        return [File(system, name, _shown(system, name)) for name in names]


@contextlib.contextmanager
def reaching(shown: str) -> Iterator[None]:
    """Turn whatever goes wrong on the way to a file into a SourceError that holds no secret."""
    try:
        yield
    except BentocastError:
        raise
    # Each plugin has exceptions of its own, which do not share a base class.
    except Exception as err:
        raise SourceError(f"{KEY}: {shown!r} {_why(err)}", param=KEY) from None


def _why(err: Exception) -> str:
    if isinstance(err, FileNotFoundError):
        return "was not found, wanted a file, a folder, a pattern or an address that exists"
    if isinstance(err, PermissionError):
        return "must not be read (permission denied): check the file's rights, or the credentials"
    if isinstance(err, TimeoutError):
        return (
            f"did not answer within {CONNECT_SECONDS} s (connecting) or {READ_SECONDS} s (reading): check the host, "
            "the network and its proxy"
        )
    lines = address.mask(str(err)).splitlines()
    return f"cannot be read: {type(err).__name__}: {lines[0] if lines else 'no reason given'}"


def _system(path: str) -> tuple[Any, str]:
    import fsspec

    scheme = address.scheme(path)
    try:
        system, root = fsspec.core.url_to_fs(path, **({scheme: _options(scheme)} if scheme else {}))
    except ImportError as err:
        fix = (
            f"install bentocast's extra {EXTRAS[scheme]}: pip install '.[{EXTRAS[scheme]}]'"
            if scheme in EXTRAS
            else err
        )
        raise SourceError(
            f"{KEY}: {address.mask(path)!r} needs a plugin for {scheme}:// that is not installed: {fix}", param=KEY
        ) from err
    except ValueError as err:
        if "rotocol" not in str(err):
            raise
        raise SourceError(
            f"{KEY}: {address.mask(path)!r} has the unknown protocol {scheme!r}, wanted a path or one that fsspec "
            "knows, such as s3://, gs://, abfs:// or https://",
            param=KEY,
        ) from None
    return system, root


def _options(scheme: str) -> dict[str, Any]:
    """Time-outs, in each plugin's own words."""
    if scheme in WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return {"client_kwargs": {"timeout": timeout}}
    if scheme in EXTRAS:
        return {"config_kwargs": {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}}
    return {}


def _names(system: Any, root: str, kind: Literal["csv", "parquet"], shown: str) -> list[str]:
    # In a web address a `?` begins the query, and there are no folders.
    if address.scheme(root) in WEB:
        return [root]
    if system.isdir(root):
        return _in_folder(system, root, kind, shown)
    if glob.has_magic(root) and not system.exists(root):
        names = sorted(name for name in system.glob(root) if not system.isdir(name))
        if not names:
            raise SourceError(f"{KEY}: no file matches {shown!r}, wanted at least one", param=KEY)
        return names
    if not system.exists(root):
        raise SourceError(f"{KEY}: {shown!r} was not found{_near(system, root)}", param=KEY)
    return [root]


def _in_folder(system: Any, root: str, kind: Literal["csv", "parquet"], shown: str) -> list[str]:
    entries = sorted(entry["name"] for entry in system.ls(root, detail=True) if entry["type"] == "file")
    names = [name for name in entries if name.lower().endswith(ENDINGS[kind]) and not _hidden(name)]
    if not names:
        seen = ", ".join(repr(posixpath.basename(name)) for name in entries[:5]) or "no files"
        raise SourceError(
            f"{KEY}: folder {shown!r} has no file that ends in {' or '.join(ENDINGS[kind])}, got {seen}: name a file, "
            "or set ingest.source to what the folder holds",
            param=KEY,
        )
    return names


def _hidden(name: str) -> bool:
    return posixpath.basename(name).startswith((".", "_"))


def _near(system: Any, root: str) -> str:
    """A guess at what a wrong local path was meant to be."""
    if not _is_local(system):
        return ": check the bucket, the path and its spelling"
    folder = Path(root).parent
    if not folder.is_dir():
        return f": there is no folder {_relative(str(folder))!r}"
    near = difflib.get_close_matches(Path(root).name, [entry.name for entry in folder.iterdir()], n=1)
    return f", did you mean {_relative(str(folder / near[0]))!r}?" if near else " in that folder: check its spelling"


def _shown(system: Any, name: str) -> str:
    return _relative(name) if _is_local(system) else address.mask(str(system.unstrip_protocol(name)))


def _relative(path: str) -> str:
    """A local path as the user would write it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _is_local(system: Any) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)
