"""Files that appear whole or not at all: written beside their place, synced, then renamed in."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
            path.rename(scratch / "before")
        target.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            (scratch / "before").rename(path)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
