"""Test 1: what the service runs on against the lock, its Bento and training."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import given
from hypothesis import strategies as st

from data import forecaster as files
from data.errors import NotFoundError
from data.verdict import Check, Outcome, Verdict
from deploy import locked
from monitoring import dependencies
from service import dependencies as running_on
from tests.monitoring.played import Service
from tests.service import world
from tests.service.world import World
from training import packages

ROOT = Path(__file__).parents[2]
RUNS = {"python": "3.11.7", "numpy": "2.4.6", "onnxruntime": "1.32.0"}
VERSIONS = st.dictionaries(st.sampled_from(sorted(RUNS)), st.sampled_from(["1.1", "1.2"]))


def texts(checks: list[Check], outcome: Outcome) -> list[str]:
    return [one.text for one in checks if one.outcome is outcome]


def test_service_names_all_that_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=;\[ ]", wanted)[0] for wanted in project["dependencies"]} == set(running_on.PACKAGES)
    assert set(running_on.versions()) == {"python", *running_on.PACKAGES}


def test_same_versions_pass_and_a_patch_of_python_is_no_difference() -> None:
    checks = dependencies.judge(RUNS, {"the lock": RUNS, "training": RUNS | {"python": "3.11.9", "pandas": "3.1"}})
    assert texts(checks, Outcome.PASS) == ["3 packages are those of the lock", "3 packages are those of training"]
    assert Verdict.of(checks).passed


def test_difference_fails_and_names_the_package_and_both_versions() -> None:
    checks = dependencies.judge(RUNS, {"the lock": RUNS, "training": RUNS | {"numpy": "2.3.0", "python": "3.12.1"}})
    assert texts(checks, Outcome.FAIL) == [
        "numpy: the service runs 2.4.6, training has 2.3.0",
        "python: the service runs 3.11.7, training has 3.12.1",
    ]


def test_bento_that_asks_for_something_else_fails() -> None:
    lock = {"numpy": "2.4.6", "idna": "3.20"}
    checks = dependencies.judge(RUNS, {"the lock": lock, "its Bento": lock | {"idna": "3.19", "six": "1.17.0"}})
    assert texts(checks, Outcome.FAIL) == [
        "idna: the Bento asks for 3.19, the lock has 3.20",
        "six: the Bento asks for 1.17.0, the lock has none",
    ]


@given(VERSIONS, st.dictionaries(st.sampled_from(["the lock", "training"]), VERSIONS))
def test_passes_only_if_all_that_is_known_agrees(running: dict[str, str], sources: dict[str, dict[str, str]]) -> None:
    passed = Verdict.of(dependencies.judge(running, sources)).passed
    agree = all(
        running[package] == version
        for known in sources.values()
        for package, version in known.items()
        if package in running
    )
    known = running and sources and all(set(versions) & set(running) for versions in sources.values())
    assert passed == bool(agree and known)


def test_nothing_known_is_inconclusive() -> None:
    for running, sources in (({}, {"the lock": RUNS}), (RUNS, {"the lock": {}}), (RUNS, {})):
        assert Verdict.of(dependencies.judge(running, sources)).outcome is Outcome.INCONCLUSIVE


def test_lock_is_read_as_pip_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    old, new = (locked.versions(dependencies.LOCK, python) for python in ("3.11.7", "3.13.0"))
    assert old["numpy"] != new["numpy"]
    assert set(running_on.PACKAGES) <= set(old)
    with pytest.raises(NotFoundError, match=r"nowhere\.txt not found: run the command in the project's folder"):
        locked.versions(Path("nowhere.txt"))


# Vulnerabilities


def report(*vulns: dict[str, Any]) -> dict[str, Any]:
    return {
        "dependencies": [
            {"name": "idna", "version": "3.20", "vulns": list(vulns)},
            {"name": "six", "version": "1.17.0", "vulns": []},
        ]
    }


def test_known_vulnerability_fails() -> None:
    found = dependencies.vulnerabilities(report({"id": "CVE-1", "fix_versions": ["3.21"]}))
    assert isinstance(found, Check)
    assert found.outcome is Outcome.FAIL
    assert found.text == "1 of 2 locked packages: idna 3.20 has CVE-1, mended in 3.21"
    unmended = dependencies.vulnerabilities(report({"id": "CVE-2", "fix_versions": []}))
    assert isinstance(unmended, Check)
    assert "mended in no version yet" in unmended.text


def test_no_known_vulnerability_passes() -> None:
    found = dependencies.vulnerabilities(report())
    assert isinstance(found, Check)
    assert (found.outcome, found.text) == (Outcome.PASS, "none is known of 2 locked packages")


def test_database_out_of_reach_is_said_and_neither_passes_nor_alarms() -> None:
    reports: tuple[str | dict[str, Any], ...] = (
        "pip-audit failed: no such host",
        {"dependencies": []},
        {"dependencies": [{"name": "six", "skip_reason": "Dependency not found on PyPI"}]},
    )
    for nothing in reports:
        found = dependencies.vulnerabilities(nothing)
        assert isinstance(found, str)
        (one,) = dependencies._with([Check(name="versions", outcome=Outcome.PASS, text="all agree")], found)
        assert one.outcome is Outcome.PASS
        assert one.text.startswith("all agree (vulnerabilities were not looked up: pip-audit ")


def test_audit_that_cannot_read_its_lock_says_why(tmp_path: Path) -> None:
    assert str(dependencies._audit(tmp_path / "none.txt", 0)).startswith("pip-audit failed: ")


# From a service on


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world.make(world.PLAIN, 0.0, tmp_path_factory.mktemp("town"))


def stored(tmp_path: Path, town: World, made_with: dict[str, str]) -> Iterator[None]:
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    card = town.forecaster.card.model_copy(update={"packages": made_with})
    with bentoml.models.create("bentocast", labels={"mlflow_version": "7", "run_id": "unknown"}) as made:
        files.save(Path(made.path) / "mlflow_model", card, (town.folder / files.ONNX_FILE).read_bytes())
    yield
    BentoMLContainer.model_store.reset()


def verdict(town: World, monkeypatch: pytest.MonkeyPatch, bento: str = "bentocast") -> Verdict:
    monkeypatch.chdir(ROOT)
    service = Service(town, bento=bento)
    return dependencies.check(service.context(dependencies__vulnerabilities=False))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.parametrize(
    ("changes", "outcome", "text"),
    [
        ({}, Outcome.PASS, "packages are those of training"),
        ({"onnxruntime": "1.0.0"}, Outcome.FAIL, ", training has 1.0.0"),
        (None, Outcome.INCONCLUSIVE, "the served model does not say what it was made with: train it again"),
    ],
)
def test_model_made_with_something_else_is_found(
    town: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str] | None,
    outcome: Outcome,
    text: str,
) -> None:
    for _ in stored(tmp_path, town, {} if changes is None else packages.versions() | changes):
        found = [one for one in verdict(town, monkeypatch).checks if one.name == "versions of training"]
        assert [one.outcome for one in found] == [outcome]
        assert text in found[0].text


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_bento_that_is_not_in_the_store_is_inconclusive(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdict(town, monkeypatch, bento="bentocast:gone")
    (one,) = [one for one in found.checks if one.name == "versions of its Bento"]
    assert one.outcome is Outcome.INCONCLUSIVE
    assert "BentoML's store holds no Bento 'bentocast:gone', which is served" in one.text


def test_instances_that_run_on_different_packages_fail() -> None:
    from monitoring.metrics import Sample

    labels = [{"package": "numpy", "version": version, "instance": version} for version in ("2.4", "2.5", "2.4")]
    (one,) = dependencies._several([Sample(each, 1.0) for each in labels])
    assert (one.outcome, one.text) == (Outcome.FAIL, "numpy: instances run 2.4 and 2.5")


def test_nothing_served_is_inconclusive(town: World) -> None:
    service = Service(town)
    service.pages.now += 7_200
    assert dependencies.check(replace(service.context(), now=service.pages.now)).outcome is Outcome.INCONCLUSIVE
