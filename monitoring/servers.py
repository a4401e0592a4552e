"""Configuration of Prometheus and Alertmanager, made from params.yaml and the addresses of whom they ask and tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data import atomic
from data.errors import ConfigError
from data.params import Params
from deploy.kubernetes import objects, render
from monitoring import alerts, recording

PROMETHEUS, RULES, ALERTMANAGER = "prometheus.yml", "rules.yml", "alertmanager.yml"
PROMETHEUS_RULE = "prometheusrule.yaml"
#: Address that Alertmanager posts alerts to, or a file that holds it.
WEBHOOK, WEBHOOK_FILE = "ALERT_WEBHOOK", "ALERT_WEBHOOK_FILE"
SCRAPE = "15s"
#: Of an Envoy's thousands of series.
ENVOY = (
    "envoy_(cluster_(upstream_rq_xx|upstream_rq_retry|membership_healthy)"
    "|http_downstream_(rq_xx|cx_active|rq_active)|server_(live|uptime))"
)


@dataclass(frozen=True)
class Addresses:
    """Who is asked and told, `host:port` each.

    Attributes:
        targets: file in which the deployment says whom to ask (see `deploy.running.discovery`); None if there is none.
        services: that are asked besides, such as one of `make run`.
        router: an Envoy's page for Prometheus; None if there is none, or it is in the file.
        exporter: `python -m monitoring serve`.
        prometheus: itself.
        alertmanager: None if there is none.
        pushgateway: None if there is none.
    """

    targets: Path | None
    services: tuple[str, ...] = ()
    router: str | None = None
    exporter: str = "127.0.0.1:9108"
    prometheus: str = "127.0.0.1:9090"
    alertmanager: str | None = "127.0.0.1:9093"
    pushgateway: str | None = "127.0.0.1:9091"


#: Of compose.yaml, by the names of its services. The seven tests run on the machine itself (`python -m monitoring serve
#: --host 0.0.0.0`), where record and MLflow are reached.
STACK = Addresses(
    targets=None,
    services=("service:3000",),
    router="envoy:9902",
    exporter="host.docker.internal:9108",
    prometheus="localhost:9090",
    alertmanager="alertmanager:9093",
    pushgateway="pushgateway:9091",
)


def write(folder: Path, params: Params, addresses: Addresses, environ: Mapping[str, str] = os.environ) -> None:
    """Write the three files; only their owner may read Alertmanager's, which has a secret.

    Raises:
        ConfigError: the objective cannot be told from the service's metrics, or the webhook is no address.
    """
    made = {
        RULES: rules(params),
        PROMETHEUS: prometheus(addresses),
        ALERTMANAGER: alertmanager(webhook(environ)),
    }
    for name, content in made.items():
        with atomic.replacing(folder / name) as scratch:
            scratch.touch(mode=0o600 if name == ALERTMANAGER else 0o644)
            scratch.write_text(yaml.safe_dump(content, sort_keys=False, width=1_000), encoding="utf-8")


def rules(params: Params, *, cluster: bool = False) -> dict[str, Any]:
    """All rules; arguments and errors as those of `alerts.alerts` and `write`."""
    return {"groups": [*recording.groups(params), {"name": "alerts", "rules": alerts.alerts(params, cluster=cluster)}]}


def write_for_cluster(folder: Path, params: Params) -> None:
    """Write the rules as an object of the Prometheus operator's, with the file that kustomize begins with.

    Raises:
        ConfigError: the objective cannot be told from the service's metrics.
    """
    rule = objects.made("PrometheusRule", "monitoring.coreos.com/v1", objects.APP, rules(params, cluster=True))
    atomic.write_text(folder / PROMETHEUS_RULE, render.yaml_of(rule))
    atomic.write_text(folder / "kustomization.yaml", render.kustomization([PROMETHEUS_RULE]))


def prometheus(addresses: Addresses) -> dict[str, Any]:
    """What Prometheus scrapes, and whom it tells."""
    static = [
        ("bentocast", addresses.services),
        ("router", (addresses.router,)),
        ("monitoring", (addresses.exporter,)),
        ("prometheus", (addresses.prometheus,)),
        ("alertmanager", (addresses.alertmanager,)),
        ("pushgateway", (addresses.pushgateway,)),
    ]
    jobs = [_job(name, [one for one in targets if one]) for name, targets in static if any(targets)]
    made: dict[str, Any] = {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": [RULES],
        "scrape_configs": [*([_deployment(addresses.targets)] if addresses.targets else []), *jobs],
    }
    if addresses.alertmanager:
        managers = [{"static_configs": [{"targets": [addresses.alertmanager]}]}]
        made["alerting"] = {"alertmanagers": managers}
    return made


def _deployment(targets: Path) -> dict[str, Any]:
    """Instances and Envoys as they come and go.

    A version is called as BentoML calls it on the page, and an instance by its name, since ports are used again.
    """
    return {
        "job_name": "deployment",
        "honor_labels": True,
        "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "30s"}],
        "relabel_configs": [
            {"source_labels": ["version"], "regex": "(.+)", "target_label": "service_version"},
            {"source_labels": ["instance_name"], "regex": "(.+)", "target_label": "instance"},
            {"action": "labeldrop", "regex": "version|instance_name"},
        ],
        "metric_relabel_configs": [
            *_DROPPED,
            {"source_labels": ["job", "__name__"], "regex": f"bentocast;.+|router;{ENVOY}", "action": "keep"},
        ],
    }


#: A worker's pid would make new series each time it starts; when a series was made is known from the series.
_DROPPED = (
    {"action": "labeldrop", "regex": "pid"},
    {"source_labels": ["__name__"], "regex": ".+_created", "action": "drop"},
)


def _job(name: str, targets: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "job_name": name,
        "static_configs": [{"targets": targets}],
        "metric_relabel_configs": list(_DROPPED),
    }
    if name == "router":
        made["metrics_path"] = "/stats/prometheus"
        made["metric_relabel_configs"].append({"source_labels": ["__name__"], "regex": ENVOY, "action": "keep"})
    if name in ("bentocast", "pushgateway"):
        made["honor_labels"] = True
    return made


def webhook(environ: Mapping[str, str]) -> str | None:
    """Whom Alertmanager tells; a secret.

    Raises:
        ConfigError: the file cannot be read, or what is said is no address; which is not shown.
    """
    url, source = environ.get(WEBHOOK), WEBHOOK
    if not url and (file := environ.get(WEBHOOK_FILE)):
        source = f"the file in {WEBHOOK_FILE}"
        try:
            url = Path(file).read_text(encoding="utf-8").strip()
        except OSError as err:
            raise ConfigError(f"{WEBHOOK_FILE}: cannot read {file}: {err.strerror}") from err
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{source}: what it holds is no address, wanted one that begins with https:// or http://")
    return url or None


def alertmanager(url: str | None) -> dict[str, Any]:
    """How alerts are routed; without an address they can be seen on Alertmanager's own page alone."""
    told = {"webhook_configs": [{"url": url, "send_resolved": True}]} if url else {}
    return {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname", "job"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "1d",
            "routes": [
                {"receiver": "pages", "matchers": ['severity="page"'], "group_wait": "10s", "repeat_interval": "4h"}
            ],
        },
        "receivers": [{"name": "pages", **told}, {"name": "tickets", **told}],
        # Each needs `equal`: without it one alert mutes those of everything else. The seven tests are another job's than the
        # service that they look at, and a cluster's namespace is all that both say.
        "inhibit_rules": [
            _mutes("ServiceDown", "InstanceDown|(Error|Latency)Budget.*", "job"),
            _mutes("ErrorBudgetBurnsFast", "ErrorBudgetBurns(Slowly)?|LatencyBudget.*", "job"),
            _mutes("ErrorBudgetBurns", "ErrorBudgetBurnsSlowly", "job"),
            _mutes("LatencyBudgetBurnsFast", "LatencyBudgetBurns(Slowly)?", "job"),
            _mutes("LatencyBudgetBurns", "LatencyBudgetBurnsSlowly", "job"),
            _mutes("RecordDown", "RecordDropsForecasts", "job"),
            _mutes("InputsDrifted", "MlTestFailed", "job", "test"),
            _mutes("ServiceDown", _OF_SERVICE, "namespace"),
            _mutes("TargetMissing", _OF_SERVICE, "namespace", job="bentocast"),
        ],
    }


#: What a test says while there is no service to look at.
_OF_SERVICE = "MlTest(Failed|Inconclusive)"


def _mutes(source: str, target: str, *equal: str, **labels: str) -> dict[str, Any]:
    """While an alert with these labels fires, nobody is told of others whose labels `equal` are the same."""
    return {
        "source_matchers": [f'{name}="{value}"' for name, value in {"alertname": source, **labels}.items()],
        "target_matchers": [f'alertname=~"{target}"'],
        "equal": list(equal),
    }
