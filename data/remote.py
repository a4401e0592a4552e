"""DVC's remote, read through: whether it holds every object of this commit's pipeline, byte for byte.

`dvc push` and `dvc status --cloud` go by names alone: what was damaged in the remote, they take for pushed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from data.errors import SourceError
from data.sources import address

CHUNK_BYTES = 1 << 20


@dataclass
class Found:
    """What a remote holds.

    Attributes:
        name: of the remote.
        good: how many objects are what their names say.
        mended: hashes of those that were not, or were missing, and were uploaded again from the cache.
        lost: hashes of those that the cache does not hold either.
        dropped: hashes of those that were damaged in the cache here, and are there no more: the next pull brings them.
    """

    name: str
    good: int = 0
    mended: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def check(name: str | None = None) -> Found:
    """Read every object; upload again from DVC's cache what is missing or differs; what is damaged in the cache is removed.

    Args:
        name: of the remote, None for the default one.

    Raises:
        SourceError: the remote cannot be reached or read, or there is none.
    """
    with _named(name), _repository() as repository:
        remote = repository.cloud.get_remote_odb(name, command="data remote")
        cache = repository.cache.local
        found = Found(repository.cloud.get_remote(name).name)
        used = repository.used_objs(push=True).values()
        wanted = sorted({one.value for hashes in used for one in hashes if one.name == "md5"})
        if not wanted:
            raise SourceError(
                "DVC knows of no object here, so nothing was looked through: run `dvc repro`, or check out a commit with "
                "its dvc.lock"
            )
        for oid in wanted:
            here = _is_whole(cache, oid)
            if not here and cache.fs.exists(cache.oid_to_path(oid)):
                cache.fs.remove(cache.oid_to_path(oid))
                found.dropped.append(oid)
            if _is_whole(remote, oid):
                found.good += 1
            elif here and _is_uploaded(remote, cache, oid):
                found.mended.append(oid)
            else:
                found.lost.append(oid)
        return found


def _is_whole(store: Any, oid: str) -> bool:
    """Whether a store holds an object with the bytes that its hash says."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with store.fs.open(store.oid_to_path(oid), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == oid.removesuffix(".dir")


def _is_uploaded(remote: Any, cache: Any, oid: str) -> bool:
    """Put an object of the cache into the remote, whatever stands there, and look whether it arrived."""
    remote.add(cache.oid_to_path(oid), cache.fs, oid, check_exists=False)
    return _is_whole(remote, oid)


@contextlib.contextmanager
def _repository() -> Iterator[Any]:
    from dvc.repo import Repo

    repository = Repo()
    try:
        yield repository
    finally:
        repository.close()


@contextlib.contextmanager
def _named(name: str | None) -> Iterator[None]:
    """Say which remote failed instead of showing a traceback: each kind of remote raises errors of its own library."""
    try:
        yield
    except SourceError:
        raise
    except Exception as err:
        text = address.mask(" ".join(str(err).split()))[:300]
        raise SourceError(
            f"DVC's remote {name or '(the default one)'} cannot be read through: {type(err).__name__}: {text}; see its "
            "settings with `dvc remote list` and `dvc config --list`, nothing in the workspace was changed"
        ) from err
