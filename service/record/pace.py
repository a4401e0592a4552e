"""Work of the writer in slices, so that the event loop never waits for more than one of them.

Both threads share Python's lock. Whoever waits for it gets it after 5 ms, each time anew; after a slice
of half a millisecond, the writer sleeps long enough for the other to take it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_SLICE = 50
_BREATH_SECONDS = 0.0001


def in_slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, some at a time, with a breath between."""
    for first in range(0, len(items), _SLICE):
        if first:
            time.sleep(_BREATH_SECONDS)
        yield items[first : first + _SLICE]
