"""The image of a Bento: what its Dockerfile says, and, as root with buildah and podman, the image itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.proto import forecast_pb2
from tests.ports import free_ports
from tests.service.bentos import FORECAST, Home, run
from tests.service.doors import GrpcForecast, Wanted, expected, same
from tests.service.live import BENTOML
from tests.service.world import World

#: As users of the image know them.
BENTO, STATE, USER = "/home/bentoml/bento", "/home/bentoml/state", 1034
#: MB as registries count them.
MOST_MB, READY_SECONDS = 600, 60.0
PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
#: A container as a careful operator runs it; the address is ours, and nobody else reaches it.
CAREFUL = (
    *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--ulimit", "nofile=16000:16000", "--ulimit", "nproc=16000:16000", "--network", "host"),
)


@pytest.fixture(scope="module")
def stages(home: Home) -> list[str]:
    text = (home.unpacked / "env" / "docker" / "Dockerfile").read_text()
    return re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def image(home: Home) -> Iterator[str]:
    for tool in ("buildah", "podman", "runc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    name = f"localhost/bentocast-test:{uuid.uuid4().hex[:8]}"
    # The home's guard would refuse the way to where packages are.
    environment = os.environ | {"BENTOML_HOME": str(home.folder), "BUILDAH_ISOLATION": "chroot"}
    made = (BENTOML, "containerize", home.bento, "--backend", "buildah", "-t", name)
    run(environment, *made, "--opt", "format=docker", "--opt", "pull-never")
    yield name
    run(environment, "buildah", "rmi", name)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[tuple[str, int, float]]:
    """Name, port, and seconds until it was ready."""
    name, port, began = f"bentocast-{uuid.uuid4().hex[:8]}", free_ports(), time.monotonic()
    settings = ("-e", f"PORT={port}", "-e", "BENTOCAST_ALLOW_ANONYMOUS=true")
    podman("run", "-d", "--name", name, *CAREFUL, *settings, image)
    try:
        while not ready(port):
            assert time.monotonic() - began < READY_SECONDS, podman("logs", name, check=False)
            time.sleep(0.02)
        yield name, port, time.monotonic() - began
    finally:
        podman("rm", "-v", "-f", name, check=False)


class TestDockerfile:
    """What `bentoml build` wrote."""

    def test_second_stage_has_what_serves_and_no_installer(self, stages: list[str]) -> None:
        assert len(stages) == 2
        assert re.search(r"\buv\b.* pip install -r", stages[0])
        for word in ("pip", "uv", "apt-get", "useradd"):
            assert not re.search(rf"\b{word}\b", stages[1]), word

    @pytest.mark.parametrize("tool", ["apt-get", "build-essential", "git", "gnupg2"])
    def test_no_stage_installs_a_compiler(self, stages: list[str], tool: str) -> None:
        assert not any(re.search(rf"\b{tool}\b", stage) for stage in stages)

    def test_the_installer_is_locked(self, stages: list[str]) -> None:
        assert "--require-hashes -r /tmp/uv.txt" in stages[0]
        assert "--hash=sha256:" in stages[0]
        assert stages[0].index("--require-hashes") < stages[0].index("command -v uv")

    def test_bases_are_alike_and_root_does_not_serve(self, stages: list[str]) -> None:
        assert {stage.split()[1] for stage in stages} == {"python:3.11-slim"}
        assert stages[1].rindex("USER bentoml") > stages[1].rindex("RUN")
        assert f"--chown={USER}:{USER} /state {STATE}" in stages[1]

    def test_modules_that_are_run_by_path_are_in_the_bento(self, stages: list[str], home: Home) -> None:
        (check,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])", stages[1])
        assert (home.unpacked / json.loads(check)[-1]).is_file()
        assert f"WORKDIR {BENTO}" in stages[1]

    def test_every_folder_that_is_copied_exists(self, stages: list[str], home: Home) -> None:
        copied = re.findall(r"^COPY --chown=\S+ (\./\S+) ", stages[0], flags=re.MULTILINE)
        assert "./src/service" in copied
        assert all((home.unpacked / name).exists() for name in copied)


@pytest.mark.containers
@pytest.mark.timeout(600)
class TestImage:
    """The image, run as it would be."""

    def test_is_small(self, image: str) -> None:
        (about,) = json.loads(podman("image", "inspect", image))
        assert about["Size"] / 1e6 <= MOST_MB
        assert about["Config"]["User"] == "bentoml"
        assert about["HealthCheck" if "HealthCheck" in about else "Healthcheck"]["Test"][0] == "CMD"

    def test_serves_http_and_grpc_with_the_same_numbers(self, container: tuple[str, int, float], city: World) -> None:
        _, port, _ = container
        wanted = Wanted([city.history(1)], levels=[0.1, 0.9])
        answer = httpx.post(f"http://127.0.0.1:{port}{FORECAST}", json=city.document(city.history(1)), timeout=30)
        assert answer.status_code == 200, answer.text
        door = GrpcForecast()
        with grpc.insecure_channel(f"127.0.0.1:{port + 1}") as channel:
            ask = channel.unary_unary(f"/{door.method}", response_deserializer=forecast_pb2.ForecastResponse.FromString)
            told = door.told(ask(door.request(wanted).SerializeToString(), timeout=30))
        same(told, expected(city, wanted))

    def test_is_healthy_and_not_root_and_can_write_one_folder_only(self, container: tuple[str, int, float]) -> None:
        name, _, _ = container
        assert podman("healthcheck", "run", name).strip() == ""
        assert podman("exec", name, "id", "-u").strip() == str(USER)
        tried = "import pathlib, sys; pathlib.Path(sys.argv[1], 'x').touch()"
        assert podman("exec", name, "python", "-c", tried, STATE) == ""
        for folder in (BENTO, "/app/.venv", "/"):
            assert "OSError" in podman("exec", name, "python", "-c", tried, folder, check=False), folder

    @pytest.mark.parametrize("tool", ["gcc", "cc", "git", "uv", "make"])
    def test_has_nothing_that_builds(self, container: tuple[str, int, float], tool: str) -> None:
        found = podman("exec", container[0], "python", "-c", f"import shutil; print(shutil.which({tool!r}))")
        assert found.strip() == "None"

    def test_ends_cleanly(self, container: tuple[str, int, float]) -> None:
        name, _, _ = container
        podman("stop", "-t", "20", name)
        (state,) = json.loads(podman("inspect", name))
        assert state["State"]["ExitCode"] == 0
        assert "Traceback" not in podman("logs", name)

    def test_a_home_that_cannot_be_written_to_is_named(self, image: str, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        mounted = ("-v", f"{tmp_path}:{STATE}", "-e", "BENTOCAST_ALLOW_ANONYMOUS=true")
        told = podman("run", "--rm", *CAREFUL, *mounted, image, check=False)
        assert STATE in told
        assert "Permission denied" in told


def podman(*arguments: str, check: bool = True) -> str:
    """What a command of podman says; of one that may fail also what it complains of."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*PODMAN, *arguments], capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout if check else done.stdout + done.stderr


def ready(port: int) -> Any:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
