"""Files that appear whole or not at all: written beside their place, synced, then renamed in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Linux: AT_FDCWD and RENAME_EXCHANGE.
_HERE, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it over `path` if the block succeeds.

    The block may make a file or a folder there. If it raises (a full disk, an interrupt), the
    temporary is removed and what stood at `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        target = scratch / path.name
        yield target
        _sync(target)
        if path.is_dir() and not path.is_symlink():
            _exchange(target, path)
        else:
            target.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _exchange(one: Path, other: Path) -> None:
    """Let two paths change places, in one step where the system can (Linux), so that a kill finds either whole."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange and exchange(_HERE, bytes(one.resolve()), _HERE, bytes(other.resolve()), _RENAME_EXCHANGE) == 0:
        return
    aside = one.with_name("aside")
    other.rename(aside)
    try:
        one.rename(other)
    except BaseException:
        aside.rename(other)
        raise


def _sync(path: Path) -> None:
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        sync(file)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
