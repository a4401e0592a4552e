"""Many names, as people are shown them."""

from __future__ import annotations

from collections.abc import Sequence

SOME = 5


def some(names: Sequence[object]) -> str:
    """The first few, and whether there are more."""
    return ", ".join(map(str, names[:SOME])) + ", ..." * (len(names) > SOME)
