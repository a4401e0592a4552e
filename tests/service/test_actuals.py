"""What really came: checked whole, and answered when it is kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import BentocastError, RequestError
from service.admission import LARGE_BYTES, SMALLEST_BYTES, OverloadedError
from service.call import Call
from service.proto import forecast_pb2
from service.protocols import actuals, grpc_forecast
from service.protocols.actuals import MAX_ACTUALS, Actual, Actuals
from service.worker import Worker
from tests.service.junk import JUNK, body
from tests.service.world import World

Kept = tuple[list[str], Any, Any]
GOOD = {"series": "s01", "timestamp": "2024-05-01T13:00+02:00", "value": 3.5}


@pytest.fixture
def kept() -> list[Kept]:
    return []


@pytest.fixture
def worker(plain: World, kept: list[Kept]) -> Worker:
    async def put(series: list[str], times: Any, values: Any) -> int:
        kept.append((series, times, values))
        return len(series)

    made = plain.worker()
    made.put_actuals = put
    return made


def over_http(worker: Worker, document: object) -> int:
    reply = asyncio.run(Actuals(worker)(Call((), body(document))))
    accepted: int = json.loads(reply.body)["accepted"]
    return accepted


def over_grpc(worker: Worker, document: Any) -> int:
    request = forecast_pb2.PutActualsRequest()
    for actual in document["actuals"]:
        request.actuals.add(**{key: value for key, value in actual.items() if value is not None})
    (method,) = (method for method in grpc_forecast.SERVICE.methods if method.name == "PutActuals")

    async def ask() -> Any:
        return await method.answer(worker, request, 0, 0.0)

    accepted: int = asyncio.run(ask()).accepted
    return accepted


DOORS: list[Callable[[Worker, Any], int]] = [over_http, over_grpc]


@pytest.mark.parametrize("put", DOORS)
class TestThroughBothDoors:
    def test_what_is_sent_is_kept(self, worker: Worker, kept: list[Kept], put: Callable[[Worker, Any], int]) -> None:
        sent = [GOOD, {"series": "\u96ea", "timestamp": "2024-05-01T14:00:00.0", "value": -2}, GOOD | {"value": None}]
        assert put(worker, {"actuals": sent}) == 3
        ((series, times, values),) = kept
        assert series == ["s01", "\u96ea", "s01"]
        assert times.dtype == np.dtype("datetime64[s]")
        assert times.astype(str).tolist() == ["2024-05-01T13:00:00", "2024-05-01T14:00:00", "2024-05-01T13:00:00"]
        assert np.array_equal(values, [3.5, -2.0, np.nan], equal_nan=True)

    def test_nothing_is_nothing(self, worker: Worker, put: Callable[[Worker, Any], int]) -> None:
        assert put(worker, {"actuals": []}) == 0

    def test_too_many(self, worker: Worker, kept: list[Kept], put: Callable[[Worker, Any], int]) -> None:
        with pytest.raises(RequestError) as caught:
            put(worker, {"actuals": [GOOD] * (MAX_ACTUALS + 1)})
        assert caught.value.message == "actuals: got 100001, wanted at most 100000: send several requests"
        assert not kept

    @pytest.mark.parametrize(
        ("wrong", "core"),
        [
            ({"timestamp": "noon"}, "actuals[1].timestamp: got 'noon', wanted ISO 8601 such as 2024-05-01T13:00"),
            (
                {"timestamp": "1899-12-31"},
                (
                    "actuals[1]: got 3.5 at 1899-12-31T00:00:00, wanted a number between -1e+100 and 1e+100, between "
                    "1900-01-01T00:00:00 and 2200-01-01T00:00:00"
                ),
            ),
            ({"timestamp": "2200-01-02"}, "actuals[1]: got 3.5 at 2200-01-02T00:00:00, wanted a number between"),
            (
                {"timestamp": "2024-05-01T14:00:00.9"},
                "actuals[1].timestamp: got '2024-05-01T14:00:00.9', wanted whole seconds such as 2024-05-01T13:00",
            ),
            ({"value": 1.1e100}, "actuals[1]: got 1.1e+100 at 2024-05-01T13:00:00, wanted a number between"),
            ({"value": -1.1e100}, "actuals[1]: got -1.1e+100 at 2024-05-01T13:00:00, wanted a number between"),
            ({"series": "s" * 257}, "actuals[1].series: got "),
        ],
    )
    def test_wrong_ones_are_named_and_none_is_kept(
        self, worker: Worker, kept: list[Kept], put: Callable[[Worker, Any], int], wrong: dict[str, Any], core: str
    ) -> None:
        with pytest.raises(RequestError) as caught:
            put(worker, {"actuals": [GOOD, GOOD | wrong]})
        assert caught.value.message.startswith(core)
        assert len(caught.value.message) < 400
        assert not kept

    def test_without_a_record_nobody_says_that_it_was_kept(
        self, plain: World, put: Callable[[Worker, Any], int]
    ) -> None:
        with pytest.raises(BentocastError) as caught:
            put(plain.worker(), {"actuals": [GOOD]})
        assert (caught.value.status, caught.value.code) == (503, "record_unavailable")
        assert caught.value.message == "this service keeps no record: set BENTOCAST_RECORD=true to keep one"


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_ones_come_by_grpc_alone(worker: Worker, value: float) -> None:
    with pytest.raises(RequestError, match=r"^actuals\[0\]: got -?inf at 2024-05-01T13:00:00, wanted a number between"):
        over_grpc(worker, {"actuals": [GOOD | {"value": value}]})


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"", "body is empty, wanted JSON"),
        (b"{}", "actuals is missing"),
        (b'{"actuals": [{"series": "a", "value": 1}]}', "actuals[0].timestamp is missing"),
        (b'{"actuals": [{"series": "a", "timestamp": "2024-05-01"}]}', "actuals[0].value is missing"),
        (
            b'{"actuals": [{"series": 1, "timestamp": "2024-05-01", "value": 1}]}',
            "actuals[0].series: got 1, wanted text",
        ),
        (
            b'{"actuals": [{"series": "a", "timestamp": "2024-05-01", "value": "1"}]}',
            "actuals[0].value: got '1', wanted a number or null",
        ),
    ],
)
def test_json_of_another_shape(worker: Worker, sent: bytes, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        asyncio.run(told(worker, sent))
    assert caught.value.message == text


class TestMany:
    """They take as long as many forecasts: they are let in like them, and keep nobody waiting."""

    LARGE = body({"actuals": [GOOD] * 2_000})

    @pytest.fixture
    def threads(self, monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
        """Those in which actual values were checked."""
        found: list[threading.Thread] = []
        check = actuals.check

        def noted(given: list[actuals.Actual]) -> Any:
            found.append(threading.current_thread())
            return check(given)

        monkeypatch.setattr(actuals, "check", noted)
        return found

    def test_are_checked_in_a_thread(self, worker: Worker, kept: list[Kept], threads: list[threading.Thread]) -> None:
        assert len(self.LARGE) > LARGE_BYTES
        for sent in (self.LARGE, body({"actuals": [GOOD]})):
            asyncio.run(told(worker, sent))
        assert [thread is threading.main_thread() for thread in threads] == [False, True]
        assert [len(series) for series, _, _ in kept] == [2_000, 1]

    def test_that_are_wrong_are_named_from_there(self, worker: Worker) -> None:
        sent = body({"actuals": [GOOD] * 2_000 + [GOOD | {"timestamp": "noon"}]})
        with pytest.raises(RequestError, match=r"^actuals\[2000\]\.timestamp: got 'noon'"):
            asyncio.run(told(worker, sent))
        assert worker.admission._threads.waiting_bytes == 0

    def test_say_nothing_of_what_forecasts_cost(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        admission, spent, check = worker.admission, [5.0], actuals.check
        costs = admission._threads.cost, admission._loop.cost

        def slow(given: list[actuals.Actual]) -> Any:
            spent[0] += 0.9
            return check(given)

        monkeypatch.setattr(actuals, "check", slow)
        asyncio.run(told(worker, self.LARGE))
        admission._loop_time, admission._learnt_at = lambda: spent[0], spent[0]
        asyncio.run(told(worker, body({"actuals": [GOOD]})))
        with admission.admitted(SMALLEST_BYTES):
            pass
        admission.check(SMALLEST_BYTES)
        assert (admission._threads.cost, admission._loop.cost) == costs

    @pytest.mark.parametrize("count", [1, 2_000])
    def test_are_refused_where_there_is_too_much_to_do(self, worker: Worker, kept: list[Kept], count: int) -> None:
        for size in (SMALLEST_BYTES, 2 * LARGE_BYTES):
            queue, _ = worker.admission._of(size)
            queue.waiting_bytes = 10**12
        with pytest.raises(OverloadedError, match=" ms of work are waiting"):
            asyncio.run(told(worker, body({"actuals": [GOOD] * count})))
        assert not kept


@settings(deadline=None)
@given(
    sent=JUNK.map(body)
    | st.lists(st.dictionaries(st.sampled_from(["series", "timestamp", "value"]), JUNK)).map(
        lambda some: body({"actuals": some})
    )
)
def test_anything_at_all(plain: World, sent: bytes) -> None:
    worker, accepted = plain.worker(), 0

    async def put(series: list[str], times: Any, values: Any) -> int:
        assert len(series) == times.size == values.size
        assert (np.abs(np.nan_to_num(values)) <= 1e100).all()
        return len(series)

    worker.put_actuals = put
    try:
        accepted = json.loads(asyncio.run(told(worker, sent)))["accepted"]
    except RequestError as err:
        assert len(err.message) < 500  # noqa: PT017 - what is good is accepted
    assert accepted >= 0


def told(worker: Worker, sent: bytes) -> Coroutine[Any, Any, bytes]:
    async def ask() -> bytes:
        return (await Actuals(worker)(Call((), sent))).body

    return ask()


def test_too_many_over_grpc_are_counted_before_they_are_read(plain: World) -> None:
    """Two bytes of a message make one: 4 MiB of them held up everybody for seconds."""
    request = forecast_pb2.PutActualsRequest.FromString(b"\x0a\x00" * (MAX_ACTUALS + 1))
    request.actuals[0].series = "s" * 257
    (method,) = (method for method in grpc_forecast.SERVICE.methods if method.name == "PutActuals")
    with pytest.raises(RequestError) as caught:
        asyncio.run(method.answer(plain.worker(), request, request.ByteSize(), 0.0))  # type: ignore[arg-type]
    assert caught.value.message == "actuals: got 100001, wanted at most 100000: send several requests"


def test_many_over_grpc_are_read_in_a_thread(worker: Worker, kept: list[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    made = grpc_forecast._given

    def given_(request: forecast_pb2.PutActualsRequest) -> list[Actual]:
        threads.append(threading.get_ident())
        return made(request)

    monkeypatch.setattr(grpc_forecast, "_given", given_)
    (method,) = (method for method in grpc_forecast.SERVICE.methods if method.name == "PutActuals")
    request = forecast_pb2.PutActualsRequest()
    request.actuals.add(**GOOD)
    for size in (LARGE_BYTES, LARGE_BYTES + 1):
        asyncio.run(method.answer(worker, request, size, 0.0))  # type: ignore[arg-type]
    assert len(kept) == 2
    assert threads[0] == threading.get_ident() != threads[1]
