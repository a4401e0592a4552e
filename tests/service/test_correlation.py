"""The name that whoever is in front gave a request."""

from __future__ import annotations

import pytest

from service import correlation
from service.correlation import REQUEST_ID


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([(b"x-request-id", b"01f1c33a-a964-4659-85d2-265f2d8b7890")], "01f1c33a-a964-4659-85d2-265f2d8b7890"),
        ([(b"host", b"a"), (b"x-request-id", b"one"), (b"x-request-id", b"other")], "one"),
        ([(b"host", b"a")], ""),
        ([], ""),
        ([(b"x-request-id", b"")], ""),
        ([(b"x-request-id", b"a" * 128)], "a" * 128),
        ([(b"x-request-id", b"a" * 129)], ""),
        ([(b"x-request-id", b"two words")], ""),
        ([(b"x-request-id", "\u00fc".encode())], ""),
    ],
)
def test_a_name_is_taken_if_it_can_be_kept(headers: list[tuple[bytes, bytes]], wanted: str) -> None:
    REQUEST_ID.set("of the request before on this connection")
    correlation.take(headers)
    assert REQUEST_ID.get() == wanted
