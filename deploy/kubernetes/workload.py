"""The service itself: pods that Argo Rollouts brings, addresses that lead to them, and how many there are."""

from __future__ import annotations

from typing import Any

from data import durations
from data.deployment import Deploy, Kubernetes
from deploy.kubernetes import objects
from deploy.kubernetes.objects import APP, CANARY, GRPC, HASH, HTTP, PODS, SCRAPED, STABLE, Object, made

#: As in the image (`service.image`).
USER, STATE = 1034, "/home/bentoml/state"
#: Kubernetes tells gateways of a pod that ends while it tells the pod: so long both may be believed.
DRAIN_SECONDS = 5
#: The longest that a request may take, by default, and what it takes to write the record out.
END_SECONDS = DRAIN_SECONDS + 30 + 10
#: Seconds until a container that does not come up is started again.
START_SECONDS = 60
KEYS, RECORD = "bentocast-keys", "bentocast-record"


def base(bento: str, image: str, replicas: int) -> list[Object]:
    """What there is in every cluster.

    Args:
        bento: its tag.
        image: of it, with a tag.
        replicas: pods.
    """
    ports: dict[str, tuple[int, str | None]] = {"http": (HTTP, None), "grpc": (GRPC, "kubernetes.io/h2c")}
    return [
        made("ServiceAccount", "v1", APP, automountServiceAccountToken=False),
        _rollout(bento, image, replicas),
        objects.service(STABLE, APP, ports),
        objects.service(CANARY, APP, ports),
        objects.pods(PODS, APP, "http", HTTP),
    ]


def _rollout(bento: str, image: str, replicas: int) -> Object:
    container: Object = {
        "name": APP,
        "image": image,
        "ports": [{"name": "http", "containerPort": HTTP}, {"name": "grpc", "containerPort": GRPC}],
        "env": [{"name": "BENTOCAST_DRAIN_SECONDS", "value": str(DRAIN_SECONDS)}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "startupProbe": objects.probe("/readyz", "http", 1, START_SECONDS),
        "readinessProbe": objects.probe("/readyz", "http", 2, 2),
        # Long, since a worker that is busy is not dead.
        "livenessProbe": objects.probe("/livez", "http", 10, 6, timeout=5),
        "securityContext": objects.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "state", "mountPath": STATE}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod: Object = {
        "serviceAccountName": APP,
        "automountServiceAccountToken": False,
        "securityContext": objects.pod_security(USER),
        "terminationGracePeriodSeconds": END_SECONDS,
        "containers": [container],
        "volumes": [
            {"name": "state", "emptyDir": {"sizeLimit": "2Gi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }
    spec: Object = {
        "replicas": replicas,
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 600,
        "progressDeadlineAbort": True,
        "selector": {"matchLabels": objects.selected(APP)},
        "template": {
            "metadata": {"labels": objects.selected(APP), "annotations": {"bentocast/bento": bento}},
            "spec": pod,
        },
        "strategy": {"canary": {"stableService": STABLE, "canaryService": CANARY}},
    }
    return made("Rollout", "argoproj.io/v1alpha1", APP, spec, annotations={"bentocast/bento": bento})


def serving(cluster: Kubernetes) -> list[Object]:
    """JSON patches of the Rollout for users: keys, the record's database, resources, pods on different nodes."""
    container = "/spec/template/spec/containers/0"
    env: list[Object] = [{"name": "BENTOCAST_KEYS_FILE", "value": "/etc/bentocast/keys.txt"}]
    if cluster.record_port is not None:
        secret = {"name": RECORD, "key": "url"}
        env.append({"name": "BENTOCAST_RECORD_URL", "valueFrom": {"secretKeyRef": secret}})
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": objects.selected(APP)},
    }
    added = [
        *((f"{container}/env/-", one) for one in env),
        (f"{container}/volumeMounts/-", {"name": "keys", "mountPath": "/etc/bentocast", "readOnly": True}),
        ("/spec/template/spec/volumes/-", {"name": "keys", "secret": {"secretName": KEYS, "defaultMode": 0o440}}),
        ("/spec/template/spec/topologySpreadConstraints", [spread]),
    ]
    # No limit of processor time: a burst may have what nobody else on the node wants.
    resources = {
        "requests": {"cpu": cluster.cpu, "memory": cluster.memory},
        "limits": {"memory": cluster.memory},
    }
    return [
        {"op": "replace", "path": f"{container}/resources", "value": resources},
        *({"op": "add", "path": path, "value": value} for path, value in added),
    ]


def trying() -> list[Object]:
    """JSON patches of the Rollout for one's own machine: whoever reaches it may ask."""
    allowed = {"name": "BENTOCAST_ALLOW_ANONYMOUS", "value": "true"}
    return [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": allowed}]


def scaling(config: Deploy) -> list[Object]:
    """How many pods there are: as many as their processor time asks for, and never none while nodes are emptied."""
    budget = made(
        "PodDisruptionBudget",
        "policy/v1",
        APP,
        {"maxUnavailable": 1, "selector": {"matchLabels": objects.selected(APP)}},
    )
    if config.autoscale is None:
        return [budget]
    auto = config.autoscale
    steady = durations.seconds(auto.down_after)
    # As on one machine: processor time of an instance in cores, whatever was asked for it. Forecasts are nothing but
    # processor time, so requests/s that an instance can bear follow from it, and not the other way.
    metric = {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": APP,
            "target": {"type": "AverageValue", "averageValue": f"{round(auto.target * 1000)}m"},
        },
    }
    scaler = made(
        "HorizontalPodAutoscaler",
        "autoscaling/v2",
        APP,
        {
            "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": APP},
            "minReplicas": auto.least,
            "maxReplicas": auto.most,
            "metrics": [metric],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0},
                "scaleDown": {"stabilizationWindowSeconds": min(steady, 3_600)},
            },
        },
    )
    return [budget, scaler]


#: The operator has a label `endpoint` of its own, the port's name, which would push aside the service's: the route. What is
#: dropped is what `monitoring.servers` drops.
_AS_THE_SERVICE_SAYS: dict[str, Any] = {
    "honorLabels": True,
    "metricRelabelings": [
        {"action": "labeldrop", "regex": "pid"},
        {"sourceLabels": ["__name__"], "regex": ".+_created", "action": "drop"},
    ],
}


def scraping() -> list[Object]:
    """Whom Prometheus (of the Prometheus operator) asks, and the label that tells versions apart."""
    spec = {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchLabels": {**objects.selected(APP), SCRAPED: "true"}},
        "podTargetLabels": [HASH],
        "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s", **_AS_THE_SERVICE_SAYS}],
    }
    return [made("ServiceMonitor", "monitoring.coreos.com/v1", APP, spec)]
