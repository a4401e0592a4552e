"""dvc.lock: whether what the pipeline made is what it says, bit for bit; read without DVC, whose caches it would trust."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import yaml

from data.errors import DataError

LOCK = Path("dvc.lock")


class Out(NamedTuple):
    """What a stage made: its path, DVC's hash of it and its size."""

    path: Path
    md5: str
    size: int


def outs(lock: Path = LOCK) -> list[Out]:
    """All that the pipeline's stages made.

    Raises:
        DataError: there is no such file, or it is none of DVC's.
    """
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
        return [Out(Path(out["path"]), out["md5"], out["size"]) for stage in stages for out in stage.get("outs", [])]
    except FileNotFoundError as err:
        raise DataError(
            f"{lock} not found: it says what the pipeline made, and goes into git with the code; check out a commit that has it"
        ) from err
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as err:
        raise DataError(
            f"{lock} is damaged ({type(err).__name__}): check it out again with `git checkout {lock}`"
        ) from err


def check(lock: Path = LOCK) -> int:
    """Compare every file with its hash; gives how many bytes were read.

    Raises:
        DataError: something is missing or differs.
    """
    made = outs(lock)
    if not made:
        raise DataError(
            f"{lock} names nothing that the pipeline made, so nothing can be compared: check out a commit whose lock does, or "
            "make it with `dvc repro`"
        )
    for out in made:
        got = _hash(out.path)
        if got != out.md5:
            raise DataError(
                f"{out.path} is not what {lock} says: got {got or 'no such file'}, wanted {out.md5}; remove it, look through "
                "cache and remote with `python -m data remote`, then `dvc pull` brings it"
            )
    return sum(out.size for out in made)


def dvc_hash(path: Path) -> str:
    """The hash by which DVC knows a file."""
    return f"md5:{_md5(path)}"


def _hash(path: Path) -> str | None:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
        listed.sort(key=lambda entry: entry["relpath"])
        text = json.dumps(listed, sort_keys=True).encode()
        return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"
    return _md5(path) if path.is_file() else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
