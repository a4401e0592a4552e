"""HTTP against a service that runs: whatever comes, it is answered as a client's fault, and the worker lives on."""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.service import nasty, siege
from tests.service.live import Server
from tests.service.siege import DEADLINE_SECONDS, FORECAST, MEBIBYTE
from tests.service.wire import Got, Wire, ask, chunked, post

if TYPE_CHECKING:
    from tests.service.world import World

Document = dict[str, Any]

TURNS = 400
PREDICT, INFER = "/v1/models/bentocast:predict", "/v2/models/bentocast/infer"
ROWS, INFER_ROWS = "/v1/models/bentocast-rows:predict", "/v2/models/bentocast-rows/infer"
ACTUALS = "/v1/timeseries/actuals"
PATHS = [FORECAST, "/forecast", PREDICT, ROWS, INFER, INFER_ROWS, ACTUALS]
JSON = "content-type: application/json"
LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def live(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with siege.besieged(city, tmp_path_factory.mktemp("besieged")) as served:
        yield served


@pytest.fixture(autouse=True)
def unharmed(live: Server, city: World) -> Iterator[None]:
    with siege.unharmed(live, city):
        yield


def infer(city: World, *, binary: bool) -> tuple[Document, bytes]:
    """The JSON of a request of the Open Inference Protocol, and the bytes behind it."""
    history = city.history()
    tensors = {"series": history.values[None, :], "quantiles": np.array([0.1, 0.9])}
    for kind, given in (("past", history.past_covariates), ("future", history.future_covariates)):
        tensors |= {f"{kind}_covariates.{name}": values[None, :] for name, values in given.items()}
    start = {"name": "start_timestamp", "shape": [1], "datatype": "BYTES", "data": [str(history.start)]}
    inputs: list[Document] = [start]
    for name, values in tensors.items():
        sent = {"parameters": {"binary_data_size": values.nbytes}} if binary else {"data": values.tolist()}
        inputs.append({"name": name, "shape": list(values.shape), "datatype": "FP64", **sent})
    raw = b"".join(values.astype("<f8").tobytes() for values in tensors.values()) if binary else b""
    return {"id": "x", "parameters": {"horizon": 12, "binary_data_output": binary}, "inputs": inputs}, raw


def good(city: World, path: str) -> Document:
    """A request that is answered."""
    document, columns = city.document(horizon=3, quantiles=[0.1, 0.9]), len(city.forecaster.design.names)
    features = {"name": "features", "shape": [1, columns], "datatype": "FP32", "data": [0.5] * columns}
    return {
        PREDICT: {"instances": document["inputs"], "parameters": document["options"]},
        ROWS: {"instances": [[0.5] * columns] * 3},
        INFER: infer(city, binary=False)[0],
        INFER_ROWS: {"inputs": [features]},
        ACTUALS: {"actuals": [{"series": "s01", "timestamp": "2024-05-01T00:00", "value": 3.0}]},
    }.get(path, document)


def check(got: Got | None, path: str, sent: bytes = b"") -> int:
    """See that an answer is a good one, or a refusal in the shape of its protocol; its status."""
    told = sent[:2_000]
    assert got is not None, told
    if got.status == 200:
        assert got.headers["content-type"] in ("application/json", "application/octet-stream"), told
        assert not re.search(rb"[\[,]null", got.body), told  # a number that is none
        return got.status
    assert got.status in (400, 404, 408, 413, 415, 431, 503), (got, told)
    assert got.status != 503 or path == ACTUALS or got.headers["retry-after"], (got, told)
    error = got.json()["error"]
    plain = path.startswith(("/v1/models", "/v2/"))
    assert isinstance(error, str) if plain else list(error) == ["code", "message", "param", "type"], (got, told)
    assert len(got.body) < 2_000, got
    return got.status


def statuses(live: Server, path: str, requests: list[tuple[bytes, list[str]]]) -> set[int]:
    """Of many requests on one connection."""
    with Wire(live) as wire:
        found = set()
        for body, headers in requests:
            wire.send(post(path, body, *headers))
            found.add(check(wire.answer(), path, body))
    return found


class TestChance:
    """Good requests, changed."""

    @pytest.mark.parametrize("path", PATHS)
    def test_of_values(self, live: Server, city: World, path: str) -> None:
        chance = Random(path)
        bodies = [nasty.document(good(city, path), chance).encode() for _ in range(TURNS)]
        assert 400 in statuses(live, path, [(body, [JSON]) for body in bodies])

    @pytest.mark.parametrize("path", PATHS)
    def test_of_bytes(self, live: Server, city: World, path: str) -> None:
        chance, sent = Random(path), json.dumps(good(city, path)).encode()
        assert 400 in statuses(live, path, [(nasty.damaged(sent, chance), [JSON]) for _ in range(TURNS)])

    def test_of_tensors(self, live: Server, city: World) -> None:
        """In binary: the JSON, the bytes behind it, and the length that tells where one ends."""
        chance, (document, raw) = Random(5), infer(city, binary=True)
        assert 200 in statuses(live, INFER, [framed(json.dumps(document).encode(), raw)])
        requests = []
        for _ in range(2 * TURNS):
            text, rest = json.dumps(document).encode(), raw
            match chance.randrange(3):
                case 0:
                    text = nasty.document(document, chance).encode()
                case 1:
                    text = nasty.damaged(text, chance)
                case _:
                    rest = nasty.damaged(raw, chance)
            requests.append(framed(text, rest))
        assert {200, 400} <= statuses(live, INFER, requests)


def framed(text: bytes, raw: bytes, length: object = None) -> tuple[bytes, list[str]]:
    return text + raw, [f"{LENGTH}: {len(text) if length is None else length}"]


class TestBodies:
    """What a body can be."""

    @pytest.mark.parametrize("length", [-1, 0, 1, 10**6, "9" * 5_000, "1e3", "0x10", " ", "+5", "\u0663", "nan"])
    def test_wrong_length_of_the_json(self, live: Server, city: World, length: object) -> None:
        document, raw = infer(city, binary=True)
        body, headers = framed(json.dumps(document).encode(), raw, length)
        assert statuses(live, INFER, [(body, headers)]) == {400}

    @pytest.mark.parametrize(
        "shape",
        [[], [-1], [0], [2**62, 4], [10**400], [1, 1, 1, 1], [1.5], ["1"], [None], [10**9, 10**9], [1] * 10_000],
    )
    @pytest.mark.parametrize("binary", [False, True])
    def test_shapes(self, live: Server, city: World, shape: list[Any], *, binary: bool) -> None:
        document, raw = infer(city, binary=binary)
        document["inputs"][1]["shape"] = shape
        assert statuses(live, INFER, [framed(json.dumps(document).encode(), raw)]) == {400}

    @pytest.mark.parametrize("datatype", ["", "FP8", "fp64", "STRING", "BF16", "BYTES", None, 5, "x" * 10_000])
    def test_datatypes(self, live: Server, city: World, datatype: Any) -> None:
        document, raw = infer(city, binary=True)
        document["inputs"][1]["datatype"] = datatype
        assert statuses(live, INFER, [framed(json.dumps(document).encode(), raw)]) == {400}

    def test_an_input_twice(self, live: Server, city: World) -> None:
        document, _ = infer(city, binary=False)
        document["inputs"].append(document["inputs"][1])
        assert statuses(live, INFER, [(json.dumps(document).encode(), [])]) == {400}

    @pytest.mark.parametrize(
        "text",
        [
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"inputs":[{"name":"series","shape":[1],"datatype":"FP64","data":'
            + b"[" * 100_000
            + b"]" * 100_000
            + b"}]}",
            b'{"inputs":[],"parameters":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
            b'{"inputs":[],"options":{"horizon":' + b"9" * 100_000 + b"}}",
            b'{"inputs":[],"options":{"horizon":' + b"9" * 4_000 + b"}}",
            b'{"inputs":[],"options":{"quantiles":[1e999]}}',
            b'{"inputs":[{"name":"x","start_timestamp":"2024-01-01","series":[NaN,-Infinity]}]}',
            b'{"inputs":[{"name":"x","start_timestamp":"2024-01-01","series":[]}],"inputs":[]}',
            b'{"inputs":[{"name":"\xff\xfe","start_timestamp":"2024-01-01","series":[1]}]}',
            b'{"inputs":[{"name":"\\ud800","start_timestamp":"2024-01-01","series":[1]}]}',
            '{"inputs": []}'.encode("utf-16"),
            b"\xef\xbb\xbf{}",
            b"",
            b"\0" * 1_000,
        ],
        ids=range(16),
    )
    @pytest.mark.parametrize("path", [FORECAST, PREDICT, INFER])
    def test_odd_json(self, live: Server, path: str, text: bytes) -> None:
        assert statuses(live, path, [(text, [JSON])]) == {400}

    @pytest.mark.parametrize(
        "kind", ["application/x-www-form-urlencoded", "image/png", "text/html; charset=utf-16", "", "/"]
    )
    def test_a_content_type_that_lies(self, live: Server, city: World, kind: str) -> None:
        """`curl -d` says that JSON is a form."""
        sent = json.dumps(city.document()).encode()
        assert statuses(live, FORECAST, [(sent, [f"content-type: {kind}"])]) == {200}

    @pytest.mark.parametrize(
        "kind", ["application/vnd.bentoml+pickle", "application/x-pickle", "multipart/form-data; boundary=x"]
    )
    @pytest.mark.parametrize("path", PATHS)
    def test_a_content_type_that_is_never_read(self, live: Server, path: str, kind: str) -> None:
        assert statuses(live, path, [(b"cos\nsystem\n(S'true'\ntR.", [f"content-type: {kind}"])]) == {415}

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    def test_a_bomb(self, live: Server, coding: str) -> None:
        """A hundred times larger when unpacked, and a bomb in a bomb."""
        pack = gzip.compress if coding == "gzip" else zlib.compress
        bomb = pack(b" " * (100 * MEBIBYTE)) if coding == "gzip" else pack(pack(b"[" * (100 * MEBIBYTE)))
        expected = {413} if coding == "gzip" else {400}
        assert statuses(live, FORECAST, [(bomb, [f"content-encoding: {coding}"])] * 3) == expected

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    def test_damaged_compression(self, live: Server, city: World, coding: str) -> None:
        chance, pack = Random(3), gzip.compress if coding == "gzip" else zlib.compress
        sent = pack(json.dumps(city.document()).encode())
        requests = [(nasty.damaged(sent, chance), [f"content-encoding: {coding}"]) for _ in range(100)]
        assert 400 in statuses(live, FORECAST, requests)

    @pytest.mark.parametrize("wait", ["0", "1", "9" * 12, "9" * 13, "9" * 5_000, "-5", "\u0665", "soon", "1.5"])
    def test_a_deadline_of_the_client(self, live: Server, city: World, wait: str) -> None:
        sent = json.dumps(city.document()).encode()
        got = ask(live, post(FORECAST, sent, f"x-envoy-expected-rq-timeout-ms: {wait}"))
        assert got.status in (200, 504)


class TestTransport:
    """How a body can come, or not."""

    def test_more_than_is_allowed(self, live: Server) -> None:
        assert check(ask(live, post(FORECAST, b"", length=MEBIBYTE + 1)), FORECAST) == 413
        pieces = chunked(FORECAST, [b" " * MEBIBYTE, b" "])
        assert check(ask(live, *pieces), FORECAST) == 413

    @pytest.mark.parametrize("sent", [b"", b"{"])
    def test_a_body_that_does_not_come(self, live: Server, sent: bytes) -> None:
        began = time.monotonic()
        assert check(ask(live, post(FORECAST, sent, length=100)), FORECAST) == 408
        assert time.monotonic() - began < 3 * DEADLINE_SECONDS

    def test_a_body_that_dribbles(self, live: Server) -> None:
        """Always a byte more, never the last."""
        with Wire(live) as wire:
            wire.send(post(FORECAST, b"", length=1_000))
            began = time.monotonic()
            while time.monotonic() - began < 1.2 * DEADLINE_SECONDS:
                wire.send(b" ")
                time.sleep(0.1)
            assert check(wire.answer(), FORECAST) == 408

    def test_in_chunks(self, live: Server, city: World) -> None:
        sent = json.dumps(city.document()).encode()
        pieces = chunked(FORECAST, [sent[place : place + 7] for place in range(0, len(sent), 7)])
        assert ask(live, *pieces).status == 200
        assert ask(live, b"".join(pieces)).status == 200

    @pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"f" * 20 + b"\r\n", b"1\r\nab\r\n", b"\0", b"5\n"])
    def test_chunks_that_are_none(self, live: Server, chunk: bytes) -> None:
        head = chunked(FORECAST, [])[0]
        assert check(ask(live, head + chunk + b"0\r\n\r\n"), FORECAST) == 400

    @pytest.mark.parametrize(
        "fields",
        [
            "content-length: 2\r\ncontent-length: 3",
            "content-length: -1",
            "content-length: 2\r\ntransfer-encoding: chunked",
        ],
    )
    def test_lengths_that_contradict(self, live: Server, fields: str) -> None:
        sent = f"POST {FORECAST} HTTP/1.1\r\nhost: here\r\n{fields}\r\n\r\n".encode() + b"{}"
        assert check(ask(live, sent), FORECAST) == 400

    def test_requests_one_after_the_other_without_waiting(self, live: Server, city: World) -> None:
        """Answered in order, good and bad."""
        document = city.document(city.history(1))
        turns = [post(FORECAST, json.dumps(document).encode()), post(PREDICT, b"{"), post("/nowhere", b"[]")] * 20
        with Wire(live) as wire:
            wire.send(b"".join(turns))
            assert [got.status if (got := wire.answer()) else None for _ in turns] == [200, 400, 404] * 20

    def test_a_client_that_says_no_more(self, live: Server) -> None:
        """After the whole request, and within it."""
        with Wire(live) as whole, Wire(live) as part:
            whole.send(post(FORECAST, b"{}"))
            whole.half_close()
            assert check(whole.answer(), FORECAST) == 400
            part.send(post(FORECAST, b"{", length=5))
            part.half_close()
            assert part.answer() is None

    def test_clients_that_leave(self, live: Server, city: World) -> None:
        sent = post(FORECAST, json.dumps(city.document(*city.histories(20))).encode())
        for place in (1, 30, 200, len(sent) // 2, len(sent) - 1, len(sent)):
            for _ in range(10):
                with Wire(live) as wire:
                    wire.send(sent[:place])

    def test_no_http_at_all(self, live: Server) -> None:
        chance = Random(11)
        for turn in range(200):
            with Wire(live) as wire:
                wire.send(chance.randbytes(chance.choice((1, 10, 1_000))) + (b"\r\n\r\n" if turn % 2 else b"\n" * 20))
                wire.half_close()
                got = wire.answer()
                assert got is None or check(got, "/") == 400

    def test_damaged_http(self, live: Server, city: World) -> None:
        """A head with bytes turned and lines doubled; some are another good request, some none."""
        chance, sent = (
            Random(13),
            post(FORECAST, json.dumps(city.document()).encode(), JSON, "x-api-key: a", "expect: 100-continue"),
        )
        head, rest = sent[:150], sent[150:]
        for _ in range(200):
            with Wire(live) as wire:
                wire.send(nasty.damaged(head, chance) + rest)
                wire.half_close()
                got = wire.answer()
                assert got is None or got.status < 500 or got.status == 501, got

    def test_heads_without_an_end(self, live: Server) -> None:
        with Wire(live) as wire:
            sent = 0
            try:
                wire.send(b"GET / HTTP/1.1\r\n")
                for _ in range(1_000):
                    sent += 10_000
                    wire.send(b"a: " + b"a" * 9_995 + b"\r\n")
            except ConnectionError:
                pass
            assert sent < 5 * MEBIBYTE

    @pytest.mark.parametrize(
        "path",
        [
            "/%0d%0aset-cookie:%20x/",
            "/v2/models/a%0d%0aset-cookie%3a%20x/",
            "//evil.example/",
            "/%ff%fe",
            "/..%2f..%2fetc",
            "/v2/models/%00",
        ],
    )
    def test_paths(self, live: Server, path: str) -> None:
        got = ask(live, f"GET {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode())
        assert got.status in (307, 404)
        assert "set-cookie" not in got.headers
        assert got.headers.get("location", "/v2").startswith("/v2")

    def test_many_at_once(self, live: Server, city: World) -> None:
        """More than are answered in time: the others are told to come again."""
        sent = post(FORECAST, json.dumps(city.document(*city.histories(10))).encode())
        wires = [Wire(live) for _ in range(100)]
        for wire in wires:
            wire.send(sent)
        found = [check(wire.answer(), FORECAST) for wire in wires]
        for wire in wires:
            wire.__exit__()
        assert set(found) <= {200, 503}
