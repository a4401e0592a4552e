"""The rules, tried by promtool: for each alert series that fire it and series that do not; and what is recorded."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry

from data import drift, params
from data.errors import ConfigError
from data.params import Params
from data.verdict import Outcome
from deploy.router.messages import PUBLIC
from monitoring import alerts, invariants, recording, servers, suite
from monitoring.invariants import Stretch
from service import endpoints
from service.metrics import LATENCY, Metrics
from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference
from tests.monitoring.servers import program
from tests.service import world

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
OBJECTIVE = {"seconds": 0.1, "percentile": 0.99, "errors": 0.001}
WORK = 'job="bentocast",instance="a",service_version="v1",service_name="b",runner_name="b",endpoint="/v1/timeseries/forecast"'
PROBE = WORK.replace("/v1/timeseries/forecast", "/readyz")


@pytest.fixture(scope="module")
def config() -> Params:
    loaded = params.load(ROOT / "params.yaml")
    return loaded.model_validate(loaded.model_dump() | {"loadtest": {"objective": OBJECTIVE}})


@pytest.fixture(scope="module")
def folder(config: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("conf")
    servers.write(made, config, servers.Addresses(made / "targets.json"), {})
    return made


@pytest.fixture(scope="module")
def cluster(config: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as a cluster's Prometheus has them."""
    made = tmp_path_factory.mktemp("cluster")
    servers.write_for_cluster(made, config)
    rule = yaml.safe_load((made / servers.PROMETHEUS_RULE).read_text())
    (made / servers.RULES).write_text(yaml.safe_dump(rule["spec"]))
    return made


@dataclass(frozen=True)
class Case:
    """Series, each an amount a minute (or as promtool writes values), and whether the alert fires at a moment."""

    alert: str
    fires: bool
    series: dict[str, str]
    at: str = "30m"
    every: str = "1m"
    name: str = field(default="")


def answers(code: int, values: str, labels: str = WORK) -> dict[str, str]:
    return {f'bentoml_service_request_total{{{labels},http_response_code="{code}"}}': values}


def timed(whole: str, within: str) -> dict[str, str]:
    name = f'bentoml_service_request_duration_seconds_%s{{{WORK},http_response_code="200"%s}}'
    return {name % ("count", ""): whole, name % ("bucket", ',le="0.1"'): within, **answers(200, whole)}


def burning(name: str, alert: str, at: str, every: str, *, bad: float, many: int, fires: bool) -> list[Case]:
    """So many of 100 requests fail; ten times as many are slow, and may be."""
    failed = answers(200, f"0+{100 - bad:g}x{many}") | answers(500, f"0+{bad:g}x{many}")
    slow = timed(f"0+100x{many}", f"0+{100 - 10 * bad:g}x{many}")
    return [
        Case(f"ErrorBudget{alert}", fires, failed, at, every, name),
        Case(f"LatencyBudget{alert}", fires, slow, at, every, name),
    ]


def routed(code: int, values: str, prefix: str = "public") -> dict[str, str]:
    """What an Envoy answered on one of its listeners."""
    labels = f'job="router",instance="r",envoy_http_conn_manager_prefix="{prefix}",envoy_response_code_class="{code}"'
    return {f"envoy_http_downstream_rq_xx{{{labels}}}": values}


NOT_KEPT = answers(503, "0+5x90", WORK.replace("/v1/timeseries/forecast", "/v1/timeseries/actuals"))


def loop(turned: str, *, runs: int, state: str) -> dict[str, str]:
    """When the loop took its last turn, whether it is there, and the newest retraining."""
    own = 'job="monitoring",instance="m"'
    return {
        f"retraining_loop_turn_timestamp_seconds{{{own}}}": turned,
        f"retraining_loop_running{{{own}}}": f"{runs}x400",
        f'retraining_newest{{{own},state="{state}",step="train"}}': "1x400",
    }


def compared(check: str, value: float, test: str = "invariants") -> dict[str, str]:
    """A check of one of the seven tests whose limit is 1."""
    labels = f'{{job="monitoring",instance="m",test="{test}",check="{check}"}}'
    return {f"ml_test_check_value{labels}": f"{value}x30", f"ml_test_check_limit{labels}": "1x30"}


FIRES, QUIET = True, False
CASES = [
    *burning("2 %", "BurnsFast", "70m", "1m", bad=2, many=90, fires=True),
    *burning("1 %", "BurnsFast", "70m", "1m", bad=1, many=90, fires=False),
    *burning("1 %", "Burns", "400m", "10m", bad=1, many=45, fires=True),
    *burning("0.4 %", "Burns", "400m", "10m", bad=0.4, many=45, fires=False),
    *burning("0.2 %", "BurnsSlowly", "75h", "30m", bad=0.2, many=160, fires=True),
    *burning("0.05 %", "BurnsSlowly", "75h", "30m", bad=0.05, many=160, fires=False),
    Case("ErrorBudgetBurnsFast", QUIET, answers(200, "0+98x90") | answers(500, "0+5x40 200x50"), "70m", name="it is over"),
    Case("ErrorBudgetBurnsFast", QUIET, answers(200, "0+1x90") | answers(500, "0+0.1x90"), "70m", name="6 of 66"),
    Case("ErrorBudgetBurnsFast", QUIET, answers(200, "0+100x90") | answers(400, "0+50x90"), "70m", name="their own fault"),
    Case("ErrorBudgetBurnsFast", QUIET, answers(200, "0+9x90") | answers(503, "0+9x90", PROBE), "70m", name="a probe"),
    Case("RouterErrorBudgetBurnsFast", FIRES, routed(2, "0+98x90") | routed(5, "0+2x90"), "70m"),
    Case("RouterErrorBudgetBurnsFast", FIRES, routed(2, "0+98x90", "users") | routed(5, "0+2x90", "users"), "70m", name="stack"),
    Case("RouterErrorBudgetBurnsFast", FIRES, routed(2, "9x90") | routed(5, "0x65 0+90x25"), "70m", name="nothing else"),
    Case("RouterErrorBudgetBurnsFast", QUIET, routed(2, "0+99x90") | routed(5, "0+1x90"), "70m"),
    Case("RouterErrorBudgetBurnsFast", QUIET, routed(2, "0+98x90") | routed(5, "0+98x90", "admin"), "70m", name="its own pages"),
    Case("RouterErrorBudgetBurnsFast", QUIET, routed(2, "0+98x90") | routed(4, "0+98x90"), "70m", name="their own fault"),
    Case("RouterErrorBudgetBurnsFast", QUIET, routed(2, "0+95x90") | routed(5, "0+5x90") | NOT_KEPT, "70m", name="a record away"),
    Case("RouterErrorBudgetBurnsFast", FIRES, routed(2, "0+95x90") | routed(5, "0+9x90") | NOT_KEPT, "70m", name="and others"),
    Case("MlTestFailed", FIRES, {'ml_test_outcome{job="monitoring",test="skew"}': "2x30"}),
    Case("MlTestFailed", FIRES, {'ml_test_outcome{job="monitoring",test="skew"}': "3x30"}, name="an error"),
    Case("MlTestFailed", QUIET, {'ml_test_outcome{job="monitoring",test="skew"}': "2x5 1x25"}, name="5 minutes"),
    Case("InputsDrifted", FIRES, compared("drift over 1d", 1.3)),
    Case("InputsDrifted", FIRES, compared("drift over 28d", 1.01), name="of a month"),
    Case("InputsDrifted", QUIET, compared("drift over 1d", 1.0)),
    Case("InputsDrifted", QUIET, compared("range over 1d", 1.3), name="no drift"),
    Case("InputsDrifted", QUIET, compared("drift over 1d", 1.3, test="cost"), name="of another test"),
    Case("MlTestInconclusive", FIRES, {'ml_test_outcome{job="monitoring",test="skew"}': "1x30"}, "25h", "1h"),
    Case("MlTestInconclusive", QUIET, {'ml_test_outcome{job="monitoring",test="skew"}': "1x20 0 1x9"}, "25h", "1h"),
    Case("MlTestStale", FIRES, {'ml_test_run_timestamp_seconds{job="monitoring",test="skew"}': "300x60"}, "40m"),
    Case("MlTestStale", FIRES, {'ml_test_run_timestamp_seconds{job="monitoring",test="skew"}': "-9999x60"}, "20m", name="never"),
    Case("MlTestStale", QUIET, {'ml_test_run_timestamp_seconds{job="monitoring",test="skew"}': "0+60x60"}, "40m"),
    Case("ServiceDown", FIRES, {'up{job="bentocast",instance="a"}': "0x30", 'up{job="bentocast",instance="b"}': "0x30"}),
    Case("ServiceDown", QUIET, {'up{job="bentocast",instance="a"}': "0x30", 'up{job="bentocast",instance="b"}': "1x30"}),
    Case("InstanceDown", FIRES, {'up{job="bentocast",instance="a"}': "0x30", 'up{job="bentocast",instance="b"}': "1x30"}),
    Case("InstanceDown", QUIET, {'up{job="bentocast",instance="a"}': "1x30", 'up{job="router",instance="b"}': "0x30"}),
    Case("RouterDown", FIRES, {'up{job="router",instance="r"}': "1x10 0x20"}),
    Case("RouterDown", QUIET, {'up{job="router",instance="r"}': "0x10 1x20"}),
    Case("TargetMissing", FIRES, {f'up{{job="{job}"}}': "1x30" for job in ("bentocast", "monitoring")}),
    Case("TargetMissing", FIRES, {f'up{{job="{job}"}}': "1x30" for job in ("prometheus", "monitoring")}, name="service"),
    Case(
        "TargetMissing",
        FIRES,
        {'up{job="bentocast"}': "1x30", 'up{job="prometheus"}': "1x30", 'up{job="monitoring"}': "0x30"},
        name="gone",
    ),
    Case("TargetMissing", QUIET, {f'up{{job="{job}"}}': "1x30" for job in ("bentocast", "prometheus", "monitoring")}),
    Case("RecordDropsForecasts", FIRES, {'record_forecasts_dropped_total{job="bentocast",instance="a"}': "0x20 0+5x10"}),
    Case("RecordDropsForecasts", QUIET, {'record_forecasts_dropped_total{job="bentocast",instance="a"}': "900x30"}),
    Case("RecordDown", FIRES, {'record_healthy{job="bentocast",instance="a"}': "1x20 0x10"}),
    Case("RecordDown", QUIET, {'record_healthy{job="bentocast",instance="a"}': "0x4 1x30"}),
    Case(
        "PipelineStopped",
        FIRES,
        {f'pipeline_stage_last_success_timestamp_seconds{{job="pipeline",stage="{stage}"}}': "0x90" for stage in "ab"},
        "860h",
        "10h",
    ),
    Case(
        "PipelineStopped",
        QUIET,
        {
            'pipeline_stage_last_success_timestamp_seconds{job="pipeline",stage="ingest"}': "0x90",
            'pipeline_stage_last_success_timestamp_seconds{job="pipeline",stage="promote"}': "0x40 1440000x50",
        },
        "860h",
        "10h",
        name="one stage has run",
    ),
    Case("PipelineStageFailed", FIRES, {'pipeline_stage_success{job="pipeline",stage="train"}': "0x30"}),
    Case("PipelineStageFailed", QUIET, {'pipeline_stage_success{job="pipeline",stage="train"}': "1x30"}),
    Case("RolloutPaused", FIRES, {'rollout_under_way{strategy="canary",state="paused",candidate="b:2"}': "1x300"}, "270m"),
    Case("RolloutPaused", QUIET, {'rollout_under_way{strategy="canary",state="running",candidate="b:2"}': "1x300"}, "270m"),
    Case("RolloutPaused", QUIET, {'rollout_under_way{strategy="ab",state="paused",candidate="b:2"}': "1x300"}, "270m", name="ab"),
    Case("RolloutGone", FIRES, {'rollout_under_way{strategy="ab",state="gone",candidate="b:2"}': "1x30"}),
    Case("RolloutGone", QUIET, {'rollout_under_way{strategy="canary",state="running",candidate="b:2"}': "1x30"}),
    Case("RolloutGone", QUIET, {'rollout_under_way{strategy="canary",state="gone",candidate="b:2"}': "1x3"}, name="resumed"),
    Case("LoopStopped", FIRES, loop("0x400", runs=0, state="healed"), "200m", name="it is gone"),
    Case("LoopStopped", FIRES, loop("0x400", runs=0, state="running"), "200m", name="gone in a retraining"),
    Case("LoopStopped", FIRES, loop("0x400", runs=1, state="waiting"), "200m", name="it hangs"),
    Case("LoopStopped", QUIET, loop("0x400", runs=1, state="running"), "200m", name="it retrains"),
    Case("LoopStopped", QUIET, loop("0+60x400", runs=0, state="healed"), "200m", name="not for long"),
    Case("LoopStopped", QUIET, {'retraining_loop_running{job="monitoring",instance="m"}': "0x400"}, "200m", name="never was"),
]  # fmt: skip


def pod(name: str, of: str = "5c6", **others: str) -> str:
    """Labels that the Prometheus operator adds to a pod's `up`, and to all of its series."""
    labels = {
        "job": "bentocast",
        "namespace": "shop",
        "service": "bentocast",
        "endpoint": "http",
        "container": "bentocast",
        "pod": f"bentocast-{of}-{name}",
        "instance": f"10.0.0.{ord(name)}:3000",
        "rollouts_pod_template_hash": of,
    }
    return ",".join(f'{key}="{value}"' for key, value in (labels | others).items())


def asked_of(name: str, code: int, values: str) -> dict[str, str]:
    """Forecasts that a pod answered so."""
    return answers(code, values, pod(name, endpoint="/v1/timeseries/forecast", service_version="v1", service_name="b"))


POD_A, POD_B = f"up{{{pod('a')}}}", f"up{{{pod('b')}}}"
ONE_POD_FAILS = asked_of("a", 500, "0+1x90") | asked_of("a", 200, "0+9x90") | asked_of("b", 200, "0+9990x90")
CLUSTER_CASES = [
    Case("ServiceDown", FIRES, {POD_A: "0x30", POD_B: "0x30"}),
    Case("ServiceDown", FIRES, {}, name="no pod at all"),
    Case("ServiceDown", QUIET, {POD_A: "0x30", POD_B: "1x30"}, name="one of two"),
    Case("InstanceDown", FIRES, {POD_A: "0x30", POD_B: "1x30"}),
    Case("TargetMissing", QUIET, {'up{job="prometheus"}': "0x30"}, name="what is for others"),
    Case("TargetMissing", FIRES, {'up{job="pushgateway"}': "0x30"}),
    Case("ErrorBudgetBurnsFast", QUIET, ONE_POD_FAILS, "70m", name="one pod, few of all requests"),
    Case("ErrorBudgetBurnsFast", FIRES, asked_of("a", 500, "0+1x90") | asked_of("b", 200, "0+40x90"), "70m"),
]


def promtool(folder: Path, *tests: dict[str, Any], every: str = "1m") -> None:
    """Run tests of the rules."""
    made = yaml.safe_load((folder / servers.RULES).read_text())
    asked = {
        "rule_files": [str(folder / servers.RULES)],
        "evaluation_interval": every,
        # What is recorded is older than five minutes at the next evaluation where these are far apart.
        "group_eval_order": [group["name"] for group in made["groups"]],
        "tests": list(tests),
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(asked))
    done = subprocess.run([program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def series(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in given.items()]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: " ".join([case.alert, "fires" if case.fires else "is quiet", case.name]).strip()
)
def test_alert(folder: Path, case: Case) -> None:
    check(folder, case)


@pytest.mark.parametrize(
    "case",
    CLUSTER_CASES,
    ids=lambda case: " ".join([case.alert, "fires" if case.fires else "is quiet", case.name]).strip(),
)
def test_alert_in_a_cluster(cluster: Path, case: Case) -> None:
    check(cluster, case)


def check(folder: Path, case: Case) -> None:
    expression = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) > 0 or vector(0)'
    asked = {
        "expr": f"sgn({expression})",
        "eval_time": case.at,
        "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
    }
    promtool(
        folder,
        {"interval": case.every, "input_series": series(case.series), "promql_expr_test": [asked]},
        every=case.every,
    )


def test_every_alert_has_both_cases(config: Params) -> None:
    names = {rule["alert"] for rule in alerts.alerts(config)}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names


def test_every_alert_says_what_with_its_number_and_where_to_read_on(config: Params) -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", page, re.MULTILINE)}
    for rule in alerts.alerts(config):
        told = rule["annotations"]
        assert set(told) == {"summary", "description", "runbook_url"}
        assert "$value" in told["description"], rule["alert"]
        where, _, heading = told["runbook_url"].partition("#")
        assert where == "docs/runbooks.md"
        assert heading in headings, f"docs/runbooks.md has no heading {rule['alert']}"
        section = re.split(r"^## ", page.split(f"## {rule['alert']}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        assert "**Means:**" in section
        assert re.search(r"\*\*(Look, do|Do)\b", section), rule["alert"]
        assert f"*{rule['labels']['severity'].capitalize()}*" in section.replace(".*", "*"), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_what_test_2_says_of_drift_is_what_the_alert_asks_for(config: Params) -> None:
    stretch = Stretch("1d", "1d", {"lag_1": np.array([900.0, 100.0])}, {}, {}, {"lag_1": 0.01}, {}, {})
    shares = {"lag_1": np.array([0.5, 0.5])}
    verdict = invariants.judge([stretch], shares, config.monitoring.invariants, config.series)
    asked = dict(re.findall(r'(\w+)=~?"(.+?)"', alerts.DRIFT))
    assert asked["test"] in suite.TESTS
    (drifted,) = (check for check in verdict.checks if re.fullmatch(asked["check"], check.name))
    assert drifted.outcome is Outcome.FAIL
    assert drifted.numbers["value"] > drifted.numbers["limit"] == 1


def test_a_description_is_readable(folder: Path) -> None:
    text = (
        "2% of the requests of the last 1h failed, wanted at most 0.0144 (14.4 times the 0.001 of loadtest.objective), and it "
        "goes on."
    )
    expected = {
        "exp_labels": {"severity": "page", "job": "bentocast"},
        "exp_annotations": {
            "summary": "Too many requests failed",
            "description": text,
            "runbook_url": "docs/runbooks.md#errorbudgetburnsfast",
        },
    }
    asked = {"alertname": "ErrorBudgetBurnsFast", "eval_time": "70m", "exp_alerts": [expected]}
    given = series(answers(200, "0+98x90") | answers(500, "0+2x90"))
    promtool(folder, {"interval": "1m", "input_series": given, "alert_rule_test": [asked]})


# What is recorded


def test_what_is_recorded_in_a_cluster_is_of_the_service_and_its_versions_and_not_of_pods(cluster: Path) -> None:
    bins = {
        f'model_feature_bin_total{{{pod(name, of)},feature="lag_1",bin="0"}}': "0+100x90"
        for name, of in (("a", "5c6"), ("b", "5c6"), ("c", "7d8"))
    }
    given = ONE_POD_FAILS | bins
    whole = '{job="bentocast",namespace="shop"}'
    version = '{job="bentocast",namespace="shop",service_version="v1",rollouts_pod_template_hash="5c6"}'
    binned = '{job="bentocast",namespace="shop",rollouts_pod_template_hash="%s",feature="lag_1",bin="0"}'
    wanted: dict[str, dict[str, float]] = {
        "job:request_errors:ratio_rate1h": {whole: 0.0001},
        "service_version:request_errors:ratio_rate5m": {version: 0.0001},
        "feature_bin:model_feature_bin:increase1h": {binned % "5c6": 12_000, binned % "7d8": 6_000},
    }
    asked = [
        {
            "expr": f"round({name}, 0.0001)",
            "eval_time": "80m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
        }
        for name, samples in wanted.items()
    ]
    promtool(cluster, {"interval": "1m", "input_series": series(given), "promql_expr_test": asked})


def test_psi_and_js_are_those_of_numpy(folder: Path) -> None:
    """Counts of two instances in ten bins, against shares of training."""
    random = np.random.default_rng(3)
    counts = random.integers(0, 90, (2, 10))
    shares = random.dirichlet(np.full(10, 5.0)).round(6)
    now = (counts.sum(axis=0) * 60 + 0.5) / (counts.sum() * 60 + 5)
    middle = (now + shares) / 2
    psi = float(((now - shares) * np.log(now / shares)).sum())
    js = float((now * np.log(now / middle) + shares * np.log(shares / middle)).sum() / 2)
    given = {}
    for number, instance in enumerate("ab"):
        for place in range(10):
            labels = f'{{job="bentocast",service_version="v",feature="lag_1",bin="{place}",instance="{instance}"}}'
            given[f"model_feature_bin_total{labels}"] = f"0+{counts[number, place]}x90"
            given[f"model_feature_reference_ratio{labels}"] = f"{shares[place]}x90"
    labels = '{job="bentocast",service_version="v",feature="lag_1"}'
    wanted = {"psi": psi, "js": js, "psi_noise": drift.CHANCE / (counts.sum() * 60)}
    asked = [
        {
            "expr": f"round(feature:model_feature:{name}1h * 1e7)",
            "eval_time": "80m",
            "exp_samples": [{"labels": labels, "value": round(value * 1e7)}],
        }
        for name, value in wanted.items()
    ]
    promtool(folder, {"interval": "1m", "input_series": series(given), "promql_expr_test": asked})


def test_no_errors_are_a_ratio_of_zero_and_no_requests_are_none(folder: Path) -> None:
    ratio = "service_version:request_errors:ratio_rate5m"
    zero = {
        "expr": ratio,
        "eval_time": "20m",
        "exp_samples": [{"labels": f'{ratio}{{job="bentocast",service_version="v1"}}', "value": 0}],
    }
    promtool(folder, {"interval": "1m", "input_series": series(answers(200, "0+9x30")), "promql_expr_test": [zero]})
    none = {"expr": f"{ratio} >= 0", "eval_time": "20m", "exp_samples": []}
    promtool(folder, {"interval": "1m", "input_series": series(answers(200, "9x30")), "promql_expr_test": [none]})


def test_work_is_what_runs_the_model(tmp_path: Path) -> None:
    city = world.make(world.CITY, 0.0, tmp_path)
    table = endpoints.table(city.worker(), Metrics(city.served, CollectorRegistry()))
    pattern = re.compile(recording.WORK.partition("`")[2].rstrip("`"))
    assert {one.template for one in table if pattern.fullmatch(one.template)} == {
        one.template for one in table if one.is_work
    }
    assert any(f'endpoint="{one.template}"' in recording.REFUSED for one in table)
    for service in (grpc_inference.SERVICE, grpc_forecast.SERVICE, grpc_bentoml.SERVICE):
        found = {one.name for one in service.methods if pattern.fullmatch(f"/{service.name}/{one.name}")}
        assert found == {one.name for one in service.methods if one.is_work}
        assert len(found) == 1


def test_routed_is_what_users_get_of_either_envoy() -> None:
    """Of compose.yaml's the listener `users`, and not the one that shows Prometheus its pages."""
    stack = yaml.safe_load((ROOT / "deploy" / "stack" / "envoy.yaml").read_text())
    (users, metrics) = (
        (one["address"]["socket_address"]["port_value"], one["filter_chains"][0]["filters"][0]["typed_config"])
        for one in stack["static_resources"]["listeners"]
    )
    assert (users[0], users[1]["stat_prefix"]) == (8080, "users")
    prefixes = {users[1]["stat_prefix"], metrics[1]["stat_prefix"], PUBLIC, "admin"}
    pattern = re.compile(re.findall(r'=~"(.*)"', recording.ROUTED)[0])
    assert {prefix for prefix in prefixes if pattern.fullmatch(prefix)} == {"users", PUBLIC}


@pytest.mark.parametrize(("seconds", "edge"), [(0.1, 0.1), (0.12, 0.1), (60.0, 30.0), (0.001, 0.001)])
def test_the_edge_that_stands_for_a_latency_is_not_longer(seconds: float, edge: float) -> None:
    assert recording.edge(seconds) == edge


def test_an_objective_below_all_edges_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        recording.edge(math.nextafter(LATENCY[0], 0))
    assert "wanted 0.001 or more, the first edge of the service's histogram of latencies" in caught.value.message
