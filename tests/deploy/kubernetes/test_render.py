"""Manifests say what the service, its image and its routes are, and are made of what params.yaml says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from pydantic import ValidationError

import service
from data.deployment import Deploy
from data.errors import ConfigError
from deploy.kubernetes import objects, render, traffic, verdicts, workload
from deploy.verdicts import asked
from monitoring import servers
from service import endpoints, health, reflection
from service.metrics import Metrics
from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference
from tests.deploy.kubernetes.cluster import BENTO, CLUSTER, config, made

#: Read, since importing it imports BentoML.
IMAGE = Path(service.__file__).with_name("image.py").read_text("utf-8")
STEPS = [{"weight": 0.1, "requests": 200}, {"weight": 0.5, "requests": 900, "at_least": "1h", "at_most": "2h"}]


def patched(**changes: Any) -> list[dict[str, Any]]:
    """Patches of the Rollout in production."""
    (kustomization,) = made("production", **changes)["Kustomization"]
    (patch,) = (one["patch"] for one in kustomization["patches"] if one["target"]["kind"] == "Rollout")
    found: list[dict[str, Any]] = yaml.safe_load(patch)
    return found


def patch(path: str, **changes: Any) -> Any:
    (value,) = (one["value"] for one in patched(**changes) if one["path"] == path)
    return value


def templates(**changes: Any) -> list[dict[str, Any]]:
    return made("production", **changes)["AnalysisTemplate"]


def body(metric: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metric["provider"]["web"]["body"])
    return found


def container() -> dict[str, Any]:
    (found,) = made("base")["Rollout"][0]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_image_is_the_bentos() -> None:
    assert container()["image"] == "bentocast:a1b2c3"
    images = {one["name"]: one for one in made("production")["Kustomization"][0]["images"]}
    assert images["bentocast"] == {"name": "bentocast", "newName": CLUSTER["image"], "newTag": "a1b2c3"}
    assert images["bentocast-judge"]["newName"] == "registry.example.org:5000/team/bentocast-judge"
    assert images["bentocast-judge"]["newTag"] == "7"
    template = made("base")["Rollout"][0]["spec"]["template"]
    assert template["metadata"]["annotations"]["bentocast/bento"] == BENTO


def test_pods_run_as_the_image_does() -> None:
    pod = made("base")["Rollout"][0]["spec"]["template"]["spec"]
    assert f'BENTO, USER = "/home/bentoml/bento", {pod["securityContext"]["runAsUser"]}\n' in IMAGE
    state, _ = (one["mountPath"] for one in container()["volumeMounts"])
    assert f'STATE = "{state}"\n' in IMAGE


def test_what_the_kubelet_asks_is_answered() -> None:
    probes = {one.template for one in endpoints._probes(None)}  # type: ignore[arg-type]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[name]["httpGet"]["path"] in probes
        assert container()[name]["httpGet"]["port"] in {port["name"] for port in container()["ports"]}


def test_every_container_has_limits_and_no_way_to_become_root() -> None:
    base = made("base")
    for kind in ("Rollout", "Deployment"):
        for workload_ in base[kind]:
            pod = workload_["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert not pod["automountServiceAccountToken"]
            for one in pod["containers"]:
                assert one["resources"]["limits"]["memory"]
                assert one["resources"]["requests"]["cpu"]
                assert one["securityContext"]["readOnlyRootFilesystem"]
                assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert {"readinessProbe", "livenessProbe"} <= one.keys()
    assert patch("/spec/template/spec/containers/0/resources") == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }


def test_a_pod_has_time_to_end() -> None:
    pod = made("base")["Rollout"][0]["spec"]["template"]["spec"]
    (drain,) = (one["value"] for one in container()["env"] if one["name"] == "BENTOCAST_DRAIN_SECONDS")
    assert pod["terminationGracePeriodSeconds"] > float(drain) + 30


def test_users_need_keys_and_one_who_tries_it_does_not() -> None:
    keys = {"name": "BENTOCAST_KEYS_FILE", "value": "/etc/bentocast/keys.txt"}
    assert keys in [one["value"] for one in patched() if one["path"].endswith("/env/-")]
    assert "ALLOW_ANONYMOUS" not in yaml.safe_dump(patched())
    (local,) = made("local")["Kustomization"]
    assert "BENTOCAST_ALLOW_ANONYMOUS" in local["patches"][0]["patch"]


def test_the_record_is_in_a_secret_or_with_the_pod() -> None:
    assert "bentocast-record" in yaml.safe_dump(patched())
    alone = {"kubernetes": CLUSTER | {"record_port": None}}
    assert "bentocast-record" not in yaml.safe_dump(patched(**alone))
    (policy, _) = made("production", **alone)["NetworkPolicy"]
    assert [one["ports"][0]["port"] for one in policy["spec"]["egress"]] == [53]


def test_routes_lead_to_what_is_served_and_not_to_the_metrics() -> None:
    (route,) = made("production")["HTTPRoute"]
    (rule,) = route["spec"]["rules"]
    templates = {one.template for one in endpoints.table(_worker(), cast("Metrics", None))}
    reached = {one for one in templates if any(_matches(match["path"], one) for match in rule["matches"])}
    assert templates - reached == {"/metrics", "/livez", "/healthz", "/readyz"}


def _matches(path: dict[str, str], template: str) -> bool:
    prefix = path["type"] == "PathPrefix"
    return template == path["value"] or (prefix and re.match(rf"{path['value']}(/|$)", template) is not None)


def _worker() -> Any:
    settings = SimpleNamespace(grpc=True, grpc_at=3001)
    return SimpleNamespace(served=None, settings=settings, schema=None, ready=True)


def test_grpc_routes_name_every_service() -> None:
    (route,) = made("production")["GRPCRoute"]
    named = {match["method"]["service"] for match in route["spec"]["rules"][0]["matches"]}
    ours = {one.SERVICE.name for one in (grpc_bentoml, grpc_forecast, grpc_inference)}
    assert named == ours | {health.NAME} | set(reflection.NAMES)


def test_weights_are_moved_on_both_routes() -> None:
    routing = patch("/spec/strategy/canary")["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]
    assert routing == {
        "namespace": "prod",
        "httpRoutes": [{"name": traffic.HTTP_ROUTE}],
        "grpcRoutes": [{"name": traffic.GRPC_ROUTE}],
    }
    production = made("production")
    for kind in ("HTTPRoute", "GRPCRoute"):
        (route,) = production[kind]
        weights = {one["name"]: one["weight"] for one in route["spec"]["rules"][0]["backendRefs"]}
        assert weights == {"bentocast-stable": 100, "bentocast-canary": 0}


def test_steps_are_the_plans() -> None:
    plan = {"canary": {"steps": [{"mirror": 1.0}, *STEPS]}}
    steps = patch("/spec/strategy/canary", **plan)["steps"]
    assert [step["setWeight"] for step in steps[::2]] == [10, 50]
    named = [step["analysis"]["templates"][0]["templateName"] for step in steps[1::2]]
    assert named == [one["metadata"]["name"] for one in templates(**plan)] == ["bentocast-10", "bentocast-50"]
    first, second = templates(**plan)
    assert [one["initialDelay"] for one in first["spec"]["metrics"]] == ["75s", "150s", "300s", "600s"]
    assert second["spec"]["metrics"][-1]["initialDelay"] == "3600s"


def test_what_the_judge_is_asked_can_be() -> None:
    for template in templates(canary={"steps": STEPS}):
        for metric in template["spec"]["metrics"]:
            text = metric["provider"]["web"]["body"]
            told = asked.read(re.sub(r"\{\{args\.(\w+)\}\}", r"\1", text).encode())
            assert told.by == "rollouts_pod_template_hash"
            ((weight, began, ended),) = told.at(10_000.0)
            assert (weight, ended) == (told.phases[0].weight, 10_000.0)
            assert metric["initialDelay"] == f"{ended - began:g}s"
            assert told.labels == {"namespace": "prod"}


def test_chances_of_a_false_alarm_add_up_to_what_params_say() -> None:
    whole = sum(body(one["spec"]["metrics"][0])["judgement"]["alpha"] for one in templates(canary={"steps": STEPS}))
    assert whole == pytest.approx(Deploy().judgement.alpha)


def test_limits_of_speed_are_such_that_a_histogram_can_tell_them() -> None:
    judgement = body(templates()[0]["spec"]["metrics"][0])["judgement"]
    assert judgement["slowness"] == {"tolerated": 1.5, "excluded": 2.6, "share": 0.01}
    wide = {"judgement": {"slowness": {"tolerated": 3, "excluded": 5}}}
    assert body(templates(**wide)[0]["spec"]["metrics"][0])["judgement"]["slowness"]["excluded"] == 5.0


@pytest.mark.parametrize(
    ("place", "told", "is_good", "is_bad"),
    [
        ((0, 0), {"outcome": "inconclusive", "requests": 0}, True, False),
        ((0, 0), {"outcome": "pass", "requests": 900}, True, False),
        ((0, 0), {"outcome": "fail", "requests": 900}, False, True),
        ((0, 0), {"outcome": "error", "requests": 0}, False, True),
        ((0, -1), {"outcome": "inconclusive", "requests": 199}, False, False),
        ((0, -1), {"outcome": "inconclusive", "requests": 200}, True, False),
        ((0, -1), {"outcome": "error", "requests": 900}, False, True),
        ((-1, -1), {"outcome": "inconclusive", "requests": 10_000}, False, False),
        ((-1, -1), {"outcome": "pass", "requests": 10_000}, True, False),
        ((-1, -1), {"outcome": "fail", "requests": 10_000}, False, True),
    ],
)
def test_when_a_step_is_over(place: tuple[int, int], told: dict[str, Any], is_good: bool, is_bad: bool) -> None:  # noqa: FBT001
    metric = templates(canary={"steps": STEPS})[place[0]]["spec"]["metrics"][place[1]]
    assert verdicts_of(metric, told) == (is_good, is_bad)


def verdicts_of(metric: dict[str, Any], told: dict[str, Any]) -> tuple[bool, bool]:
    """What Argo Rollouts makes of an answer: its expressions of these are Python's too."""
    scope = {"__builtins__": {}, "result": SimpleNamespace(**told)}
    return eval(metric["successCondition"], scope), eval(metric["failureCondition"], scope)


def test_undecided_may_mean_back() -> None:
    plan = {"canary": {"steps": STEPS, "undecided": "rollback"}}
    last = templates(**plan)[-1]["spec"]["metrics"][-1]
    assert verdicts_of(last, {"outcome": "inconclusive", "requests": 5}) == (False, True)


def test_as_many_pods_as_their_processor_time_asks_for() -> None:
    (scaler,) = made("production")["HorizontalPodAutoscaler"]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6)
    assert scaler["spec"]["metrics"][0]["containerResource"]["target"]["averageValue"] == "600m"
    assert {"op": "remove", "path": "/spec/replicas"} in patched()
    fixed = {"autoscale": None, "instances": 3}
    assert "HorizontalPodAutoscaler" not in made("production", **fixed)
    assert made("base", **fixed)["Rollout"][0]["spec"]["replicas"] == 3
    assert {"op": "remove", "path": "/spec/replicas"} not in patched(**fixed)


def test_prometheus_asks_each_pod_once_and_knows_its_version() -> None:
    (monitor,) = made("production")["ServiceMonitor"]
    assert monitor["spec"]["podTargetLabels"] == ["rollouts-pod-template-hash"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [one for one in made("base")["Service"] if wanted <= one["metadata"]["labels"].items()]
    assert [one["metadata"]["name"] for one in services] == ["bentocast"]
    (page,) = monitor["spec"]["endpoints"]
    assert page["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
    assert page["honorLabels"], "the operator's own label `endpoint` would take the place of the service's"
    local = servers.prometheus(servers.Addresses(None, services=("here:3000",)))["scrape_configs"][0]
    ours = json.dumps(local["metric_relabel_configs"]).replace("source_labels", "sourceLabels")
    assert page["metricRelabelings"] == json.loads(ours)


def test_who_may_reach_whom() -> None:
    service, judge = made("production")["NetworkPolicy"]
    sources = [one["from"][0]["namespaceSelector"]["matchLabels"] for one in service["spec"]["ingress"]]
    assert [list(one.values()) for one in sources] == [["gateways"], ["monitoring"]]
    assert judge["spec"]["ingress"][0]["ports"][0]["port"] == objects.ASKED


def test_no_secret_is_in_any_file() -> None:
    kinds = {kind for folder in render.FOLDERS for kind in made(folder)}
    assert "Secret" not in kinds


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kubernetes": None}, "deploy.kubernetes: got null, wanted what is known of the cluster"),
        ({"canary": {"steps": [{"weight": 0.125}]}}, "got weight 0.125, wanted whole percent"),
        ({"canary": {"steps": [{"weight": 0.001}]}}, "got weight 0.001, wanted whole percent"),
        ({"canary": {"steps": [{"weight": 0.5}], "end": "stop"}}, "deploy.canary.end: got 'stop', wanted 'promote'"),
        ({"canary": {"steps": [{"mirror": 0.5}]}}, "got no step with a weight, wanted one"),
        (
            {"canary": {"steps": [{"header": {"name": "x", "value": "y"}}, {"weight": 0.5}]}},
            "got a step that goes by a header",
        ),
    ],
)
def test_what_cannot_be_rendered(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        render.write(tmp_path / "to", config(**changes), BENTO)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"image": "registry.example.org/team/bentocast:1"}, "kubernetes.image"),
        ({"judge": "registry.example.org/team/judge"}, "kubernetes.judge"),
        ({"host": "https://forecast.example.org"}, "kubernetes.host"),
        ({"gateway": {"name": "public"}}, "kubernetes.gateway.namespace"),
        ({"memory": "1G"}, "kubernetes.memory"),
        ({"prometheus": "http://user:secret@prometheus:9090"}, "kubernetes.prometheus"),
        ({"namespace": "Prod"}, "kubernetes.namespace"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as err:
        config(kubernetes=CLUSTER | changes)
    assert ".".join(map(str, err.value.errors()[0]["loc"])) == key


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ValidationError, match="host"):
        config(kubernetes={key: value for key, value in CLUSTER.items() if key != "host"})


def test_what_was_there_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "to"
    render.write(folder, config(), BENTO)
    assert (folder / "production/horizontalpodautoscaler.yaml").exists()
    render.write(folder, config(autoscale=None), "bentocast:other")
    assert not (folder / "production/horizontalpodautoscaler.yaml").exists()
    assert "bentocast:other" in (folder / "base/rollout.yaml").read_text()
    (folder / "notes.txt").write_text("ours")
    with pytest.raises(ConfigError, match=r"got notes\.txt in it, wanted a folder of its own"):
        render.write(folder, config(), BENTO)
    assert (folder / "notes.txt").read_text() == "ours"


def test_names_within_the_files_are_those_of_the_code() -> None:
    assert workload.USER == verdicts.USER
    containerfile = (Path(verdicts.__file__).parents[1] / "Containerfile").read_text("utf-8")
    assert f"USER {verdicts.USER}" in containerfile
    assert f"EXPOSE {objects.ASKED}" in containerfile
