"""docs/protocols.md as its reader would use it: every example is run as pasted, against a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.live import ROOT, Server, serve
from tests.service.world import World

EXAMPLES = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "docs/protocols.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def live(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(city.folder, tmp_path_factory.mktemp("live"), drain_seconds=0) as served:
        yield served


def pasted(kind: str, text: str, live: Server, folder: Path) -> str:
    """What an example prints; only the ports are those of the service at hand."""
    text = text.replace("127.0.0.1:3000", f"127.0.0.1:{live.port}").replace("127.0.0.1:3001", live.grpc)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-W", "ignore", "-c", text]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("place", range(len(EXAMPLES)))
def test_an_example_works_as_pasted(place: int, live: Server, city: World, tmp_path: Path) -> None:
    request = city.document(city.history(1), horizon=6, quantiles=[0.1, 0.9])
    (tmp_path / "request.json").write_text(json.dumps(request))
    kind, text = EXAMPLES[place]
    if "curl " in text and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    printed = pasted(kind, text, live, tmp_path)
    if "accepted" in printed:
        assert json.loads(printed) == {"accepted": 1}
        return
    native = httpx.post(f"{live.url}/v1/timeseries/forecast", json=request, trust_env=False).json()
    wanted = native["outputs"][0]["content"][0]["mean_forecast"]
    got = [
        float(number)
        for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", re.sub(r".*mean_forecast\":", "", printed, flags=re.DOTALL))
    ]
    assert np.allclose(got[: len(wanted)], wanted, rtol=1e-7)


def test_there_are_examples_of_every_kind() -> None:
    text = "".join(example for _, example in EXAMPLES)
    for part in ("/v1/timeseries/forecast", "/infer", ":predict", "SyncHTTPClient", "ForecastService", "/actuals"):
        assert part in text
