"""The images besides the Bento's, built by buildah and run by podman: the judge's, and the tracking server's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.kubernetes.objects import ASKED
from tests.service.test_image import CAREFUL, podman

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]
ALIKE = {"phases": [{"weight": 0.5, "stable": {"requests": 9_000}, "candidate": {"requests": 9_000}}]}


def built(containerfile: str) -> Iterator[str]:
    """An image, until it is not wanted any more."""
    for tool in ("buildah", "podman", "runc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    name = f"localhost/bentocast-test:{uuid.uuid4().hex[:8]}"
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    command = ["buildah", "build", "--pull-never", "-f", containerfile, "-t", name, "."]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    yield name
    subprocess.run(["buildah", "rmi", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    yield from built("deploy/Containerfile")


@pytest.fixture(scope="module")
def tracking() -> Iterator[str]:
    yield from built("deploy/stack/Containerfile.mlflow")


def test_the_judge_answers(judge: str) -> None:
    name = f"bentocast-judge-{uuid.uuid4().hex[:8]}"
    podman("run", "-d", "--name", name, *CAREFUL, "--tmpfs", "/tmp", judge)
    url, late = f"http://127.0.0.1:{ASKED}", time.monotonic() + 30
    try:
        while not _is_up(url):
            assert time.monotonic() < late, podman("logs", name, check=False)
            time.sleep(0.1)
        told = httpx.post(f"{url}/verdict", json=ALIKE, trust_env=False, timeout=10).json()
        assert (told["requests"], told["checks"][0]["outcome"]) == (9_000, "pass")
        assert podman("exec", name, "id", "-u").strip() == "1034"
        began = time.monotonic()
        podman("stop", "-t", "20", name)
        assert time.monotonic() - began < 10
    finally:
        podman("rm", "-f", name, check=False)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_the_judge_is_small(judge: str) -> None:
    (about,) = json.loads(podman("image", "inspect", judge))
    assert about["Size"] / 1e6 < 600


def test_the_tracking_server_has_what_its_stores_need(tracking: str) -> None:
    settings = ("-e", "POSTGRES_PASSWORD=secret", "-e", "MLFLOW_AUTH_ADMIN_PASSWORD=0123456789ab")
    asked = "import boto3, psycopg, mlflow.server.auth, pathlib; print(pathlib.Path('/tmp/auth.ini').read_text())"
    told = podman("run", "--rm", *CAREFUL, "--tmpfs", "/tmp", *settings, tracking, "python", "-c", asked)
    assert "postgresql+psycopg://mlflow:secret@postgres/mlflow" in told
    assert "admin_password = 0123456789ab" in told
