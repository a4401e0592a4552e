"""`mlflow server` with passwords on PostgreSQL, artifacts in an object store or a folder: what works, and what is said if not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bentoml
import httpx
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from mlflow import MlflowClient

from data import store
from data.errors import RegistryError
from data.verdict import Verdict
from tests.service.record.postgresql import Postgresql
from tests.stores.servers import PASSWORD, USER, ObjectStore, Tracking, running
from tests.training import tiny
from training import bento, promote, proof, registry, stages, tracking

pytestmark = [
    pytest.mark.services,
    *(pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW, *tiny.BENTOML)),
]

BUCKETS = map("bucket-{}".format, itertools.count())


@dataclass(frozen=True)
class Team:
    """A tracking server with all that it stands on.

    Attributes:
        server: MLflow's.
        database: PostgreSQL.
        objects: the object store.
        bucket: of the artifacts, if they are there.
        folder: of the artifacts otherwise.
    """

    server: Tracking
    database: Postgresql
    objects: ObjectStore
    bucket: str
    folder: Path

    def artifacts(self) -> dict[str, bytes]:
        """What is kept, by its path."""
        if self.bucket:
            return self.objects.objects(self.bucket)
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def statuses(self) -> list[str]:
        """How the runs ended."""
        client = MlflowClient(tracking.connect())
        experiment = client.get_experiment_by_name("town")
        assert experiment is not None
        return sorted(run.info.status for run in client.search_runs([experiment.experiment_id]))


@pytest.fixture(params=["folder", "s3", "s3, and clients speak to it"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def team(
    kind: str,
    server: Postgresql,
    objects: ObjectStore,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Team]:
    """A server that runs, known to this process as a team's members know it."""
    bucket = "" if kind == "folder" else next(BUCKETS)
    direct = kind.endswith("to it")
    if bucket:
        objects.s3.create_bucket(Bucket=bucket)
    where = f"s3://{bucket}/mlflow" if bucket else str(tmp_path / "artifacts")
    made = Tracking(tmp_path / "mlflow", server.new_database(), where, objects, direct=direct)
    known = made.client_environment | (objects.client_environment if direct else {})
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    with running(made):
        yield Team(made, server, objects, bucket, tmp_path / "artifacts")


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    """BentoML's model store, in the test's folder."""
    folder = tmp_path / "bentoml" / "models"
    folder.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


def trained() -> tuple[str, Verdict]:
    """`python -m training promote`: the number of the new version, and the gate's verdict."""
    config = tiny.params()
    version, verdict, _ = promote.run(config, *stages.load(config))
    return version.number, verdict


def champion() -> str | None:
    tracking.connect()
    found = registry.alias("town", registry.CHAMPION)
    return found.number if found else None


def refused() -> str:
    with pytest.raises(RegistryError) as caught:
        trained()
    assert PASSWORD not in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith("nothing was promoted, the same command tries again")
    return caught.value.message


one_kind = pytest.mark.parametrize("kind", ["s3"], indirect=True)


def test_training_registry_and_import_go_through_it(team: Team, models: Path, workspace: Path) -> None:
    assert trained()[0] == "1"
    number, verdict = trained()
    assert (number, champion()) == ("2", "2")
    assert verdict.checks[-1].numbers["ratio"] == 1.0  # the champion's files came back from the store
    kept = team.artifacts()
    wanted = (workspace / "out/model/model.onnx").read_bytes()
    assert [content for path, content in kept.items() if path.endswith("model.onnx")] == [wanted, wanted]
    assert not (workspace / "mlruns").exists()
    tag, fresh = bento.import_model("town", registry.CHAMPION, whole=True)
    assert fresh
    stored = bentoml.models.get(tag)
    assert (Path(stored.path) / "mlflow_model" / "model.onnx").read_bytes() == wanted
    assert stored.info.labels["mlflow_version"] == "2"
    assert list(models.glob("bentocast/*/model.yaml"))


@one_kind
def test_killed_server_comes_back(team: Team) -> None:
    """Before a run, and in the middle of one, whose run is marked failed by the next."""
    assert trained()[0] == "1"
    team.server.kill()
    with pytest.raises(RegistryError) as caught:
        trained()
    assert caught.value.message.startswith(f"MLflow does not answer at {team.server.url} ")
    assert caught.value.message.endswith("nothing was registered, `dvc repro` goes on from here")
    team.server.start()
    with pytest.raises(RegistryError, match=r"^MLflow failed: "):
        in_a_run_while(team.server)
    team.server.start()
    assert team.statuses() == ["FINISHED", "RUNNING"]
    assert (champion(), trained()[0], champion()) == ("1", "2", "2")
    assert team.statuses() == ["FAILED", "FINISHED", "FINISHED"]


def in_a_run_while(server: Tracking) -> None:
    """Log to a server that is killed in the middle."""
    with tracking.run("town", tags=proof.tags(store.MODEL)):
        server.kill()
        tracking.log({}, {"never": 1.0}, {})


@one_kind
def test_database_that_is_away_is_named_and_comes_back(team: Team, models: Path) -> None:
    assert trained()[0] == "1"
    team.database.stop()
    try:
        assert "is the server's database up? Its log says; " in refused()
        with pytest.raises(RegistryError, match="is the server's database up"):
            bento.import_model("town", registry.CHAMPION)
        assert not list(models.iterdir())
    finally:
        team.database.start()
    assert (champion(), trained()[0]) == ("1", "2")
    assert bento.import_model("town", registry.CHAMPION)[1]


@pytest.mark.parametrize("kind", ["s3", "s3, and clients speak to it"], indirect=True)
def test_object_store_that_is_away_is_named_and_comes_back(team: Team, models: Path, kind: str) -> None:
    assert trained()[0] == "1"
    before = team.artifacts()
    team.objects.kill()
    fix = "start the object store, or set AWS_ENDPOINT_URL" if "speak" in kind else "the store of its artifacts"
    try:
        assert fix in refused()
        assert (champion(), team.statuses()) == ("1", ["FAILED", "FINISHED"])
        with pytest.raises(RegistryError, match=fix):
            bento.import_model("town", registry.CHAMPION)
        assert not list(models.glob("bentocast/*/model.yaml"))
    finally:
        team.objects.start()
    assert before.items() <= team.artifacts().items()
    assert (trained()[0], champion()) == ("2", "2")
    assert bento.import_model("town", registry.CHAMPION)[1]


@one_kind
@pytest.mark.parametrize("password", ["wrong-pass", None])
def test_wrong_password_is_named(team: Team, password: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    if password:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    told = refused()
    assert "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user of this server; " in told
    assert "wrong-pass" not in told


@one_kind
def test_who_may_only_read_imports_and_does_not_promote(
    team: Team, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained()[0] == "1"
    made = httpx.post(
        f"{team.server.url}/api/2.0/mlflow/users/create",
        json={"username": "reader", "password": "s3cret-of-reader"},
        auth=(USER, PASSWORD),
        trust_env=False,
    )
    assert made.status_code == 200, made.text
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-of-reader")
    told = refused()
    assert "; ask whoever runs the server for the permission EDIT on this experiment and this model; " in told
    assert "s3cret" not in told
    assert bento.import_model("town", registry.CHAMPION, whole=True)[1]
    assert list(models.glob("bentocast/*/model.yaml"))


@pytest.mark.parametrize("kind", ["s3", "s3, and clients speak to it"], indirect=True)
def test_bucket_that_does_not_exist_is_named(team: Team, kind: str) -> None:
    team.objects.s3.delete_bucket(Bucket=team.bucket)
    told = refused()
    if "speak" in kind:
        assert "; make the bucket, or start the server with one that is there" in told
    else:
        assert (
            "is there such a bucket (--artifacts-destination), may the server write to it? Its log says which; " in told
        )
        assert "NoSuchBucket" in team.server.log.read_text()
    assert (champion(), team.statuses()) == (None, ["FAILED"])
    team.objects.s3.create_bucket(Bucket=team.bucket)
    assert trained()[0] == "1"
