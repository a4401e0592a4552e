"""Client libraries as they come: the same numbers through every door, and errors as each library reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.clients.conftest import as_tensors

Answer = dict[str, Any]
Ask = Callable[[str], Answer]

UNKNOWN = "model: got 'other', wanted 'bentocast', the model served here, or 'bentocast-rows', its trees alone"
#: Where the trees alone are not served.
FORECASTER = "model: got 'other', wanted 'bentocast', the model served here"
SHAPES = "'past_covariates.rain': got shape [3, 102], wanted [1, values]"


class TestTritonclient:
    @pytest.mark.parametrize("door", ["http", "grpc"])
    def test_same_numbers(self, ask: Ask, native: Answer, door: str) -> None:
        told = ask("tritonclient")[door]
        assert told["answer"] == native
        assert told["version"] == native

    @pytest.mark.parametrize("sent", [False, True])
    @pytest.mark.parametrize("wanted", [False, True])
    def test_binary_in_and_out(self, ask: Ask, native: Answer, *, sent: bool, wanted: bool) -> None:
        assert ask("tritonclient")["http"][f"binary in {sent} out {wanted}"] == native

    def test_compressed(self, ask: Ask, native: Answer) -> None:
        assert ask("tritonclient")["http"]["gzip"] == native

    @pytest.mark.parametrize("door", ["http", "grpc"])
    def test_trees_alone(self, ask: Ask, rows: Answer, door: str) -> None:
        assert ask("tritonclient")[door]["rows"] == rows

    @pytest.mark.parametrize("door", ["http", "grpc"])
    def test_health(self, ask: Ask, door: str) -> None:
        told = ask("tritonclient")[door]
        assert all(told[what] for what in ("live", "ready", "model ready", "version ready"))

    def test_another_model_is_not_ready(self, ask: Ask) -> None:
        told = ask("tritonclient")
        assert told["http"]["other ready"] is False
        assert told["grpc"]["other ready"] == {"status": "StatusCode.NOT_FOUND", "message": UNKNOWN}

    @pytest.mark.parametrize("door", ["http", "grpc"])
    def test_metadata(self, ask: Ask, question: Answer, door: str) -> None:
        told = ask("tritonclient")[door]
        assert (told["server"]["name"], told["metadata"]["name"]) == ("bentocast", "bentocast")
        assert told["metadata"]["versions"] == ["7"]
        assert [tensor["name"] for tensor in told["metadata"]["inputs"]] == list(question["tensors"])
        assert [tensor["name"] for tensor in told["metadata"]["outputs"]] == question["outputs"]

    @pytest.mark.parametrize("door", ["http", "grpc"])
    def test_id_comes_back(self, ask: Ask, door: str) -> None:
        assert ask("tritonclient")[door]["id"] == "hello"

    @pytest.mark.parametrize(
        ("door", "missing", "wrong"),
        [("http", "404", "400"), ("grpc", "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT")],
    )
    def test_errors(self, ask: Ask, door: str, missing: str, wrong: str) -> None:
        told = ask("tritonclient")[door]
        assert told["unknown model"] == {"status": missing, "message": UNKNOWN}
        assert told["unknown metadata"] == {"status": missing, "message": UNKNOWN}
        version = "version: got '8', wanted '7', the one served here"
        assert told["unknown version"] == {"status": missing, "message": version}
        assert told["bad input"] == {"status": wrong, "message": SHAPES}

    def test_what_only_triton_has_is_unimplemented(self, ask: Ask) -> None:
        assert ask("tritonclient")["grpc"]["config"]["status"] == "StatusCode.UNIMPLEMENTED"


class TestKserve:
    @pytest.mark.parametrize(
        ("door", "how"), [("v2", "answer"), ("v2", "binary"), ("grpc", "answer"), ("grpc", "contents")]
    )
    def test_same_numbers(self, ask: Ask, native: Answer, door: str, how: str) -> None:
        assert ask("kserve")[door][how] == native

    def test_same_numbers_in_v1(self, ask: Ask, native: Answer) -> None:
        assert as_tensors(iter(ask("kserve")["v1"]["answer"]["predictions"])) == native

    @pytest.mark.parametrize("door", ["v1", "v2", "grpc"])
    def test_health(self, ask: Ask, door: str) -> None:
        told = ask("kserve")[door]
        assert (told["live"], told["model ready"], told.get("ready", True)) == (True, True, True)

    def test_errors_of_http(self, ask: Ask, question: Answer) -> None:
        told, url = ask("kserve"), question["url"]
        missing = f"{UNKNOWN}, '404 Not Found' for url '{url}"
        assert told["v1"]["unknown model"] == {"status": 404, "message": f"{missing}/v1/models/other:predict'"}
        assert told["v1"]["other ready"] == {"status": 404, "message": f"{missing}/v1/models/other'"}
        assert told["v2"]["unknown model"] == {"status": 404, "message": f"{missing}/v2/models/other/infer'"}
        assert told["v2"]["other ready"] is False
        assert told["v1"]["bad input"]["message"].startswith("instances[0].past_covariates: 'rain' is missing")
        assert told["v2"]["bad input"]["message"].startswith(SHAPES)
        assert (told["v1"]["bad input"]["status"], told["v2"]["bad input"]["status"]) == (400, 400)

    def test_errors_of_grpc(self, ask: Ask) -> None:
        told = ask("kserve")["grpc"]
        assert told["unknown model"] == {"status": "NOT_FOUND", "message": UNKNOWN}
        assert told["other ready"] == {"status": "NOT_FOUND", "message": UNKNOWN}
        assert told["bad input"] == {"status": "INVALID_ARGUMENT", "message": SHAPES}


class TestBentoml:
    @pytest.mark.parametrize(
        ("door", "how"),
        [("http", "answer"), ("http", "call"), ("async http", "answer"), ("grpc", "answer"), ("grpc", "text")],
    )
    def test_same_numbers(self, ask: Ask, native: Answer, door: str, how: str) -> None:
        outputs = ask("bentoml")[door][how]["outputs"]
        assert as_tensors(content for output in outputs for content in output["content"]) == native

    @pytest.mark.parametrize("how", ["array", "doubles"])
    def test_trees_alone(self, ask: Ask, rows: Answer, how: str) -> None:
        """An array without a dtype, as clients in the wild send it, and one with."""
        assert ask("bentoml")["grpc"][how] == rows["point"]

    def test_metadata(self, ask: Ask) -> None:
        told = ask("bentoml")
        assert told["http"]["ready"] is True
        assert told["http"]["apis"] == ["forecast"]
        assert told["grpc"]["apis"] == ["forecast", "rows"]

    def test_errors_of_http(self, ask: Ask) -> None:
        told = ask("bentoml")["http"]
        assert (told["unknown model"]["status"], told["bad input"]["status"]) == (404, 400)
        assert FORECASTER in told["unknown model"]["message"]
        assert "inputs is empty, wanted one series or more" in told["bad input"]["message"]

    def test_errors_of_grpc(self, ask: Ask) -> None:
        told = ask("bentoml")["grpc"]
        assert told["unknown model"] == {"status": "NOT_FOUND", "message": FORECASTER}
        assert told["unknown api"]["status"] == "NOT_FOUND"
        empty = "inputs is empty, wanted one series or more"
        assert told["bad input"] == {"status": "INVALID_ARGUMENT", "message": empty}

    def test_a_pickle_is_refused(self, ask: Ask) -> None:
        told = ask("bentoml")["grpc"]["pickle"]
        assert told == {"status": "INVALID_ARGUMENT", "message": "content: got serialized_bytes, wanted json or text"}


def test_clients_without_a_library_of_their_own_get_the_same_numbers(question: Answer, native: Answer) -> None:
    """TensorFlow Serving's REST API, as its tutorials ask it: `requests.post(url, data=json)`."""
    url = f"{question['url']}/v1/models/bentocast"
    status = httpx.get(url, trust_env=False).json()["model_version_status"]
    assert status == [{"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    for path in (url, f"{url}/versions/7"):
        answer = httpx.post(f"{path}:predict", json=question["v1"], trust_env=False)
        assert as_tensors(iter(answer.json()["predictions"])) == native
    missing = httpx.post(f"{url}/versions/8:predict", json=question["v1"], trust_env=False)
    assert (missing.status_code, list(missing.json())) == (404, ["error"])
