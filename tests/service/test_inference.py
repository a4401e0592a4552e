"""The Open Inference Protocol: datatypes, outputs that are chosen, parameters, and what does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data.errors import BentocastError, NotFoundError, RequestError
from service.call import Call, Reply
from service.histories import Question
from service.proto import inference_pb2
from service.protocols import grpc_inference, inference
from service.protocols.inference_http import HEADER_LENGTH, Infer
from service.protocols.tensors import NUMERIC, Tensor
from tests.service.doors import GrpcInference, GrpcInferenceContents, V2Binary, V2Json, Wanted, binary_tensors, talk
from tests.service.world import World

DOOR = Infer()
Document = dict[str, Any]


def document(world: World) -> Document:
    """A request for one series."""
    made: Document = json.loads(V2Json().request(Wanted([world.history(0)], levels=(0.1, 0.9))).body)
    return made


def named(document: Document, name: str) -> Document:
    (found,) = (tensor for tensor in document["inputs"] if tensor["name"] == name)
    made: Document = found
    return made


def call(document: Document, model: str = "bentocast") -> Call:
    return Call((), json.dumps(document).encode(), model)


def refused(world: World, sent: Call) -> BentocastError:
    with pytest.raises(BentocastError) as caught:
        DOOR.read(sent, world.served)
    return caught.value


class TestInputs:
    @pytest.mark.parametrize("datatype", sorted(NUMERIC))
    def test_numbers_of_every_datatype(self, city: World, datatype: str) -> None:
        """Rides are small whole numbers: each datatype holds some of them."""
        whole = np.clip(city.history(0).values, 0, 1 if datatype == "BOOL" else 100)
        history = city.history(0)
        history.values[:] = whole
        wanted = city.answer(history)
        request = V2Binary().request(Wanted([history]))
        length = int(dict(request.headers)[HEADER_LENGTH])
        shown, raw = json.loads(request.body[:length]), request.body[length:]
        series = named(shown, "series")
        cut = series["parameters"]["binary_data_size"]
        part = whole.astype(NUMERIC[datatype]).tobytes()
        series["datatype"], series["parameters"]["binary_data_size"] = datatype, len(part)
        text = json.dumps(shown).encode()
        sent = Call(((HEADER_LENGTH, str(len(text)).encode()),), text + part + raw[cut:], "bentocast")
        asked = DOOR.read(sent, city.served)
        assert isinstance(asked.question, Question)
        assert np.array_equal(asked.question.target[0], whole)
        (answer,) = city.served.answer([asked.question])
        assert np.array_equal(getattr(answer, "mean"), wanted.mean)  # noqa: B009 - an answer of either kind

    @pytest.mark.parametrize("datatype", ["FP32", "INT32", "UINT8"])
    def test_numbers_in_json(self, city: World, datatype: str) -> None:
        sent = document(city)
        named(sent, "series")["datatype"] = datatype
        asked = DOOR.read(call(sent), city.served)
        assert isinstance(asked.question, Question)
        assert np.array_equal(asked.question.target[0], city.history(0).values)

    def test_a_matrix_may_be_nested(self, city: World) -> None:
        sent = json.loads(V2Json().request(Wanted(city.histories(3))).body)
        for tensor in sent["inputs"]:
            if len(tensor["shape"]) == 2:
                tensor["data"] = np.array(tensor["data"]).reshape(tensor["shape"]).tolist()
        asked = DOOR.read(call(sent), city.served)
        assert isinstance(asked.question, Question)
        assert np.array_equal(asked.question.target, city.ask(*city.histories(3)).target)

    def test_one_series_may_be_a_row(self, city: World) -> None:
        sent = document(city)
        for tensor in sent["inputs"]:
            tensor["shape"] = tensor["shape"][-1:]
        asked = DOOR.read(call(sent), city.served)
        assert isinstance(asked.question, Question)
        assert asked.question.names == ("s01",)

    def test_only_what_is_needed_need_be_sent(self, plain: World) -> None:
        history = plain.history(0)
        sent = document(plain)
        sent["inputs"] = [tensor for tensor in sent["inputs"] if tensor["name"] in ("series", "start_timestamp")]
        asked = DOOR.read(call(sent), plain.served)
        assert isinstance(asked.question, Question)
        assert (asked.question.names, asked.question.levels) == (("series-0",), ())
        assert asked.question.starts[0] == history.start

    @pytest.mark.parametrize("datatype", ["INT64", "INT32", "FP64", "UINT32"])
    def test_times_may_be_seconds_since_1970(self, city: World, datatype: str) -> None:
        sent = document(city)
        seconds = int(city.history(0).start.astype(np.int64))
        named(sent, "start_timestamp").update(datatype=datatype, data=[seconds])
        asked = DOOR.read(call(sent), city.served)
        assert isinstance(asked.question, Question)
        assert asked.question.starts[0] == city.history(0).start

    @pytest.mark.parametrize("seconds", [-(10**18), 10**18, 2**63, -1e300, 1e11])
    def test_times_out_of_reach_are_refused(self, city: World, seconds: float) -> None:
        sent = document(city)
        named(sent, "start_timestamp").update(datatype="FP64", data=[seconds])
        assert "wanted between 1900-01-01T00:00:00 and 2200-01-01T00:00:00" in refused(city, call(sent)).message

    def test_a_time_that_is_no_number(self, city: World) -> None:
        sent = document(city)
        named(sent, "start_timestamp").update(datatype="FP64", data=[None])
        assert "wanted between 1900-01-01T00:00:00 and 2200-01-01T00:00:00" in refused(city, call(sent)).message


def change(name: str, **fields: Any) -> Callable[[Document], None]:
    return lambda sent: named(sent, name).update(fields)


def without(name: str) -> Callable[[Document], None]:
    return lambda sent: sent["inputs"].remove(named(sent, name))


def add(**tensor: Any) -> Callable[[Document], None]:
    return lambda sent: sent["inputs"].append(tensor)


WRONG: dict[str, tuple[Callable[[Document], Any], str]] = {
    "no series": (without("series"), "inputs: tensor 'series' is missing, got ['future_covariates.temperature', 'fu"),
    "no time": (without("start_timestamp"), "inputs: tensor 'start_timestamp' is missing, got ["),
    "a name twice": (
        add(name="series", datatype="FP64", shape=[1], data=[1]),
        "inputs: got 9 tensors, wanted each name",
    ),
    "an unknown tensor": (
        add(name="prices", datatype="FP64", shape=[1], data=[1]),
        "inputs: unknown tensor 'prices', wanted series, start_timestamp, name, quantiles, past_covariates.<name>",
    ),
    "two times": (
        change("start_timestamp", shape=[2], data=["2024-01-01", "2024-01-02"]),
        "start_timestamp: got 2, wanted 1, one for each series",
    ),
    "two names": (
        change("name", shape=[2], data=["a", "b"]),
        "name: got 2, wanted 1, each of at most 256 characters",
    ),
    "names that are numbers": (change("name", datatype="INT8", data=[1]), "'name': got datatype INT8, wanted BYTES"),
    "numbers that are text": (
        change("series", datatype="BYTES", shape=[1], data=["a"]),
        "'series': got datatype BYTES, wanted numbers (FP64)",
    ),
    "text in numbers": (
        change("series", shape=[1, 1], data=["a"]),
        "'series': data[0]: got 'a', wanted a number or null",
    ),
    "text in a nested row": (
        change("series", shape=[2, 1], data=[[1], ["a"]]),
        "'series': data[1][0]: got 'a', wanted a number or null",
    ),
    "a number in text": (
        change("start_timestamp", data=[1]),
        "'start_timestamp': data[0]: got 1, wanted text",
    ),
    "data that is no list": (change("series", data=3), "'series': data: got 3, wanted a list"),
    "data that is null": (change("series", data=None), "'series': data: got null, wanted a list"),
    "too few": (change("series", data=[1, 2]), "'series': got 2 elements, wanted 102 for shape [1, 102]"),
    "too few rows": (
        change("series", shape=[2, 2], data=[[1, 2]]),
        "'series': data: got 1 rows, wanted 2 for shape [2, 2]",
    ),
    "rows of other lengths": (
        change("series", shape=[2, 2], data=[[1, 2, 3], [4]]),
        "'series': data[0]: got 3 elements, wanted 2 for shape [2, 2]",
    ),
    "a last row that is longer": (
        change("series", shape=[2, 2], data=[[1, 2], [3, 4, 5]]),
        "'series': data[1]: got 3 elements, wanted 2 for shape [2, 2]",
    ),
    "rows of text of other lengths": (
        change("name", shape=[2, 1], data=[["a", "b"], []]),
        "'name': data[0]: got 2 elements, wanted 1 for shape [2, 1]",
    ),
    "rows of no matrix": (
        change("series", shape=[102], data=[[0.0] * 102]),
        "'series': data: got rows, wanted a flat list for shape [102], or a shape of two",
    ),
    "a flag among numbers": (
        change("series", datatype="UINT8", shape=[1, 2], data=[1, True]),
        "'series': data[1]: got true, wanted a number or null",
    ),
    "a fraction of an integer": (
        change("series", datatype="UINT8", shape=[1, 2], data=[1, 3.7]),
        "'series': element 1: got 3.7000000000000002, wanted UINT8, a whole number from 0 to 255",
    ),
    "an integer too large": (
        change("series", datatype="INT8", shape=[1, 2], data=[[None, 300]]),
        "'series': element 1: got 300, wanted INT8, a whole number from -128 to 127",
    ),
    "a time in 32 bits": (
        change("start_timestamp", datatype="FP32", data=[1714568400]),
        "start_timestamp: got datatype FP32, which holds no seconds since 1970, wanted BYTES (ISO 8601), INT64 or FP64",
    ),
    "a time in 16 bits": (
        change("start_timestamp", datatype="FP16", data=[1]),
        "start_timestamp: got datatype FP16, which",
    ),
    "a time that is a flag": (
        change("start_timestamp", datatype="BOOL", data=[True]),
        "start_timestamp: got datatype BOOL, which",
    ),
    "a time with a fraction": (
        change("start_timestamp", datatype="FP64", data=[1714568400.5]),
        "start_timestamp[0]: got 1714568400.5, wanted whole seconds since 1970",
    ),
    "another kind": (change("series", datatype="FP8"), "'series': datatype: got 'FP8', wanted one of BOOL, UINT8,"),
    "many dimensions": (
        change("series", shape=[1, 1, 1, 102]),
        "'series': shape: got [1, 1, 1, 102], wanted 1 to 3 dimensions and at most 4000000 elements",
    ),
    "three dimensions": (change("series", shape=[1, 1, 102]), "series: got shape [1, 1, 102], wanted [series, values]"),
    "a negative one": (change("series", shape=[1, -102]), "'series': shape: got [1, -102], wanted 1 to 3 dimensions"),
    "huge": (
        change("series", shape=[2**40, 2**40]),
        "'series': shape: got [1099511627776, 1099511627776], wanted 1 to",
    ),
    "covariates of other series": (
        change("past_covariates.rain", shape=[2, 51]),
        "'past_covariates.rain': got shape [2, 51], wanted [1, values]",
    ),
    "a shape that is text": (change("series", shape=["a"]), "inputs[6].shape[0]: got 'a', wanted a whole number"),
    "no shape": (lambda sent: named(sent, "series").pop("shape"), "inputs[6].shape is missing"),
    "an unknown output": (
        lambda sent: sent.update(outputs=[{"name": "median"}]),
        "outputs: got 'median', wanted mean, quantiles, start_timestamp",
    ),
    "half a horizon": (
        lambda sent: sent.update(parameters={"horizon": 1.5}),
        "parameters.horizon: got 1.5, wanted a whole number",
    ),
    "a horizon that is true": (
        lambda sent: sent.update(parameters={"horizon": True}),
        "parameters.horizon: got true, wanted a whole number",
    ),
    "a level that is none": (
        change("quantiles", data=[0.5, None]),
        "options.quantiles: got nan, wanted 0.05 to 0.95, which is calibrated",
    ),
    "a time in words": (
        change("start_timestamp", data=["noon"]),
        "start_timestamp[0]: got 'noon', wanted ISO 8601 such as 2024-05-01T13:00",
    ),
    "bytes that are not there": (
        change("name", parameters={"binary_data_size": 4}, data=["a"]),
        "'name': got binary_data_size 4, wanted a number of bytes, and no data beside it",
    ),
    "no data at all": (
        lambda sent: named(sent, "name").pop("data"),
        "'name': data is missing, wanted numbers or binary_data_size",
    ),
    "a number 64 bits cannot hold": (
        change("series", shape=[1], data=[10**400]),
        "'series': data[0]: got 10000000000000000000000000000000000000000000000000000000...",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("case", WRONG)
    def test_says_where_and_what(self, city: World, case: str) -> None:
        spoil, text = WRONG[case]
        sent = document(city)
        sent["inputs"].sort(key=lambda tensor: str(tensor["name"]))
        spoil(sent)
        err = refused(city, call(sent))
        assert isinstance(err, RequestError)
        assert err.message.startswith(text.removesuffix("..."))

    def test_of_too_many_tensors(self, city: World) -> None:
        tensors = [Tensor(f"past_covariates.{n}", "FP64", (1, 1), np.zeros((1, 1))) for n in range(601)]
        with pytest.raises(RequestError, match=r"^inputs: got 601 tensors, wanted each name once, at most 600$"):
            inference.read(city.served, "bentocast", tensors, {}, [])

    def test_of_more_series_than_are_answered_at_once(self, plain: World) -> None:
        tensors = [Tensor("series", "FP64", (1_025, 1), np.zeros((1_025, 1)))]
        with pytest.raises(RequestError, match=r"^series: got 1025, wanted at most 1024: send several requests$"):
            inference.read(plain.served, "bentocast", tensors, {}, [])

    @pytest.mark.parametrize(("model", "version"), [("prophet", None), ("bentocast", "8"), ("", None)])
    def test_of_another_model(self, city: World, model: str, version: str | None) -> None:
        assert isinstance(refused(city, Call((), b'{"inputs":[]}', model, version)), NotFoundError)

    @pytest.mark.parametrize(
        "length", [b"", b"-1", b"x", b"1e2", b"9999999", b"9" * 5_000, b"\xff", b" 5", b"+5", "²".encode()]
    )
    def test_of_a_length_of_json_that_is_none(self, city: World, length: bytes) -> None:
        body = V2Json().request(Wanted([city.history(0)])).body
        err = refused(city, Call(((HEADER_LENGTH, length),), body, "bentocast"))
        assert err.message.startswith("Inference-Header-Content-Length: got '")
        assert err.message.endswith(f", wanted the number of bytes of JSON, 0 to {len(body)}, the length of the body")
        assert len(err.message) < 220

    def test_of_bytes_that_no_tensor_takes(self, city: World) -> None:
        request = V2Binary().request(Wanted([city.history(0)]))
        raw = len(request.body) - int(dict(request.headers)[HEADER_LENGTH])
        for more, text in (
            (b"\0\0\0", f"body: got {raw + 3} bytes of tensors, wanted {raw}, the sum of binary_data_size"),
            (None, "'future_covariates.workingday': got 95 bytes, wanted binary_data_size 96"),
        ):
            body = request.body[:-1] if more is None else request.body + more
            assert refused(city, request._replace(body=body)).message == text

    @pytest.mark.parametrize("size", [True, -1, 1.5, "8", None, [8]])
    def test_of_a_number_of_bytes_that_is_none(self, city: World, size: Any) -> None:
        sent = document(city)
        named(sent, "series")["parameters"] = {"binary_data_size": size}
        if size is None:
            DOOR.read(call(sent), city.served)  # as good as left out
            return
        assert "wanted a number of bytes, and no data beside it" in refused(city, call(sent)).message


class TestOutputs:
    def answered(self, world: World, sent: Document) -> Document:
        asked = DOOR.read(call(sent), world.served)
        (answer,) = world.served.answer([asked.question])
        read: Document = json.loads(DOOR.write(asked, answer, world.served).body)
        return read

    def test_shape_of_an_answer(self, city: World) -> None:
        made = self.answered(city, document(city) | {"id": "42"})
        assert list(made) == ["model_name", "model_version", "outputs", "id"]
        assert (made["model_name"], made["model_version"], made["id"]) == ("bentocast", "7", "42")
        shapes = [(output["name"], output["datatype"], output["shape"]) for output in made["outputs"]]
        assert shapes == [
            ("mean", "FP64", [1, 12]),
            ("quantiles", "FP64", [1, 2, 12]),
            ("start_timestamp", "BYTES", [1]),
        ]
        assert made["outputs"][2]["data"] == ["2024-04-30T12:00:00"]

    def test_without_levels_there_are_no_quantiles(self, city: World) -> None:
        sent = document(city)
        sent["inputs"].remove(named(sent, "quantiles"))
        assert [output["name"] for output in self.answered(city, sent)["outputs"]] == ["mean", "start_timestamp"]

    def test_those_that_are_named_come_in_that_order(self, city: World) -> None:
        sent = document(city) | {"outputs": [{"name": "quantiles"}, {"name": "mean"}]}
        assert [output["name"] for output in self.answered(city, sent)["outputs"]] == ["quantiles", "mean"]

    def test_each_may_come_as_json_or_bytes(self, city: World) -> None:
        sent = document(city)
        sent["parameters"] = {"binary_data_output": True}
        sent["outputs"] = [
            {"name": "mean", "parameters": {"binary_data": True}},
            {"name": "quantiles"},
            {"name": "start_timestamp", "parameters": {"binary_data": False}},
        ]
        asked = DOOR.read(call(sent), city.served)
        (answer,) = city.served.answer([asked.question])
        reply = DOOR.write(asked, answer, city.served)
        assert reply.media_type == b"application/octet-stream"
        length = int(dict(reply.headers)[HEADER_LENGTH])
        mean, quantiles, start = json.loads(reply.body[:length])["outputs"]
        assert (mean["parameters"], quantiles["parameters"]) == ({"binary_data_size": 96}, {"binary_data_size": 192})
        assert start["data"] == ["2024-04-30T12:00:00"]
        assert len(reply.body) == length + 96 + 192

    def test_all_bytes_are_text_too(self, city: World) -> None:
        door = V2Binary()
        reply = talk(door, door.request(Wanted([city.history(0)])), city.served)
        assert isinstance(reply, Reply)
        assert binary_tensors(reply)["start_timestamp"].texts() == ["2024-04-30T12:00:00"]

    def test_of_the_trees(self, city: World) -> None:
        rows = city.features(city.origin(0))[:3]
        tensor = {"name": "features", "datatype": "FP32", "shape": list(rows.shape)}
        sent = {"inputs": [{**tensor, "data": [None if np.isnan(x) else float(x) for x in rows.ravel()]}]}
        asked = DOOR.read(call(sent, "bentocast-rows"), city.served)
        (answer,) = city.served.answer([asked.question])
        made = json.loads(DOOR.write(asked, answer, city.served).body)
        assert [(output["name"], output["shape"]) for output in made["outputs"]] == [("point", [3]), ("spread", [3])]
        sent["outputs"] = [{"name": "mean"}]
        assert refused(city, call(sent, "bentocast-rows")).message == "outputs: got 'mean', wanted point, spread"


class TestMetadata:
    def test_says_enough_to_write_a_request(self, city: World) -> None:
        """Every tensor it names is sent, in its datatype, with -1 where the client chooses."""
        told = inference.metadata(city.served, "bentocast")
        sent = {tensor["name"]: tensor for tensor in document(city)["inputs"]}
        assert {tensor["name"] for tensor in told["inputs"]} == set(sent)
        for tensor in told["inputs"]:
            assert tensor["datatype"] == sent[tensor["name"]]["datatype"]
            assert len(tensor["shape"]) == len(sent[tensor["name"]]["shape"])
        assert [tensor["name"] for tensor in told["outputs"]] == ["mean", "quantiles", "start_timestamp"]

    def test_of_the_trees_names_their_columns(self, city: World) -> None:
        told = inference.metadata(city.served, "bentocast-rows")
        columns = len(city.forecaster.design.names)
        assert told["inputs"][0]["shape"] == [-1, columns]
        assert [tensor["name"] for tensor in told["outputs"]] == ["point", "spread"]


class TestGrpc:
    def request(self, world: World) -> inference_pb2.ModelInferRequest:
        return GrpcInferenceContents().request(Wanted([world.history(0)]))

    def fault(self, world: World, request: inference_pb2.ModelInferRequest) -> str:
        with pytest.raises(BentocastError) as caught:
            grpc_inference.read(request, world.served)
        return caught.value.message

    def test_answer_repeats_id_model_and_version(self, city: World) -> None:
        request = self.request(city)
        request.id, request.model_version = "42", "7"
        made = talk(GrpcInferenceContents(), request, city.served)
        assert (made.id, made.model_name, made.model_version) == ("42", "bentocast", "7")
        assert not made.raw_output_contents
        raw = talk(GrpcInference(), GrpcInference().request(Wanted([city.history(0)])), city.served)
        assert len(raw.raw_output_contents) == len(raw.outputs)
        assert not any(output.HasField("contents") for output in raw.outputs)

    def test_model_may_be_left_out(self, city: World) -> None:
        request = self.request(city)
        request.model_name = ""
        assert talk(GrpcInferenceContents(), request, city.served).model_name == "bentocast"

    def test_contents_of_the_wrong_kind(self, city: World) -> None:
        request = self.request(city)
        request.inputs[0].datatype = "FP32"
        text = "'series': got 0 elements in fp32_contents, wanted 102 for shape [1, 102]"
        assert self.fault(city, request) == text

    def test_a_wider_field_holds_what_the_datatype_does_not(self, city: World) -> None:
        request = self.request(city)
        request.inputs[0].datatype = "UINT8"
        request.inputs[0].contents.uint_contents.extend([300] * 102)
        text = "'series': element 0: got 300, wanted UINT8, a whole number from 0 to 255"
        assert self.fault(city, request) == text

    def test_half_precision_has_no_contents(self, city: World) -> None:
        request = self.request(city)
        request.inputs[0].datatype = "FP16"
        assert self.fault(city, request) == "'series': FP16 has no contents, wanted raw_input_contents"

    def test_contents_and_raw_contents(self, city: World) -> None:
        request = GrpcInference().request(Wanted([city.history(0)]))
        request.inputs[0].contents.fp64_contents.append(1.0)
        assert self.fault(city, request) == "'series': got contents and raw_input_contents, wanted one of them"

    def test_another_number_of_raw_contents(self, city: World) -> None:
        request = GrpcInference().request(Wanted([city.history(0)]))
        request.raw_input_contents.append(b"")
        assert self.fault(city, request) == "raw_input_contents: got 9, wanted 8, one for each input, or none"

    def test_text_that_is_not_utf_8(self, city: World) -> None:
        request = self.request(city)
        request.inputs[1].contents.bytes_contents[0] = b"\xff"
        assert self.fault(city, request) == "'start_timestamp': an element is not UTF-8"

    @pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
    def test_horizon_is_a_parameter(self, city: World, kind: str) -> None:
        request = self.request(city)
        setattr(request.parameters["horizon"], kind, 5)
        assert list(talk(GrpcInferenceContents(), request, city.served).outputs[0].shape) == [1, 5]

    @pytest.mark.parametrize(("kind", "value"), [("string_param", "5"), ("bool_param", True), ("double_param", 5.0)])
    def test_horizon_of_another_kind(self, city: World, kind: str, value: Any) -> None:
        request = self.request(city)
        setattr(request.parameters["horizon"], kind, value)
        assert self.fault(city, request).endswith(", wanted a whole number")

    def test_a_parameter_that_is_empty_is_none(self, city: World) -> None:
        request = self.request(city)
        request.parameters["horizon"].SetInParent()
        assert list(talk(GrpcInferenceContents(), request, city.served).outputs[0].shape) == [1, 12]
