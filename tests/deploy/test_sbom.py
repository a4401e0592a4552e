"""The bill of materials of a real Bento."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy import locked
from tests.loadtests.store import ROOT, Store
from tests.service.live import Server

#: Files of a Bento that is not named.
UNNAMED = '{"metadata": {"component": {}}, "components": [{"type": "file", "name": "a", "hashes": [{"content": "b"}]}]}'


def sbom(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy", "sbom", *arguments],
        cwd=ROOT,
        env=store.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def text(store: Store) -> str:
    done = sbom(store, store.tag)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text)
    return made


@pytest.fixture
def file(text: str, tmp_path: Path) -> Path:
    path = tmp_path / "bill.json"
    path.write_text(text)
    return path


def of(bill: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in bill["components"] if one["type"] == kind}


def test_keeps_to_the_schema(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_names_the_bento_and_where_it_comes_from(bill: dict[str, Any], store: Store) -> None:
    about = bill["metadata"]["component"]
    assert f"{about['name']}:{about['version']}" == store.tag
    properties = {one["name"]: one["value"] for one in about["properties"]}
    assert properties["bentocast:mlflow model"] == "bentocast version 7"


def test_names_the_locked_packages_and_nearly_all_licences(bill: dict[str, Any]) -> None:
    found = of(bill, "library")
    wanted = locked.versions(ROOT / "requirements/serve.txt", "3.11")
    assert {name: one["version"] for name, one in found.items()} == wanted
    assert found["onnxruntime"]["purl"] == f"pkg:pypi/onnxruntime@{wanted['onnxruntime']}"
    without = [name for name, one in found.items() if "licenses" not in one]
    assert len(without) < len(found) / 20, without


def test_names_every_file_that_runs_with_its_hash(bill: dict[str, Any], store: Store) -> None:
    folder = store.folder / "home/bentos" / store.tag.replace(":", "/")
    files = {name: one["hashes"][0]["content"] for name, one in of(bill, "file").items()}
    code = {path.relative_to(folder).as_posix() for path in (folder / "src").rglob("*.py")}
    assert code <= files.keys()
    for name in (*sorted(code)[:5], "env/python/requirements.txt"):
        assert files[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (model,) = of(bill, "machine-learning-model").values()
    assert model["hashes"][0]["content"] in [digest for name, digest in files.items() if name.endswith("model.onnx")]


def test_is_the_same_each_time(text: str, store: Store) -> None:
    assert sbom(store, store.tag).stdout == text


def test_a_bento_is_what_its_bill_says(store: Store, file: Path) -> None:
    done = sbom(store, store.tag, "--check", str(file))
    assert (done.returncode, done.stdout) == (0, f"{store.tag} is what {file} says\n")


def test_a_changed_file_one_too_many_and_one_too_few_are_named(store: Store, file: Path) -> None:
    copy = store.copy("changed", "\n")
    folder = store.folder / "home/bentos" / copy.replace(":", "/")
    (folder / "src/service/more.py").write_text("")
    (folder / "src/data/gaps.py").unlink()
    file.write_text(file.read_text().replace(store.tag.partition(":")[2], "changed"))
    done = sbom(store, copy, "--check", str(file))
    assert done.returncode == 7
    more, fewer, other = done.stdout.splitlines()
    assert more == "src/service/more.py is not in the bill"
    assert fewer == "src/data/gaps.py is in the bill and not in the Bento"
    assert other.startswith("src/service/worker.py has sha256 ")


@pytest.mark.parametrize("text", ["", "{}", '{"metadata": {"component": {}}, "components": []}', "[1]", UNNAMED])
def test_no_bill(store: Store, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bill.json"
    path.write_text(text)
    done = sbom(store, store.tag, "--check", str(path))
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert "python -m deploy sbom" in done.stderr


def test_the_bill_of_another_bento(store: Store, file: Path) -> None:
    done = sbom(store, store.copy("another", ""), "--check", str(file))
    assert done.returncode == 2
    assert f"is of {store.tag}, wanted one of bentocast:another" in done.stderr


def test_no_bento(store: Store) -> None:
    done = sbom(store, "bentocast:nothing")
    assert done.returncode != 0
    assert "holds no Bento 'bentocast:nothing'" in done.stderr


class TestAtStart:
    """`BENTOCAST_BILL`: a Bento that is not what its bill says does not start."""

    def served(self, store: Store, tag: str, bill: Path, folder: Path) -> Server:
        environment = store.environment | {"BENTOCAST_BILL": str(bill), "BENTOCAST_RECORD": "false"}
        return Server(store.folder / "home", environment, folder, tag)

    def test_the_same_files_serve(self, store: Store, file: Path, tmp_path: Path) -> None:
        server = self.served(store, store.tag, file, tmp_path)
        try:
            server.wait_until_ready()
        finally:
            server.end()

    def test_other_files_do_not(self, store: Store, file: Path, tmp_path: Path) -> None:
        copy = store.copy("other", "\n")
        file.write_text(file.read_text().replace(store.tag.partition(":")[2], "other"))
        server = self.served(store, copy, file, tmp_path)
        assert server.process.wait(60) == 7
        said = server.log.read_text()
        assert f"{copy} is not what {file} says: src/service/worker.py has sha256" in said
        assert "Traceback" not in said

    def test_a_bill_of_another_bento_is_refused(self, store: Store, file: Path, tmp_path: Path) -> None:
        file.write_text(file.read_text().replace(store.tag.partition(":")[2], "strange"))
        server = self.served(store, store.tag, file, tmp_path)
        assert server.process.wait(60) == 2
        assert f"{file} is of bentocast:strange, wanted one of {store.tag}" in server.log.read_text()
