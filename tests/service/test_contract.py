"""One contract over all doors: the same question gets the same numbers, the same mistake the same refusal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import BentocastError
from service import rows
from service.call import Call
from service.codes import STATUS
from service.engine import Engine
from service.histories import History, Limits
from service.life import Life
from service.proto import bentoml_pb2
from service.protocols import grpc_bentoml
from service.protocols.inference_http import Infer
from service.protocols.predict import Predict
from service.rows import RowsAnswer, RowsQuestion
from service.served import Served
from tests.service.doors import (
    DOORS,
    ROWS_DOORS,
    Door,
    GrpcForecast,
    GrpcInference,
    OverGrpc,
    OverHttp,
    V2Json,
    Wanted,
    expected,
    same,
    talk,
)
from tests.service.front import Client
from tests.service.junk import JUNK, body
from tests.service.mistakes import MISTAKES
from tests.service.world import World

Floats = NDArray[np.float64]
NAMES = [door.name for door in DOORS]
ROWS_NAMES = [f"{type(door).__name__}" for door in ROWS_DOORS]


def histories(world: World, count: int, back: int, extra: int, steps: int | None) -> list[History]:
    """Histories of one length, each of another series and origin."""
    length = world.forecaster.design.context + extra
    return [world.history(turn % 3, back=back + turn, length=length, steps=steps) for turn in range(count)]


class TestSameNumbers:
    @settings(max_examples=25, deadline=None)
    @given(
        count=st.integers(1, 4),
        back=st.integers(0, 300),
        extra=st.integers(0, 20),
        steps=st.none() | st.integers(1, 12),
        levels=st.lists(st.floats(0.05, 0.95), max_size=4, unique=True).map(sorted),
        holes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 101)), max_size=5),
    )
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_through_every_door(
        self,
        name: str,
        request: pytest.FixtureRequest,
        count: int,
        back: int,
        extra: int,
        steps: int | None,
        levels: list[float],
        holes: list[tuple[int, int]],
    ) -> None:
        world: World = request.getfixturevalue(name)
        wanted = Wanted(histories(world, count, back, extra, steps), steps, levels)
        for series, place in holes:
            if extra or name == "plain":  # else a value at the beginning is missing, which is refused
                wanted.histories[series % count].values[max(place, extra) % 90 + 1] = np.nan
        told = expected(world, wanted)
        for door in DOORS:
            assert same(door.told(talk(door, door.request(wanted), world.served)), told), door.name

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    def test_are_those_of_training(self, city: World, door: Door) -> None:
        """Not only of the core: what was forecast from the panel."""
        told = door.told(talk(door, door.request(Wanted(city.histories(5), levels=(0.1, 0.9))), city.served))
        wanted = city.expected([city.origin(turn % 3, turn) for turn in range(5)])
        assert np.array_equal(told.mean, wanted.point)
        assert np.array_equal(told.quantiles[1], city.forecaster.quantile(wanted, 0.9))

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    @pytest.mark.parametrize("number", [5e-324, 1e-300, 0.1 + 0.2, 2.0**53 + 2, 1e15 + 0.3, 1e22, 1.7976e99, 1e100])
    def test_of_any_size_come_through_whole(self, plain: World, door: Door, number: float) -> None:
        """A number that a door rounds would change the last bits of the answer."""
        history = plain.history()
        history.values[-3:] = [number, -number, number]
        seen = door.read(door.request(Wanted([history])), plain.served).question
        assert np.array_equal(getattr(seen, "target")[0, -3:], history.values[-3:])  # noqa: B009 - a question of either kind

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    def test_of_a_covariate_that_begins_with_a_gap(self, city: World, door: Door) -> None:
        """It is filled as training and batch fill it."""
        whole, holed = city.history(), city.history()
        whole.past_covariates["rain"][:3] = 0.5
        holed.past_covariates["rain"][:3] = [np.nan, np.nan, 0.5]
        told = door.told(talk(door, door.request(Wanted([holed])), city.served))
        assert same(told, expected(city, Wanted([whole])))

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    def test_of_a_level_asked_twice(self, city: World, door: Door) -> None:
        """Where levels go by their place there are as many as were asked; where they go by name, each is there."""
        wanted = Wanted([city.history()], levels=(0.1, 0.1, 0.9))
        told, core = door.told(talk(door, door.request(wanted), city.served)), expected(city, wanted)
        by_name = not isinstance(door, V2Json | GrpcInference | GrpcForecast)
        assert len(told.quantiles) == (2 if by_name else 3)
        assert np.array_equal(told.quantiles, core.quantiles[1:] if by_name else core.quantiles)

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    def test_names_of_any_script(self, plain: World, door: Door) -> None:
        history = replace(plain.history(), name="Zürich \u96ea \U0001f6b2 " + "n" * 240)
        told = door.told(talk(door, door.request(Wanted([history])), plain.served))
        assert told.names in ([], [history.name])

    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    def test_most_that_may_be_asked(self, plain: World, door: Door) -> None:
        limited = replace(plain.served, limits=Limits(series=3, values=3 * 96))
        told = door.told(talk(door, door.request(Wanted(plain.histories(3))), limited))
        assert told.mean.shape == (3, 24)

    def test_of_bentomls_own_api(self, city: World) -> None:
        """What BentoML calls when it is asked behind the front, with the body in memory."""
        wanted = Wanted(city.histories(2), 5, (0.5,))
        worker = city.worker()
        body = city.document(*wanted.histories, horizon=5, quantiles=[0.5])
        made = Life(worker, Client(worker).metrics, None).answer(body)
        assert [output["content"][0]["mean_forecast"] for output in made["outputs"]] == expected(
            city, wanted
        ).mean.tolist()


class TestSameRows:
    """The trees alone."""

    @settings(max_examples=25, deadline=None)
    @given(count=st.integers(1, 30), place=st.integers(0, 2), back=st.integers(0, 200))
    def test_through_every_door(self, city: World, count: int, place: int, back: int) -> None:
        matrix = city.features(city.origin(place, back), city.origin(place, back + 1), city.origin(0))[:count]
        (answer,) = city.served.answer([rows.ask(city.forecaster, matrix)])
        assert isinstance(answer, RowsAnswer)
        for door in ROWS_DOORS:
            point, spread = door.told(talk(door, door.request(matrix), city.served))
            assert np.array_equal(point, answer.values["point"].astype(np.float32)), door.name
            assert spread is None or np.array_equal(spread, answer.values["spread"].astype(np.float32)), door.name

    @pytest.mark.parametrize("door", ROWS_DOORS, ids=ROWS_NAMES)
    def test_of_any_numbers(self, city: World, door: Door) -> None:
        """Missing ones too, and those that 32 bits cannot hold."""
        matrix = city.features(city.origin(0))
        matrix[0, :] = np.nan
        matrix[1, :3] = [3e38, -3e38, 1e-45]
        (answer,) = city.served.answer([rows.ask(city.forecaster, matrix)])
        assert isinstance(answer, RowsAnswer)
        point, _ = door.told(talk(door, door.request(matrix), city.served))
        assert np.array_equal(point, answer.values["point"].astype(np.float32))

    def test_that_32_bits_cannot_hold_are_infinite(self, city: World) -> None:
        """Where numbers come with 64."""
        columns = len(city.forecaster.design.names)
        large = [[1e308, -1e308, *[0.0] * (columns - 2)]]
        with np.errstate(over="ignore"):
            (answer,) = city.served.answer([rows.ask(city.forecaster, np.array(large).astype(np.float32))])
        assert isinstance(answer, RowsAnswer)
        tensor = {"name": "features", "datatype": "FP64", "shape": [1, columns], "data": large}
        for door, sent in ((Predict(), {"instances": large}), (Infer(), {"inputs": [tensor]})):
            asked = door.read(Call((), body(sent), "bentocast-rows"), city.served)
            (same_answer,) = city.served.answer([asked.question])
            assert isinstance(same_answer, RowsAnswer)
            assert np.array_equal(same_answer.values["point"], answer.values["point"])
        array = bentoml_pb2.NDArray(shape=[1, columns], double_values=large[0])
        matrix = grpc_bentoml.read(bentoml_pb2.Request(api_name="rows", ndarray=array), city.served).question
        assert isinstance(matrix, RowsQuestion)
        assert matrix.inputs[0, :2].tolist() == [np.inf, -np.inf]

    @pytest.mark.parametrize("door", ROWS_DOORS, ids=ROWS_NAMES)
    @pytest.mark.parametrize("shape", [(3, -1), (3, 1), (0, 0)])
    def test_of_another_shape_are_refused(self, city: World, door: Door, shape: tuple[int, int]) -> None:
        columns = len(city.forecaster.design.names)
        matrix = np.ones((shape[0], columns + shape[1]), dtype=np.float32)
        with pytest.raises(BentocastError) as caught:
            talk(door, door.request(matrix), city.served)
        status, message = door.error(caught.value)
        assert status == 400
        assert "got shape" in message or "ndarray: got 0 kinds of values" in message
        assert f"wanted [rows, {columns}]" in message or not matrix.size


def refused(door: Door, wanted: Wanted, served: Served) -> BentocastError:
    with pytest.raises(BentocastError) as caught:
        talk(door, door.request(wanted), served)
    return caught.value


class TestSameRefusals:
    @pytest.mark.parametrize("door", DOORS, ids=NAMES)
    @pytest.mark.parametrize("case", MISTAKES)
    def test_by_every_door(self, city: World, door: Door, case: str) -> None:
        mistake = MISTAKES[case]
        if any(word in door.name for word in mistake.not_of):
            return
        served = replace(city.served, limits=Limits(series=2))
        wanted = Wanted([city.history(0), city.history(1)])
        assert np.isfinite(door.told(talk(door, door.request(wanted), served)).mean).all()
        status, message = door.error(refused(door, mistake.change(wanted), served))
        assert status == mistake.status
        assert mistake.core in message
        assert len(message) < 400

    def test_every_mistake_is_one_of_most_doors(self) -> None:
        """What a door cannot be told is the exception."""
        for mistake in MISTAKES.values():
            doors = [door for door in DOORS if not any(word in door.name for word in mistake.not_of)]
            assert len(doors) >= 4

    def test_every_status_has_a_code_of_grpc(self) -> None:
        kinds = [BentocastError]
        statuses = set()
        while kinds:
            kind = kinds.pop()
            statuses.add(kind.status)
            kinds += kind.__subclasses__()
        assert statuses - set(STATUS) <= {500, 405, 408}  # these are HTTP's alone


class TestTransport:
    """Once through the front: the same bytes as from the door, and the status of the error."""

    @pytest.mark.parametrize("door", [door for door in DOORS if isinstance(door, OverHttp)], ids=lambda door: door.name)
    def test_answers(self, city: World, door: OverHttp) -> None:
        wanted = Wanted(city.histories(3), 7, (0.5, 0.9))
        call: Call = door.request(wanted)
        answer = Client.of(city).post(
            door.path.format(model=wanted.model), content=call.body, headers=list(call.headers)
        )
        assert answer.status_code == 200
        reply = talk(door, call, city.served)
        received = reply._replace(
            body=answer.content,
            headers=[(name.lower().encode(), value.encode()) for name, value in answer.headers.items()],
        )
        assert answer.headers["content-type"].encode() == reply.media_type
        assert same(door.told(received), expected(city, wanted))

    @pytest.mark.parametrize("door", [door for door in DOORS if isinstance(door, OverHttp)], ids=lambda door: door.name)
    @pytest.mark.parametrize("case", ["covariate missing", "another model"])
    def test_refusals(self, city: World, door: OverHttp, case: str) -> None:
        wanted = MISTAKES[case].change(Wanted([city.history(0), city.history(1)]))
        call: Call = door.request(wanted)
        answer = Client.of(city).post(
            door.path.format(model=wanted.model), content=call.body, headers=list(call.headers)
        )
        error = refused(door, wanted, city.served)
        assert (answer.status_code, answer.content) == (MISTAKES[case].status, door.door.error(error))

    def test_all_doors_meet_in_one_pass(self, city: World) -> None:
        """The engine takes the questions of all protocols together."""
        wanted = Wanted(city.histories(2), 3, (0.5,))
        asked = [door.read(door.request(wanted), city.served) for door in DOORS]
        engine = Engine(city.served.answer)
        answers = engine._run([each.question for each in asked])
        for door, each, answer in zip(DOORS, asked, answers, strict=True):
            assert same(door.told(door.write(each, answer, city.served)), expected(city, wanted))
        engine.close()


Spoil = Callable[[Any, list[int], Any], Any]


def spoilt(document: Any, way: list[int], junk: Any) -> Any:
    """The document with something else at a place somewhere in it, or with nothing there."""
    if not way or not isinstance(document, dict | list) or not document:
        return copy.deepcopy(junk)
    step, rest = way[0], way[1:]
    key: Any = list(document)[step % len(document)] if isinstance(document, dict) else step % len(document)
    if rest == [0]:
        del document[key]
    else:
        document[key] = spoilt(document[key], rest, junk)
    return document


WAYS = st.lists(st.integers(0, 200), max_size=6)
ODD = JUNK | st.sampled_from(
    [[], {}, "", 0, -1, 2**31, 2**63, 2**64, -(2**63), "FP64", "BYTES", "INT8", [0], [2, 3], "NaN"]
)


LENGTHS = st.none() | st.binary(max_size=5) | st.integers(-5, 99).map(lambda size: str(size).encode())


class TestAnythingAtAll:
    """No door raises anything but our own errors, whatever is put to it; what is let in is answered."""

    def outcome(self, door: Door, request: Any, served: Served) -> str:
        """Fails the test by any other error than ours."""
        try:
            told = talk(door, request, served)
        except BentocastError as err:
            status, message = door.error(err)
            assert status in (400, 404)
            assert len(message) < 600
            return "refused"
        assert told is not None
        return "answered"

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(way=WAYS, junk=ODD, again=st.none() | st.tuples(WAYS, ODD))
    @pytest.mark.parametrize("door", [*DOORS, *ROWS_DOORS], ids=[*NAMES, *ROWS_NAMES])
    def test_almost_a_request(
        self, city: World, door: Door, way: list[int], junk: Any, again: tuple[list[int], Any] | None
    ) -> None:
        wanted: Any = Wanted([city.history(0)], 3, (0.1,)) if door in DOORS else city.features(city.origin(0))[:2]
        request = door.request(wanted)
        document = spoilt(door.document(request), way, junk)
        if again is not None:
            document = spoilt(document, *again)
        made = door.spoilt(document, request)
        if made is not None:
            self.outcome(door, made, city.served)

    @settings(max_examples=80, deadline=None)
    @given(sent=st.binary(max_size=80) | JUNK.map(body), header=LENGTHS)
    @pytest.mark.parametrize(
        "door",
        [door for door in [*DOORS, *ROWS_DOORS] if isinstance(door, OverHttp)],
        ids=lambda door: type(door).__name__,
    )
    def test_any_body(self, city: World, door: OverHttp, sent: bytes, header: bytes | None) -> None:
        headers = () if header is None else ((b"inference-header-content-length", header),)
        assert self.outcome(door, Call(headers, sent, "bentocast"), city.served) == "refused"
        assert self.outcome(door, Call(headers, sent, "bentocast-rows"), city.served) == "refused"

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize(
        "door",
        [door for door in [*DOORS, *ROWS_DOORS] if isinstance(door, OverGrpc)],
        ids=lambda door: type(door).__name__,
    )
    def test_any_bytes_that_are_a_message(self, city: World, door: OverGrpc, data: st.DataObject) -> None:
        wanted: Any = Wanted([city.history(0)], 3, (0.1,)) if door in DOORS else city.features(city.origin(0))[:2]
        sent = bytearray(door.request(wanted).SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(sent)) | st.integers(0, 60))
            sent[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        try:
            request = door.message.FromString(bytes(sent))
        except DecodeError:
            return
        self.outcome(door, request, city.served)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_bytes_of_tensors(self, city: World, data: st.DataObject) -> None:
        """Behind good JSON, anything."""
        (door,) = (door for door in DOORS if door.name == "v2 binary")
        call: Call = door.request(Wanted([city.history(0)], 3, (0.1,)))
        sent = bytearray(call.body)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(sent)))
            sent[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        self.outcome(door, call._replace(body=bytes(sent)), city.served)

    @pytest.mark.parametrize("door", [*DOORS, *ROWS_DOORS], ids=[*NAMES, *ROWS_NAMES])
    def test_the_fuzz_begins_with_a_good_request(self, city: World, door: Door) -> None:
        wanted: Any = Wanted([city.history(0)], 3, (0.1,)) if door in DOORS else city.features(city.origin(0))[:2]
        request = door.request(wanted)
        again = door.spoilt(door.document(request), request)
        assert self.outcome(door, request, city.served) == self.outcome(door, again, city.served) == "answered"
