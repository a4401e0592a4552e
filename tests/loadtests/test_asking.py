from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.serving.asking import AnswerError, NumbersError, checked
from loadtests.serving.entries import Entry


@contextmanager
def server(status: int, told: Any) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    (tmp_path / "body").write_bytes(b"{}")
    expected = np.array([[1_000.0, 0.0]])
    return Entry("peer rows", "mlflow", "rows", "/x", tmp_path / "body", lambda one: [json.loads(one.body)], expected)


def test_the_length_of_a_right_answer_is_kept(entry: Entry) -> None:
    with server(200, [1_000.0, 0.009]) as port:
        assert checked(entry, port).answer_bytes == len("[1000.0, 0.009]")


@pytest.mark.parametrize("told", [[1_000.0, 0.011], [1_000.0, float("nan")]])
def test_other_numbers(entry: Entry, told: list[float]) -> None:
    wanted = pytest.raises(
        NumbersError, match=r"peer rows: its numbers differ by .* \(relative\), wanted 1e-05 or less"
    )
    with server(200, told) as port, wanted:
        checked(entry, port)


def test_another_count_of_numbers(entry: Entry) -> None:
    wanted = pytest.raises(NumbersError, match=r"got numbers of shape \(1, 3\), wanted \(1, 2\)")
    with server(200, [1, 2, 3]) as port, wanted:
        checked(entry, port)


def test_a_refusal(entry: Entry) -> None:
    wanted = pytest.raises(AnswerError, match=r'peer rows: POST /x answers 404: {"error": "no"}')
    with server(404, {"error": "no"}) as port, wanted:
        checked(entry, port)


def test_nobody_listens(entry: Entry) -> None:
    with server(200, []) as port:
        pass
    with pytest.raises(AnswerError, match=r"peer rows: POST /x: .*refused"):
        checked(entry, port)
