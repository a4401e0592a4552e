"""The KServe Time Series API: its shapes, its words for what is wrong, and whatever a client may send."""

from __future__ import annotations

import copy
import json
import math
import re
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data.errors import BentocastError, ModelError, NotFoundError, RequestError
from service import openapi
from service.call import Call
from service.forecasting import Answer
from service.histories import MAX_NAME
from service.protocols import timeseries
from service.protocols.timeseries import Timeseries
from tests.service.junk import JUNK, NUMBERS, TIMES, Document, body, changed, edits
from tests.service.world import World

DOOR = Timeseries()
ASKED: Document = {"name": "a", "series": [1, None, 2.5], "start_timestamp": "2024-05-01T13:00"}


def talk(world: World, sent: bytes) -> bytes:
    """The body of the answer to a body."""
    asked = DOOR.read(Call((), sent), world.served)
    (answer,) = world.served.answer([asked.question])
    return DOOR.write(asked, answer, world.served).body


def answered(world: World, document: object) -> Document:
    """The answer as a client reads it."""
    read: Document = json.loads(talk(world, body(document)))
    return read


def refused(world: World, document: object) -> BentocastError:
    with pytest.raises(BentocastError) as caught:
        answered(world, document)
    return caught.value


class TestShapes:
    """Field by field as KServe 0.16 has them."""

    def test_answer(self, city: World) -> None:
        asked = city.document(city.history(1), quantiles=[0.1, 0.9])
        made = answered(city, asked)
        assert list(made) == ["id", "created_at", "status", "error", "model", "outputs"]
        assert re.fullmatch(r"forecast-[0-9a-f-]{36}", made["id"])
        assert abs(made["created_at"] - time.time()) < 60
        assert (made["status"], made["error"], made["model"]) == ("completed", None, "bentocast")
        (output,) = made["outputs"]
        assert list(output) == ["type", "id", "status", "error", "content"]
        head = {"type": "time_series_forecast", "id": "output-0", "status": "completed", "error": None}
        assert {key: output[key] for key in head} == head
        (content,) = output["content"]
        keys = {"type", "name", "mean_forecast", "frequency", "start_timestamp", "quantiles"}
        assert set(content) == keys
        assert (content["type"], content["name"], content["frequency"]) == ("univariate_time_series", "s02", "1h")
        assert content["start_timestamp"] == "2024-04-30T12:00:00"
        assert list(content["quantiles"]) == ["0.1", "0.9"]
        assert {len(values) for values in (content["mean_forecast"], *content["quantiles"].values())} == {12}

    def test_answer_holds_the_bits_of_training(self, city: World) -> None:
        """JSON's numbers are read back as the same 64 bits."""
        made = answered(city, city.document(*city.histories(7), quantiles=[0.25]))
        expected = city.expected([city.origin(turn % 3, turn) for turn in range(7)])
        contents = [output["content"][0] for output in made["outputs"]]
        assert np.array_equal([content["mean_forecast"] for content in contents], expected.point)
        low = city.forecaster.quantile(expected, 0.25)
        assert np.array_equal([content["quantiles"]["0.25"] for content in contents], low)

    def test_every_answer_has_an_id_of_its_own(self, plain: World) -> None:
        assert answered(plain, plain.document())["id"] != answered(plain, plain.document())["id"]

    def test_only_what_is_needed_need_be_sent(self, plain: World) -> None:
        (series,) = plain.document()["inputs"]
        document = {"inputs": [{key: series[key] for key in ("name", "series", "start_timestamp")}]}
        (output,) = answered(plain, document)["outputs"]
        assert output["content"][0]["frequency"] == "1h"
        assert output["content"][0]["quantiles"] == {}
        assert len(output["content"][0]["mean_forecast"]) == 24

    def test_unknown_fields_are_allowed(self, plain: World) -> None:
        document = plain.document()
        document["metadata"] = {"a": [1]}
        document["inputs"][0]["unit"] = "rides"
        document["options"]["temperature"] = 1
        assert answered(plain, document)["status"] == "completed"

    def test_the_frequency_is_spelled_as_asked(self, plain: World) -> None:
        document = plain.document()
        document["inputs"][0]["frequency"] = "H"
        assert answered(plain, document)["outputs"][0]["content"][0]["frequency"] == "H"

    def test_models(self, city: World) -> None:
        assert timeseries.models(city.served, 3001) == {
            "models": [
                {
                    "name": "bentocast",
                    "version": "7",
                    "frequency": "1h",
                    "horizon": 12,
                    "context_length": 102,
                    "past_covariates": ["rain", "workingday"],
                    "future_covariates": ["temperature", "workingday"],
                    "quantiles": {"min": 0.05, "max": 0.95},
                    "trained_until": "2024-04-30T23:00:00",
                    "bento": "bentocast:abc123",
                    "lineage": {},
                    "trained_from": "2024-03-01T00:00:00",
                    "training_rows": city.forecaster.card.training_rows,
                    "columns": {"timestamp": "hour", "target": "rides"},
                    "step_seconds": 3_600,
                    "grpc_port": 3001,
                }
            ]
        }

    def test_models_says_enough_to_write_a_request(self, city: World) -> None:
        (told,) = timeseries.models(city.served, None)["models"]
        series = {
            "name": "a",
            "series": [1.0] * told["context_length"],
            "start_timestamp": "2024-05-01T00:00",
            "frequency": told["frequency"],
            "past_covariates": {name: [0.0] * told["context_length"] for name in told["past_covariates"]},
            "future_covariates": {name: [0.0] * told["horizon"] for name in told["future_covariates"]},
        }
        options = {"horizon": told["horizon"], "quantiles": list(told["quantiles"].values())}
        assert answered(city, {"model": told["name"], "inputs": [series], "options": options})["status"] == "completed"

    @pytest.mark.parametrize(
        ("err", "kind"),
        [
            (RequestError("m", param="inputs[0]"), "invalid_request_error"),
            (NotFoundError("m", param="inputs[0]"), "invalid_request_error"),
            (ModelError("m", param="inputs[0]"), "server_error"),
            (BentocastError("m", param="inputs[0]"), "server_error"),
        ],
    )
    def test_error(self, err: BentocastError, kind: str) -> None:
        shape = {"error": {"code": err.code, "message": "m", "param": "inputs[0]", "type": kind}}
        assert json.loads(DOOR.error(err)) == shape

    def test_the_request_has_the_fields_of_its_description(self, plain: World) -> None:
        described = openapi.describe(plain.served)["components"]["schemas"]
        assert set(described["ForecastRequest"]["properties"]) == {"model", "inputs", "options"}
        assert described["SeriesInput"]["required"] == ["name", "series", "start_timestamp"]

    def test_a_fault_of_a_number_is_null(self, plain: World) -> None:
        """JSON has no NaN: a client's parser would stop at it."""
        asked = DOOR.read(Call((), body(plain.document(quantiles=[0.5]))), plain.served)
        (answer,) = plain.served.answer([asked.question])
        assert isinstance(answer, Answer)
        answer.mean[0, 0] = answer.quantiles[0, 0, 1] = np.nan
        (content,) = json.loads(DOOR.write(asked, answer, plain.served).body)["outputs"][0]["content"]
        assert content["mean_forecast"][0] is None
        assert content["quantiles"]["0.5"][1] is None


class TestTimes:
    """The wall clock of a timestamp counts, as in training."""

    @pytest.mark.parametrize(
        "text",
        [
            "2024-05-01T13:00",
            "2024-05-01 13:00:00",
            "2024-05-01T13:00:00.000000",
            "2024-05-01T13:00:00Z",
            "2024-05-01T13:00:00+05:30",
            "20240501T13",
            "2024-W18-3T13:00",
        ],
    )
    def test_understood(self, plain: World, text: str) -> None:
        document = plain.document()
        document["inputs"][0]["start_timestamp"] = text
        content = answered(plain, document)["outputs"][0]["content"][0]
        assert content["start_timestamp"] == "2024-05-05T13:00:00"

    @pytest.mark.parametrize(
        "text", ["", "today", "13:00", "2024-02-30", "10000-01-01", "-1-01-01", "1714570000", "\0"]
    )
    def test_not_understood(self, plain: World, text: str) -> None:
        document = plain.document()
        document["inputs"][0]["start_timestamp"] = text
        err = refused(plain, document)
        wanted = "wanted ISO 8601 such as 2024-05-01T13:00"
        assert err.message == f"inputs[0].start_timestamp: got {text!r}, {wanted}"
        assert err.param == "inputs[0].start_timestamp"

    @pytest.mark.parametrize("text", ["1899-12-31T23:59:59", "0001-01-01", "2199-12-30", "9999-12-31T23:59:59"])
    def test_outside_of_what_is_forecast(self, plain: World, text: str) -> None:
        document = plain.document()
        document["inputs"][0]["start_timestamp"] = text
        assert "wanted between 1900-01-01T00:00:00 and 2200-01-01T00:00:00" in refused(plain, document).message


WRONG: dict[str, tuple[bytes, str, str | None]] = {
    "nothing": (b"", "body is empty, wanted JSON", None),
    "no JSON": (b"model=a&x=1", "body: got 'model=a&x=1' at byte 0, wanted JSON: invalid character", None),
    "half": (b'{"inputs": [', "body: the JSON ends too early, after 12 bytes", None),
    "two": (b'{"inputs": []}{}', "body: got '{}' at byte 14, wanted JSON: trailing characters", None),
    "not text": (
        b'{"inputs": [], "model": "\xff"}',
        "body: wanted JSON in UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        None,
    ),
    "UTF-16": (
        '{"inputs": []}'.encode("utf-16"),
        'body: got \'\ufffd\ufffd{\\x00"\\x00i\\x00n\\x00p\\x00u\\x00t\\x00s\\x00"\\x00...',
        None,
    ),
    "deep": (b'{"inputs":' + b"[" * 100_000, "inputs[0]: got a list, wanted an object", "inputs[0]"),
    "null": (b"null", "body: got null, wanted an object", None),
    "a list": (b"[]", "body: got [], wanted an object", None),
    "no inputs": (b"{}", "inputs is missing", "inputs"),
    "inputs twice": (b'{"inputs": [], "inputs": 3}', "inputs: got 3, wanted a list", "inputs"),
    "no series": (b'{"inputs": []}', "inputs is empty, wanted one series or more", "inputs"),
    "no name": (
        body({"inputs": [{"series": [], "start_timestamp": "x"}]}),
        "inputs[0].name is missing",
        "inputs[0].name",
    ),
    "no number": (
        body({"inputs": [ASKED, ASKED | {"series": [1, "many"]}]}),
        "inputs[1].series[1]: got 'many', wanted a number or null",
        "inputs[1].series[1]",
    ),
    "a number as text": (
        body({"inputs": [ASKED | {"series": [1, "2"]}]}),
        "inputs[0].series[1]: got '2', wanted a number or null",
        "inputs[0].series[1]",
    ),
    "NaN": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [1, NaN]}]}',
        "body: got NaN at byte 64, wanted a number, or null where a value is missing",
        None,
    ),
    "beyond 64 bits": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [-1e999]}]}',
        "inputs[0].series[0]: got -inf, wanted a number that 64 bits can hold",
        "inputs[0].series[0]",
    ),
    "infinite covariate": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [], "past_covariates": {"rain": [Infinity]}}]}',
        "body: got Infinity at byte 93, wanted a number, or null where a value is missing",
        None,
    ),
    "a covariate": (
        body({"inputs": [ASKED | {"past_covariates": {"rain": [1, 2], "snow": [1, True]}}]}),
        "inputs[0].past_covariates.snow[1]: got true, wanted a number or null",
        "inputs[0].past_covariates.snow[1]",
    ),
    "another kind": (
        body({"inputs": [ASKED | {"type": "multivariate_time_series"}]}),
        "inputs[0].type: got 'multivariate_time_series', wanted 'univariate_time_series'",
        "inputs[0].type",
    ),
    "half a step": (
        body({"inputs": [], "options": {"horizon": 1.5}}),
        "options.horizon: got 1.5, wanted a whole number or null",
        "options.horizon",
    ),
    "many steps": (
        body({"inputs": [ASKED], "options": {"horizon": 10**6}}),
        "options.horizon: got 1000000, wanted 1 to 24, the steps this model forecasts",
        "options.horizon",
    ),
    "more steps than can be counted": (
        body({"inputs": [ASKED], "options": {"horizon": 10**30}}),
        "options.horizon: got 1000000000000000000000000000000, wanted 1 to 24, the steps this model forecasts",
        "options.horizon",
    ),
    "a level as text": (
        body({"inputs": [ASKED], "options": {"quantiles": ["median"]}}),
        "options.quantiles[0]: got 'median', wanted a number",
        "options.quantiles[0]",
    ),
    "a level out of range": (
        body({"inputs": [ASKED], "options": {"quantiles": [0.99]}}),
        "options.quantiles: got 0.99, wanted 0.05 to 0.95, which is calibrated",
        "options.quantiles",
    ),
    "another model": (
        body({"model": "prophet", "inputs": [ASKED]}),
        "model: got 'prophet', wanted 'bentocast', the model served here",
        "model",
    ),
    "the trees, which know no series": (
        body({"model": "bentocast-rows", "inputs": [ASKED]}),
        "model: got 'bentocast-rows', wanted 'bentocast', the model served here",
        "model",
    ),
    "a model without a name": (
        body({"model": "", "inputs": [ASKED]}),
        "model: got '', wanted 'bentocast', the model served here",
        "model",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("case", WRONG)
    def test_says_where_and_what(self, plain: World, case: str) -> None:
        sent, text, param = WRONG[case]
        with pytest.raises((RequestError, NotFoundError)) as caught:
            talk(plain, sent)
        message = caught.value.message
        assert (message[: len(text) - 3] + "..." if text.endswith("...") else message) == text
        assert caught.value.param == param

    def test_another_model_is_not_found(self, plain: World) -> None:
        assert refused(plain, plain.document() | {"model": ""}).status == 404

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"inputs": [ASKED] * 1_025}, "got 1025 series with 3075 values, wanted at most 1024 series and"),
            (
                {"inputs": [ASKED | {"series": [0] * 4_000_001}]},
                "got 1 series with 4000001 values, wanted at most 1024",
            ),
            (
                {"inputs": [ASKED | {"past_covariates": {str(n): [] for n in range(257)}}]},
                "inputs[0].past_covariates: got {'0': [], '1': [], '2",
            ),
            (
                {"inputs": [ASKED], "options": {"quantiles": [0.5] * 100}},
                "options.quantiles: got 100, wanted at most 99",
            ),
            ({"inputs": [ASKED | {"name": "n" * 257}]}, "inputs[0].name: got 'nnnn"),
            ({"inputs": [ASKED | {"start_timestamp": "2" * 65}]}, "inputs[0].start_timestamp: got '2222"),
            ({"inputs": [ASKED | {"frequency": "1" * 33}]}, "inputs[0].frequency: got '1111"),
            ({"inputs": [ASKED], "model": "m" * 257}, "model: got 'mmmm"),
        ],
    )
    def test_too_much_of_anything(self, plain: World, change: Document, text: str) -> None:
        err = refused(plain, change)
        assert err.message.startswith(text)
        assert "wanted" in err.message
        assert "at most" in err.message

    def test_does_not_send_back_what_was_sent(self, plain: World) -> None:
        """A message, and the path in it, stay short whatever a client puts into keys and values."""
        key = "k" * 100_000
        for series in (
            ASKED | {"past_covariates": {key: [1]}},
            ASKED | {"past_covariates": {key[:200]: [key]}},
            ASKED | {"name": [key] * 100},
            ASKED | {"series": {key: {key: key}}},
            ASKED | {"start_timestamp": key},
        ):
            err = refused(plain, {"inputs": [series]})
            assert len(err.message) < 400
            assert len(err.param or "") < 200

    @pytest.mark.parametrize("token", ["@digits", "@more"])
    def test_does_not_send_back_a_number_of_thousands_of_digits(self, plain: World, token: str) -> None:
        err = refused(plain, {"inputs": [ASKED], "options": {"horizon": token}})
        assert err.message.startswith("options.horizon: ")
        assert len(err.message) < 200


class TestCost:
    """A body within the limit is refused in a memory that its size explains."""

    @pytest.mark.parametrize(
        "sent",
        [
            b'{"inputs":[{"name":"a","start_timestamp":"x","series":[' + b'"a",' * 500_000 + b"1]}]}",
            b'{"inputs":[' + b"[]," * 500_000 + b"1]}",
            b'{"inputs":[{"name":"a","start_timestamp":"x","series":[],"past_covariates":{'
            + b",".join(b'"%d":1' % turn for turn in range(200_000))
            + b"}}]}",
            b'{"inputs":[],"options":{"quantiles":[' + b'"a",' * 500_000 + b"1]}}",
            b'{"inputs":[{"name":"a","start_timestamp":"x","series":[' + b"null," * 500_000 + b'"a"]}]}',
        ],
        ids=["values", "series", "covariates", "quantiles", "last"],
    )
    def test_many_faults_are_not_collected(self, plain: World, sent: bytes) -> None:
        """Half a million faults once took seconds and a gigabyte."""
        tracemalloc.start()
        try:
            with pytest.raises(RequestError):
                DOOR.read(Call((), sent), plain.served)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # A covariate costs its name and an object, whether there is a fault in it or not.
        assert most < (20 if b"past_covariates" in sent else 10) * len(sent)


def outcome(world: World, sent: bytes) -> str:
    """What comes of a body: `answered`, or `refused` in the API's shape; anything else fails the test."""
    try:
        made = talk(world, sent)
    except (RequestError, NotFoundError) as err:
        refusal = DOOR.error(err)
        assert json.loads(refusal)["error"]["type"] == "invalid_request_error"
        assert len(refusal) < 4_000
        return "refused"
    for output in json.loads(made)["outputs"]:
        (content,) = output["content"]
        for values in (content["mean_forecast"], *content["quantiles"].values()):
            assert all(math.isfinite(value) for value in values)
    return "answered"


class TestAnythingAtAll:
    """Nothing that a client sends gives another error than RequestError or NotFoundError, or a number that is none."""

    @settings(max_examples=250, deadline=None)
    @given(sent=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()) | JUNK.map(body))
    @example(sent=b"[" * 5_000)
    @example(sent=b'{"inputs":' * 5_000)
    @example(sent=b'{"inputs":[{"name":"\\ud800","series":[],"start_timestamp":"x"}]}')
    def test_any_bytes(self, plain: World, sent: bytes) -> None:
        assert outcome(plain, sent) == "refused"

    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changes=st.lists(edits(), min_size=1, max_size=3), duplicate=st.booleans())
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_almost_a_request(
        self,
        name: str,
        request: pytest.FixtureRequest,
        changes: list[Callable[[Document], None]],
        *,
        duplicate: bool,
    ) -> None:
        world: World = request.getfixturevalue(name)
        document = copy.deepcopy(world.document(horizon=3, quantiles=[0.1, 0.9]))
        sent = body(changed(document, changes))
        if duplicate:
            sent = sent.replace(b'"series":', b'"series": [1], "series":', 1)
        outcome(world, sent)

    @settings(max_examples=300, deadline=None)
    @given(values=st.lists(NUMBERS, min_size=1, max_size=6), turns=st.integers(1, 40), moment=TIMES)
    def test_any_numbers(self, plain: World, values: list[Any], turns: int, moment: str) -> None:
        document = plain.document(quantiles=[0.05, 0.95])
        document["inputs"][0]["series"] = [0.0] * max(1, 97 - turns * len(values)) + values * turns
        document["inputs"][0]["start_timestamp"] = moment
        outcome(plain, body(document))

    def test_the_fuzz_reaches_both_outcomes(self, city: World) -> None:
        """The document that is changed is a good one, or the tests above would show nothing."""
        document = city.document(horizon=3, quantiles=[0.1, 0.9])
        assert outcome(city, body(document)) == "answered"
        assert outcome(city, body(document | {"inputs": 1})) == "refused"


def test_limits_of_the_door_are_those_of_the_core(plain: World) -> None:
    described = openapi.describe(plain.served)["components"]["schemas"]
    assert described["SeriesInput"]["properties"]["name"]["maxLength"] == MAX_NAME
    assert described["ForecastRequest"]["properties"]["model"]["anyOf"][0]["maxLength"] == MAX_NAME
