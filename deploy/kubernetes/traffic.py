"""How users reach the pods, and who else may."""

from __future__ import annotations

from data.deployment import Kubernetes
from deploy.kubernetes import objects
from deploy.kubernetes.objects import APP, ASKED, CANARY, GRPC, HTTP, JUDGE, STABLE, Object, made

HTTP_ROUTE, GRPC_ROUTE = "bentocast", "bentocast-grpc"
#: What users may ask for. The metrics and the probes are not for them.
PREFIXES = ("/v1", "/v2", "/forecast", "/page", "/static")
PATHS = ("/", "/docs", "/openapi.json", "/schema.json")
#: Services by gRPC: a gateway that matches none sends all, and two routes of one host must not both want everything.
METHODS = (
    "inference.GRPCInferenceService",
    "forecast.v1.ForecastService",
    "bentoml.grpc.v1.BentoService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
#: A deadline of the gateway's above the service's own, which answers 504 with a reason.
TIMEOUT = "60s"


def routes(cluster: Kubernetes) -> list[Object]:
    """HTTP and gRPC of one host, both with the weights that Argo Rollouts moves."""
    parents = [{"name": cluster.gateway.name, "namespace": cluster.gateway.namespace}]

    def backends(port: int) -> list[Object]:
        return [{"name": STABLE, "port": port, "weight": 100}, {"name": CANARY, "port": port, "weight": 0}]

    paths = [("PathPrefix", one) for one in PREFIXES] + [("Exact", one) for one in PATHS]
    http = {
        "matches": [{"path": {"type": kind, "value": path}} for kind, path in paths],
        "timeouts": {"request": TIMEOUT},
        "backendRefs": backends(HTTP),
    }
    grpc = {
        "matches": [{"method": {"type": "Exact", "service": name}} for name in METHODS],
        "backendRefs": backends(GRPC),
    }
    return [
        made(kind, "gateway.networking.k8s.io/v1", name, {"parentRefs": parents, "hostnames": [host], "rules": [rule]})
        for kind, name, host, rule in (
            ("HTTPRoute", HTTP_ROUTE, cluster.host, http),
            ("GRPCRoute", GRPC_ROUTE, cluster.host, grpc),
        )
    ]


def policies(cluster: Kubernetes) -> list[Object]:
    """Who may reach the pods, and whom they may: the gateway and Prometheus the service; Argo Rollouts the judge."""
    names = {"to": [{"namespaceSelector": {}}], "ports": [_port(53, "UDP"), _port(53, "TCP")]}
    out = [names]
    if cluster.record_port is not None:
        out.append({"ports": [_port(cluster.record_port)]})
    prometheus = {"to": [_namespace(cluster.prometheus_namespace)]}
    service = _policy(
        APP,
        [
            {"from": [_namespace(cluster.gateway.namespace)], "ports": [_port(HTTP), _port(GRPC)]},
            {"from": [_namespace(cluster.prometheus_namespace)], "ports": [_port(HTTP)]},
        ],
        out,
    )
    asked = [{"from": [_namespace(cluster.argo_namespace)], "ports": [_port(ASKED)]}]
    return [service, _policy(JUDGE, asked, [names, prometheus])]


def _policy(app: str, ingress: list[Object], egress: list[Object]) -> Object:
    spec = {
        "podSelector": {"matchLabels": objects.selected(app)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return made("NetworkPolicy", "networking.k8s.io/v1", app, spec, app=app)


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _port(number: int, protocol: str = "TCP") -> Object:
    return {"port": number, "protocol": protocol}
