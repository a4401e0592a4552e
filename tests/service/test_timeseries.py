"""The KServe Time Series API: its shapes, its words for what is wrong, and whatever a client may send."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data.errors import BentocastError, ModelError, NotFoundError, RequestError
from service import forecasting, openapi, timeseries

if TYPE_CHECKING:
    from tests.service.conftest import World

Document = dict[str, Any]
ASKED: Document = {"name": "a", "series": [1, None, 2.5], "start_timestamp": "2024-05-01T13:00"}
#: Stands in a document for text that Python's own writer of JSON cannot produce.
RAW = {"@1e400": "1e400", "@-1e309": "-1e309", "@digits": "9" * 4_200, "@lone": '"\\ud800"', "@more": "9" * 6_000}


def body(document: object) -> bytes:
    text = json.dumps(document, ensure_ascii=False)
    for token, raw in RAW.items():
        text = text.replace(f'"{token}"', raw)
    return text.encode("utf-8", "surrogatepass")


def answered(world: World, document: object) -> Document:
    """The answer as a client reads it."""
    made = timeseries.answer(timeseries.parse(body(document)), world.forecaster, "bentocast")
    read: Document = json.loads(json.dumps(made, allow_nan=False))
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
        keys = ["type", "name", "mean_forecast", "frequency", "start_timestamp", "quantiles"]
        assert list(content) == keys
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
        assert timeseries.models(city.forecaster, "bentocast", "7") == {
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
                }
            ]
        }

    def test_models_says_enough_to_write_a_request(self, city: World) -> None:
        (told,) = timeseries.models(city.forecaster, "bentocast", "7")["models"]
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
        assert timeseries.error(err) == shape

    def test_the_request_has_the_fields_of_its_description(self) -> None:
        described = openapi.describe("1")["components"]["schemas"]
        assert list(described["ForecastRequest"]["properties"]) == ["model", "inputs", "options"]
        assert described["SeriesInput"]["required"] == ["name", "series", "start_timestamp"]


class TestTimes:
    """The wall clock of a timestamp counts, as in training."""

    @pytest.mark.parametrize(
        "text",
        [
            "2024-05-01T13:00",
            "2024-05-01 13:00:00",
            "2024-05-01T13:00:00.999999",
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
    "nothing": (b"", "body: invalid JSON: EOF while parsing a value at line 1 column 0", None),
    "no JSON": (b"model=a&x=1", "body: invalid JSON: expected value at line 1 column 1", None),
    "half": (b'{"inputs": [', "body: invalid JSON: EOF while parsing a list at line 1 column 12", None),
    "two": (b"{}{}", "body: invalid JSON: trailing characters at line 1 column 3", None),
    "not text": (b'"\xff"', "body: invalid JSON: invalid unicode code point at line 1 column 2", None),
    "UTF-16": ('{"inputs": []}'.encode("utf-16"), "body: invalid JSON: expected value at line 1 column 1", None),
    "deep": (b"[" * 100_000, "body: invalid JSON: recursion limit exceeded at line 1 column 202", None),
    "null": (b"null", "body: input should be an object", None),
    "a list": (b"[]", "body: input should be an object", None),
    "no inputs": (b"{}", "inputs: field required", "inputs"),
    "inputs twice": (b'{"inputs": [], "inputs": 3}', "inputs: got 3, input should be a valid array", "inputs"),
    "no series": (b'{"inputs": []}', "inputs is empty, wanted one series or more", "inputs"),
    "no name": (
        body({"inputs": [{"series": [], "start_timestamp": "x"}]}),
        "inputs[0].name: field required",
        "inputs[0].name",
    ),
    "no number": (
        body({"inputs": [ASKED, ASKED | {"series": [1, "many"]}]}),
        "inputs[1].series[1]: got 'many', input should be a valid number, unable to parse string as a number",
        "inputs[1].series[1]",
    ),
    "NaN": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [1, NaN]}]}',
        "inputs[0].series[1]: got nan, input should be a finite number",
        "inputs[0].series[1]",
    ),
    "beyond 64 bits": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [-1e999]}]}',
        "inputs[0].series[0]: got -inf, input should be a finite number",
        "inputs[0].series[0]",
    ),
    "infinite covariate": (
        b'{"inputs": [{"name": "a", "start_timestamp": "x", "series": [], "past_covariates": {"rain": [Infinity]}}]}',
        "inputs[0].past_covariates.rain[0]: got inf, input should be a finite number",
        "inputs[0].past_covariates.rain[0]",
    ),
    "another kind": (
        body({"inputs": [ASKED | {"type": "multivariate_time_series"}]}),
        "inputs[0].type: got 'multivariate_time_series', input should be 'univariate_time_series'",
        "inputs[0].type",
    ),
    "half a step": (
        body({"inputs": [], "options": {"horizon": 1.5}}),
        "options.horizon: got 1.5, input should be a valid integer, got a number with a fractional part",
        "options.horizon",
    ),
    "many steps": (
        body({"inputs": [ASKED], "options": {"horizon": 10**6}}),
        "options.horizon: got 1000000, wanted 1 to 24, the steps this model forecasts",
        "options.horizon",
    ),
    "more steps than can be counted": (
        body({"inputs": [ASKED], "options": {"horizon": 10**18}}),
        "options.horizon: got 1000000000000000000, input should be less than or equal to 1000000",
        "options.horizon",
    ),
    "a level as text": (
        body({"inputs": [ASKED], "options": {"quantiles": ["median"]}}),
        "options.quantiles[0]: got 'median', input should be a valid number, unable to parse string as a number",
        "options.quantiles[0]",
    ),
    "a level out of range": (
        body({"inputs": [ASKED], "options": {"quantiles": [0.99]}}),
        "quantile 0.99 is outside what was calibrated, wanted 0.05 to 0.95",
        "options.quantiles",
    ),
    "another model": (
        body({"model": "prophet", "inputs": [ASKED]}),
        "model: got 'prophet', wanted 'bentocast', the model served here",
        "model",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("case", WRONG)
    def test_says_where_and_what(self, plain: World, case: str) -> None:
        sent, text, param = WRONG[case]
        with pytest.raises((RequestError, NotFoundError)) as caught:
            timeseries.answer(timeseries.parse(sent), plain.forecaster, "bentocast")
        assert (caught.value.message, caught.value.param) == (text, param)

    def test_another_model_is_not_found(self, plain: World) -> None:
        assert refused(plain, plain.document() | {"model": ""}).status == 404

    @pytest.mark.parametrize(
        ("change", "most"),
        [
            ({"inputs": [ASKED] * 1_025}, "inputs: got "),
            ({"inputs": [ASKED | {"series": [0] * 4_000_001}]}, "inputs[0].series: got [0, 0, 0, 0, 0, 0, ...], "),
            (
                {"inputs": [ASKED | {"past_covariates": {str(n): [] for n in range(257)}}]},
                "inputs[0].past_covariates: ",
            ),
            ({"inputs": [ASKED], "options": {"quantiles": [0.5] * 100}}, "options.quantiles: got "),
            ({"inputs": [ASKED | {"name": "n" * 257}]}, "inputs[0].name: got 'nnnn"),
            ({"inputs": [ASKED | {"start_timestamp": "2" * 65}]}, "inputs[0].start_timestamp: got '2222"),
            ({"inputs": [ASKED | {"frequency": "1" * 33}]}, "inputs[0].frequency: got '1111"),
            ({"inputs": [ASKED], "model": "m" * 257}, "model: got 'mmmm"),
        ],
    )
    def test_too_much_of_anything(self, plain: World, change: Document, most: str) -> None:
        err = refused(plain, change)
        assert err.message.startswith(most)
        assert "should have at most" in err.message

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

    def test_does_not_send_back_a_number_of_four_thousand_digits(self, plain: World) -> None:
        err = refused(plain, {"inputs": [ASKED], "options": {"horizon": "@digits"}})
        assert len(err.message) < 200


class TestCost:
    """A body within the limit is refused in a time and memory that its size explains."""

    @pytest.mark.parametrize(
        "sent",
        [
            b'{"inputs":[{"name":"a","start_timestamp":"x","series":[' + b'"a",' * 500_000 + b"1]}]}",
            b'{"inputs":[' + b"[]," * 500_000 + b"1]}",
            b'{"inputs":[{"name":"a","start_timestamp":"x","series":[],"past_covariates":{'
            + b",".join(b'"%d":1' % turn for turn in range(200_000))
            + b"}}]}",
            b'{"inputs":[],"options":{"quantiles":[' + b'"a",' * 500_000 + b"1]}}",
        ],
        ids=["values", "series", "covariates", "quantiles"],
    )
    def test_many_faults_are_not_collected(self, sent: bytes) -> None:
        """Half a million faults once took seconds and a gigabyte."""
        with pytest.raises(RequestError) as caught:
            timeseries.parse(sent)
        assert caught.value.__cause__ is not None
        faults = caught.value.__cause__
        assert getattr(faults, "error_count")() == 1  # noqa: B009


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*RAW, 1e308, -1e308, 1e100, 5e-324, 2**63, 10**30, "NaN", "1h", "inf", "2024-05-01"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.text(max_size=30) | st.sampled_from(
    [
        "1899-12-31T23:00",
        "1900-01-01",
        "2199-12-30",
        "9999-12-31T23:59",
        "10000-01-01",
        "0001-01-01",
        "2024-02-30",
        "2024-05-01T13:00+02:00",
        "2024-05-01T13:00:00.123456Z",
        "2024-W10-2",
        "2024-05-01T24:00",
        "\u0662\u0660\u0662\u0664-05-01",
        "2024-05-01T13:00-23:59",
        "2024-05-01T13:00+24:00",
        "1e9",
        "2016-12-31T23:59:60Z",
    ]
)
NUMBERS = (
    st.none()
    | st.floats(-1e100, 1e100)
    | st.floats(0, 1e4)
    | st.sampled_from([0, -0.0, 1, 1e100, -1e100, 1e38, 1e39, 5e-324, 1e-300, 2**53 + 1, True, "3.5"])
)
VALUES = st.lists(NUMBERS, max_size=8).flatmap(
    lambda some: st.sampled_from([some, (some or [0]) * 103, [0, *(some or [1]) * 103]])
)
EDITS: list[Callable[[Document, Any], None]] = [
    lambda document, junk: document.update(inputs=junk),
    lambda document, junk: document.update(options=junk),
    lambda document, junk: document.update(model=junk),
    lambda document, junk: document["inputs"].append(junk),
    lambda document, junk: document["inputs"].insert(0, junk),
    lambda document, junk: document["options"].update(horizon=junk),
    lambda document, junk: document["options"].update(quantiles=junk),
    lambda document, junk: document["options"].update(quantiles=[0.5, junk]),
]
FIELDS = ["type", "name", "series", "start_timestamp", "frequency", "past_covariates", "future_covariates"]
COVARIATES = ["temperature", "workingday", "rain"]


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Document], None]:
    """One thing that a client gets wrong, or an odd thing that is right."""
    kind = draw(st.integers(0, 6))
    junk, values, moment = draw(JUNK), draw(VALUES), draw(TIMES)
    field, covariate = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(COVARIATES))
    edit, place = draw(st.sampled_from(EDITS)), draw(st.integers(0, 102))
    key = draw(st.sampled_from(["past_covariates", "future_covariates"]))

    def apply(document: Document) -> None:
        series = document["inputs"][0]
        match kind:
            case 0:
                edit(document, junk)
            case 1:
                series[field] = junk
            case 2:
                series.pop(field, None)
            case 3:
                series["start_timestamp"] = moment
            case 4:
                series["series"] = values
            case 5:
                series["series"][place % len(series["series"])] = junk
            case _:
                series.setdefault(key, {})[covariate] = values or junk

    return apply


def outcome(world: World, sent: bytes) -> str:
    """What comes of a body: `answered`, or `refused` in the API's shape; anything else fails the test."""
    refusal: Document = {}
    try:
        made = timeseries.answer(timeseries.parse(sent), world.forecaster, "bentocast")
    except (RequestError, NotFoundError) as err:
        refusal = timeseries.error(err)
    if refusal:
        assert refusal["error"]["type"] == "invalid_request_error"
        assert len(json.dumps(refusal, ensure_ascii=False, allow_nan=False).encode()) < 4_000
        return "refused"
    json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
    for output in made["outputs"]:
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
        for change in changes:
            try:
                change(document)
            except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError):
                break  # an earlier change took away what this one works on
        sent = body(document)
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


def test_limits_of_the_adapter_are_those_of_the_core() -> None:
    described = openapi.describe("1")["components"]["schemas"]
    assert described["ForecastRequest"]["properties"]["inputs"]["maxItems"] == forecasting.MAX_SERIES
    assert described["SeriesInput"]["properties"]["series"]["maxItems"] == forecasting.MAX_VALUES
    assert described["Options"]["properties"]["quantiles"]["maxItems"] == forecasting.MAX_QUANTILES
