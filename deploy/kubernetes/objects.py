"""What all manifests have in common."""

from __future__ import annotations

from typing import Any

#: An object of Kubernetes, as YAML has it.
Object = dict[str, Any]

APP, JUDGE = "bentocast", "bentocast-judge"
#: Users' requests to the version that serves, and to the candidate; Argo Rollouts says which pods are behind each.
STABLE, CANARY = "bentocast-stable", "bentocast-canary"
#: All pods, for Prometheus.
PODS = "bentocast"
#: Ports of the service's containers.
HTTP, GRPC = 3000, 3001
#: Of the judge.
ASKED = 9109
#: Label of the Service that Prometheus goes by.
SCRAPED = "bentocast/scraped"
#: By which Argo Rollouts tells the pods of versions apart.
HASH = "rollouts-pod-template-hash"
#: Files that only root may write to are all there is in a container; whoever is in it has no way to become root.
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def selected(app: str) -> dict[str, str]:
    """Labels that pods are chosen by."""
    return {"app.kubernetes.io/name": app}


def made(kind: str, version: str, name: str, spec: Object | None = None, *, app: str = APP, **more: Any) -> Object:
    """An object.

    Args:
        kind: of object.
        version: of the API.
        name: of the object.
        spec: what it is to be.
        app: that it belongs to.
        more: keys beside `spec`; `annotations` go to the metadata.
    """
    annotations = more.pop("annotations", None)
    labels = {**selected(app), "app.kubernetes.io/part-of": APP, "app.kubernetes.io/managed-by": "kustomize"}
    metadata: Object = {"name": name, "labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    whole: Object = {"apiVersion": version, "kind": kind, "metadata": metadata, **more}
    return whole if spec is None else {**whole, "spec": spec}


def pod_security(user: int) -> Object:
    """Of a pod: a user who is not root, and no system call that a container does not need."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probe(path: str, port: str, every: int, failures: int, timeout: int = 2) -> Object:
    """A question that the kubelet asks.

    Args:
        path: that is asked for.
        port: name of it.
        every: seconds.
        failures: in a row that count as one.
        timeout: seconds.
    """
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": every,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def service(name: str, app: str, ports: dict[str, tuple[int, str | None]]) -> Object:
    """A Service.

    Args:
        name: of it.
        app: whose pods.
        ports: by name, with the protocol that a gateway is to speak to them, or None for HTTP/1.1.
    """
    told = []
    for port, (number, protocol) in ports.items():
        one: Object = {"name": port, "port": number, "targetPort": port}
        told.append({**one, "appProtocol": protocol} if protocol else one)
    spec: Object = {"selector": selected(app), "ports": told}
    return made("Service", "v1", name, spec, app=app)


def pods(name: str, app: str, port: str, number: int) -> Object:
    """A Service that is a list of pods and no address, with a label by which it is found, as others lead to the same pods."""
    found = service(name, app, {port: (number, None)})
    found["metadata"]["labels"][SCRAPED] = "true"
    found["spec"]["clusterIP"] = "None"
    return found
