"""Ask a server once, and see that its numbers are those of all others."""

from __future__ import annotations

import http.client
from dataclasses import replace

import numpy as np

from data.errors import BentocastError
from loadtests.serving.entries import Answer, Entry

#: Largest difference from scikit-learn's float64, as a share of the largest number: float32 on the way out.
TOLERANCE = 1e-5
TIMEOUT_SECONDS = 60.0


class AnswerError(BentocastError):
    """A server does not answer, or refuses."""


class NumbersError(BentocastError):
    """A server answers with other numbers than the others."""


def checked(entry: Entry, port: int) -> Entry:
    """The entry with the length of its answer, once that was seen to be right.

    Raises:
        AnswerError: another status than 200.
        NumbersError: other numbers.
    """
    answer = _grpc(entry, port + 1) if entry.protocol == "grpc" else _http(entry, port)
    got = np.asarray(entry.numbers(answer), dtype=np.float64)
    if got.shape != entry.expected.shape:
        raise NumbersError(f"{entry.name}: got numbers of shape {got.shape}, wanted {entry.expected.shape}")
    apart = float(np.abs(got - entry.expected).max() / np.abs(entry.expected).max())
    if not apart <= TOLERANCE:
        raise NumbersError(f"{entry.name}: its numbers differ by {apart:.2g} (relative), wanted {TOLERANCE:g} or less")
    return replace(entry, answer_bytes=len(answer.body))


def _http(entry: Entry, port: int) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        headers = dict(header.split(": ", 1) for header in entry.headers)
        connection.request("POST", entry.path, entry.body.read_bytes(), headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as err:
        raise AnswerError(f"{entry.name}: POST {entry.path}: {err}") from err
    finally:
        connection.close()
    if response.status != 200:
        raise AnswerError(
            f"{entry.name}: POST {entry.path} answers {response.status}: {body[:100].decode(errors='replace')}"
        )
    return Answer(body, {name.lower(): value for name, value in response.getheaders()})


def _grpc(entry: Entry, port: int) -> Answer:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(entry.path)  # no serializers: bytes in, bytes out
        try:
            return Answer(call(entry.body.read_bytes()[5:], timeout=TIMEOUT_SECONDS), {})
        except grpc.RpcError as err:
            raise AnswerError(f"{entry.name}: {entry.path} answers {err.code().name}: {err.details()}") from err
