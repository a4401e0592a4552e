"""The same request in code; and the page of a service that wants a key."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from service import keys
from service.proto import forecast_pb2, inference_pb2
from tests.service.live import ROOT, STORE, serving
from tests.service.page.browser import Page, api, command, numbers_of, run, table
from tests.service.world import World

CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.mark.services
class TestSnippets:
    """The same request in code answers the same numbers."""

    @CURL
    @pytest.mark.parametrize("protocol", ["Time Series", "Inference V2", "Predict V1", "BentoML"])
    def test_shell_over_http(self, page: Page, city: World, bento: str, protocol: str) -> None:
        done = run(["bash", "-c", page.snippet(protocol, "shell")])
        assert numbers_of(json.loads(done)) == api(bento, city.document(city.history(0)))

    @pytest.mark.parametrize(
        ("protocol", "method", "asked", "answered"),
        [
            (
                "gRPC",
                "forecast.v1.ForecastService/Forecast",
                forecast_pb2.ForecastRequest,
                forecast_pb2.ForecastResponse,
            ),
            (
                "gRPC V2",
                "inference.GRPCInferenceService/ModelInfer",
                inference_pb2.ModelInferRequest,
                inference_pb2.ModelInferResponse,
            ),
        ],
    )
    def test_shell_over_grpc(
        self, page: Page, city: World, bento: str, protocol: str, method: str, asked: Any, answered: Any
    ) -> None:
        """By grpcurl if it is there; else what grpcurl is given is sent in its place."""
        copied = page.snippet(protocol, "shell")
        found = re.fullmatch(r"grpcurl -plaintext -d @ '([\d.:]+)' (\S+) <<'END'\n(.*)\nEND", copied, re.DOTALL)
        assert found is not None
        assert found[2] == method
        if shutil.which("grpcurl"):
            answer = json.loads(run(["bash", "-c", copied]))
        else:
            with grpc.insecure_channel(found[1]) as channel:
                call = channel.unary_unary(f"/{method}", asked.SerializeToString, answered.FromString)
                answer = json_format.MessageToDict(call(json_format.Parse(found[3], asked()), timeout=10))
        assert numbers_of(answer) == api(bento, city.document(city.history(0)))

    @pytest.mark.parametrize("protocol", ["Time Series", "Inference V2", "Predict V1", "gRPC", "gRPC V2", "BentoML"])
    def test_python(self, page: Page, city: World, bento: str, protocol: str) -> None:
        copied = page.snippet(protocol, "python")
        wanted = [name for name in re.findall(r"^(?:import|from) (\w+)", copied, re.MULTILINE) if name != "google"]
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
        if missing:
            compile(copied, "copied", "exec")
            pytest.skip(f"not installed: {', '.join(missing)}")
        printed = run([sys.executable, "-c", copied]).splitlines()
        assert numbers_of(ast.literal_eval(printed[0])) == api(bento, city.document(city.history(0)))

    @CURL
    def test_what_is_missing_is_missing_in_every_protocol(self, page: Page, city: World) -> None:
        lines = table(city).splitlines()
        lines[60] = re.sub(r",[^,]*", ",", lines[60], count=1)
        page.paste("\n".join(lines))
        page.forecast()
        wanted = page.numbers()["mean"]
        for protocol in ("Time Series", "Inference V2", "Predict V1", "BentoML"):
            assert numbers_of(json.loads(run(["bash", "-c", page.snippet(protocol, "shell")])))["mean"] == wanted
        for protocol in ("Predict V1", "gRPC"):
            printed = run([sys.executable, "-c", page.snippet(protocol, "python")])
            assert numbers_of(ast.literal_eval(printed))["mean"] == wanted


@pytest.fixture(scope="module")
def guarded(plain: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of the project itself with another model, without examples and gRPC; and the key that it wants."""
    home = tmp_path_factory.mktemp("guarded")
    command(home, sys.executable, "-c", STORE, str(plain.folder))
    key, line = keys.make("tester")
    (home / "keys").write_text(line + "\n")
    settings = {"BENTOCAST_KEYS_FILE": str(home / "keys"), "BENTOCAST_GRPC": "false"}
    with serving(home, os.environ | settings, ROOT) as server:
        yield server.url, key


@pytest.mark.services
class TestGuarded:
    """A service that wants a key, speaks no gRPC, and has no examples."""

    @CURL
    def test_a_key_opens_the_page(self, driver: Any, guarded: tuple[str, str], plain: World) -> None:
        address, key = guarded
        page = Page(driver, address)
        page.wait(lambda: page.text("#fault") == "This service wants an API key.")
        assert page.run("return document.activeElement.id") == "key"
        page.one("#key").send_keys("wrong\n")
        page.wait(lambda: page.text("#fault") == "This is not one of the service's API keys.")
        page.one("#key").clear()
        page.one("#key").send_keys(f"{key}\n")
        page.loaded()
        assert page.text("#fault") == ""
        assert not page.one("#key-form").is_displayed()
        assert not page.one("#by-example").is_enabled()
        assert "one series, oldest first, 96 rows of history or more." in page.text("#wanted").lower()
        history = plain.history(0)
        times = [str(history.start + np.timedelta64(place, "h")) for place in range(96)]
        rows = zip(times, history.values.tolist(), strict=True)
        page.paste("timestamp,value\n" + "\n".join(f"{time},{value}" for time, value in rows))
        page.forecast()
        expected = plain.expected([plain.origin(0)]).point[0]
        numbers = page.run(
            "return [...document.querySelectorAll('#numbers td:nth-child(2) data')].map((one) => one.value)"
        )
        assert np.array_equal([float(number) for number in numbers], expected)
        shell, python = page.snippet("Time Series", "shell"), page.snippet("Predict V1", "python")
        assert (
            key
            not in page.run("return document.documentElement.outerHTML + location + document.cookie") + shell + python
        )
        done = json.loads(run(["bash", "-c", shell], API_KEY=key))
        assert np.array_equal(numbers_of(done)["mean"], expected)
        printed = run([sys.executable, "-c", python], API_KEY=key)
        assert np.array_equal(numbers_of(ast.literal_eval(printed))["mean"], expected)
        assert page.snippet("gRPC", "python") == "This service does not speak gRPC."
        assert page.run("return localStorage.length + sessionStorage.length") == 0
        assert all("401" in message for message in page.console())
