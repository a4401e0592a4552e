"""Tasks for clusters, in a module that workers can import."""

from __future__ import annotations

import os
import time
from pathlib import Path

from data.errors import DataError


def times(factor: float, item: float) -> float:
    """A product."""
    return factor * item


def pids(_: object, seconds: float) -> int:
    """Who did it, after a while."""
    time.sleep(seconds)
    return os.getpid()


def environment(_: object, name: str) -> str | None:
    """What a variable says there."""
    return os.environ.get(name)


def bad(_: object, item: int) -> int:
    """An error that a user can mend, for one item."""
    if item == 3:
        raise DataError("item 3 is bad", param="item")
    return item


def dying(folder: str, item: int) -> int:
    """Item 2 ends its worker the first time, and items 7 their worker every time."""
    if item == 7 or (item == 2 and not (Path(folder) / "died").exists()):
        (Path(folder) / "died").touch()
        os.kill(os.getpid(), 9)
    return item * 10
