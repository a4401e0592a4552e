"""The drill: workspace, BentoML's store and the deployment are gone; git, DVC's remote and MLflow's server are left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.ports import free_ports
from tests.service.record.postgresql import Postgresql
from tests.stores.servers import KEYS, PASSWORD, USER, ObjectStore, Tracking, running
from tests.test_pipeline import Project

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

DEPLOY = (sys.executable, "-m", "deploy")
#: Longest that bringing the service back may take here; a fifth of it is usual.
RESTORE_SECONDS = 120.0


@dataclass(frozen=True)
class Team:
    """What survives, and what was answered before.

    Attributes:
        git: the repository.
        server: MLflow's.
        objects: the object store, with DVC's remote in one bucket and MLflow's artifacts in another.
        database: PostgreSQL.
        port: of the service.
        question: a request.
        answer: to it: model and version, and the numbers.
        out: hashes of all files of the pipeline.
    """

    git: Path
    server: Tracking
    objects: ObjectStore
    database: Postgresql
    port: int
    question: dict[str, Any]
    answer: Any
    out: dict[str, str]


class Member(Project):
    """A project with the team's settings in its environment."""

    def __init__(self, folder: Path, environment: dict[str, str], *, clone: Path | None = None) -> None:
        self.environment = environment | {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        if clone is None:
            super().__init__(folder)
        else:
            self.folder = folder
            subprocess.run(["git", "clone", "-q", str(clone), str(folder)], check=True)

    def restore(self) -> subprocess.CompletedProcess[str]:
        """The one command."""
        return self.run(*DEPLOY, "restore", check=False)

    def stores(self) -> list[str]:
        """What BentoML's store holds."""
        return [str(path.parent) for path in (self.folder.parent / "bentoml").rglob("*.yaml")]

    def processes(self) -> list[psutil.Process]:
        """Those of the deployment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                if process.environ().get("DEPLOY_PROCESS", "").startswith(str(self.folder)):
                    found.append(process)
        return found

    def end(self) -> None:
        """End the deployment, whatever its state."""
        self.run(*DEPLOY, "down", check=False)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def asked(port: int, question: dict[str, Any]) -> Any:
    """What the service answers, without what differs each time."""
    told = httpx.post(f"http://127.0.0.1:{port}/v1/timeseries/forecast", json=question, trust_env=False, timeout=30)
    assert told.status_code == 200, told.text
    return told.headers["x-model-version"], told.json()["model"], told.json()["outputs"]


@pytest.fixture(scope="module")
def team(server: Postgresql, objects: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A team that trained, pushed and served; then lost the machine."""
    place = tmp_path_factory.mktemp("team")
    for bucket in ("data", "mlflow"):
        objects.s3.create_bucket(Bucket=bucket)
    tracking = Tracking(place / "mlflow", server.new_database(), "s3://mlflow/artifacts", objects)
    port, admin = free_ports(), free_ports()
    project = Member(place / "lost" / "project", KEYS | {"MLFLOW_TRACKING_URI": tracking.url})
    project.edit({"deploy.router": {"port": port, "admin_ports": [admin]}})
    project.run("dvc", "remote", "add", "--default", "team", "s3://data/bentocast")
    project.run("dvc", "remote", "modify", "team", "endpointurl", objects.url)
    project.run("dvc", "remote", "modify", "team", "verify", "true")
    away = project.run("dvc", "repro", check=False)
    assert away.returncode != 0
    assert f"MLflow does not answer at {tracking.url}" in away.stderr
    assert "nothing was registered, `dvc repro` goes on from here" in away.stderr
    with running(tracking):
        assert project.repro() == ["promote"]
        project.commit("first run")
        project.run("dvc", "push")
        git = place / "project.git"
        subprocess.run(["git", "clone", "-q", "--bare", str(project.folder), str(git)], check=True)
        project.run(sys.executable, "-m", "training", "import")
        project.run("bentoml", "build")
        lineage = project.run(*DEPLOY, "lineage").stdout
        assert project.json("promote.json")["run_id"] in lineage
        question = json.loads(project.run(sys.executable, "-m", "data", "example", "s01", "s02").stdout)
        try:
            project.run(*DEPLOY, "up")
            answer = asked(port, question)
        finally:
            project.end()
        out = project.out()
        shutil.rmtree(place / "lost")
        yield Team(git, tracking, objects, server, port, question, answer, out)


@pytest.fixture
def member(team: Team, tmp_path: Path) -> Iterator[Member]:
    """A new machine: a clone and nothing else."""
    made = Member(tmp_path / "project", KEYS | {"MLFLOW_TRACKING_URI": team.server.url}, clone=team.git)
    try:
        yield made
    finally:
        made.end()
        assert not made.processes()


def test_one_command_brings_the_service_back(team: Team, member: Member) -> None:
    began = time.monotonic()
    done = member.restore()
    seconds = time.monotonic() - began
    sys.stderr.write(f"{done.stderr}{seconds:.1f} s\n")
    assert done.returncode == 0, done.stderr
    assert seconds < RESTORE_SECONDS, done.stderr
    assert asked(team.port, team.question) == team.answer
    assert member.out() == team.out
    assert member.repro() == []
    assert PASSWORD not in done.stderr + done.stdout
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.stderr + done.stdout
    environments = [process.environ() for process in member.processes()]
    assert environments
    secrets = {"MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"}
    assert not [one for one in environments if secrets & set(one) and "keeper" not in one["DEPLOY_PROCESS"]]
    bentos = member.stores()
    again = member.restore()
    assert again.returncode == 0, again.stderr
    assert member.stores() == bentos
    team.server.kill()
    team.objects.kill()
    team.database.stop()
    try:
        assert asked(team.port, team.question) == team.answer  # serving needs none of them
        away = member.restore()
        assert away.returncode == 6
        assert "nothing was restored, the same command tries again" in away.stderr
        assert asked(team.port, team.question) == team.answer
    finally:
        team.database.start()
        team.objects.start()
        team.server.start()


def test_it_may_be_killed_at_any_moment(team: Team, member: Member) -> None:
    """After each step that it tells of, and in the middle of each."""
    for step in ("registry", "data", "model", "Bento"):
        for wait in (0.0, 1.0):
            killed(member, f"restore: {step}: ", wait)
    done = member.restore()
    assert done.returncode == 0, done.stderr
    assert asked(team.port, team.question) == team.answer
    assert member.out() == team.out
    listed = member.run("bentoml", "list", "-o", "json").stdout
    assert json.loads(listed)


def killed(member: Member, after: str, wait: float) -> None:
    """Begin, and kill all of it some time after a step has ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GIT_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BENTOML_HOME": str(member.folder.parent / "bentoml"),
        **member.environment,
    }
    begun = subprocess.Popen(
        [*DEPLOY, "restore"],
        cwd=member.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert begun.stderr is not None
    told = []
    for line in begun.stderr:
        told.append(line)
        if line.startswith(after):
            break
    else:
        raise AssertionError(told)
    with contextlib.suppress(subprocess.TimeoutExpired):
        begun.wait(wait)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(begun.pid, signal.SIGKILL)
    begun.communicate()


def artifact(team: Team, name: str) -> str:
    """The key of a file of the model."""
    (key,) = (key for key in team.objects.objects("mlflow") if key.endswith(f"/{name}"))
    return key


@pytest.mark.parametrize("name", ["model.onnx", "forecaster.json", "examples.json"])
def test_model_that_is_not_what_was_registered_is_refused(team: Team, member: Member, name: str) -> None:
    s3, key = team.objects.s3, artifact(team, name)
    good = s3.get_object(Bucket="mlflow", Key=key)["Body"].read()
    bad = good.replace(b"1", b"2", 1) if name.endswith("json") else good[:-1] + bytes([good[-1] ^ 1])
    s3.put_object(Bucket="mlflow", Key=key, Body=bad)
    try:
        done = member.restore()
    finally:
        s3.put_object(Bucket="mlflow", Key=key, Body=good)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert not member.stores()
    assert not member.processes()


def test_data_that_are_not_what_git_says_are_refused(team: Team, member: Member) -> None:
    """By DVC, which reads what it pulls; and without its help, where somebody has switched that off."""
    lock = yaml.safe_load((member.folder / "dvc.lock").read_text())
    oid = lock["stages"]["ingest"]["outs"][-1]["md5"]
    s3, key = team.objects.s3, f"bentocast/files/md5/{oid[:2]}/{oid[2:]}"
    good = s3.get_object(Bucket="data", Key=key)["Body"].read()
    s3.put_object(Bucket="data", Key=key, Body=good[:-1] + bytes([good[-1] ^ 1]))
    try:
        noticed = member.restore()
        member.run("dvc", "remote", "modify", "--local", "team", "verify", "false")
        unnoticed = member.restore()
    finally:
        s3.put_object(Bucket="data", Key=key, Body=good)
    assert noticed.returncode == 4, noticed.stderr
    assert "`dvc pull` failed: " in noticed.stderr
    assert unnoticed.returncode == 3, unnoticed.stderr
    assert "is not what dvc.lock says: got " in unnoticed.stderr
    assert not member.stores()
    assert not member.processes()
    (member.folder / lock["stages"]["ingest"]["outs"][-1]["path"]).unlink()
    told = member.run(sys.executable, "-m", "data", "remote").stdout
    assert f"{oid} was damaged in the cache here, removed; `dvc pull` brings it" in told
    member.run("dvc", "pull")
    assert member.out() == team.out


def test_registry_without_a_champion_is_not_made_anew(team: Team, member: Member) -> None:
    member.environment = {**member.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{member.folder}/empty.db"}
    done = member.restore()
    assert done.returncode == 6, done.stderr
    assert "MLflow holds no champion of 'bentocast': set MLFLOW_TRACKING_URI to the server that does" in done.stderr
    assert not (member.folder / "out").exists()
