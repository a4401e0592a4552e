"""Which request is being answered, by the name that whoever is in front gave it (`x-request-id`).

A router that copies requests to a second version gives the copy the same name; by it the record knows the two answers
to one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar

#: Of the request that this task answers; nothing if it has none, or none that can be kept.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_NAME = b"x-request-id"
_WANTED = re.compile(rb"[\w.:+/=-]{1,128}", re.ASCII)


def take(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Take the name from a request's headers, in small letters, for as long as its task runs (or takes another)."""
    for name, value in headers:
        if name == _NAME:
            REQUEST_ID.set(value.decode() if _WANTED.fullmatch(value) else "")
            return
    REQUEST_ID.set("")
