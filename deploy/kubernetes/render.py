"""Manifests for kustomize: a base, and what is laid over it on one's own machine and in production."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from data.atomic import replacing
from data.deployment import Deploy
from data.errors import ConfigError
from deploy.kubernetes import traffic, verdicts, workload
from deploy.kubernetes.objects import APP, JUDGE, Object

EXAMPLE = """\
deploy.kubernetes: got null, wanted what is known of the cluster, such as

deploy:
  kubernetes:
    image: registry.example.org/team/bentocast
    judge: registry.example.org/team/bentocast-judge:1
    host: forecast.example.org
    gateway: {name: public, namespace: gateways}
    prometheus: http://prometheus-operated.monitoring.svc:9090"""
#: On one's own machine images have no registry.
LOCAL_IMAGE, LOCAL_JUDGE = "bentocast", "bentocast-judge:1"

FOLDERS = ("base", "local", "production")

Files = Mapping[Path, str]


def write(folder: Path, config: Deploy, bento: str) -> list[Path]:
    """Write all manifests, in place of those that were there.

    Args:
        folder: that is theirs alone.
        config: of deployment.
        bento: tag of the Bento whose image is to run.

    Returns:
        The files, relative to the folder.

    Raises:
        ConfigError: nothing is known of the cluster, the plan is none for a cluster, or the folder holds what is not ours.
    """
    made = files(config, bento)
    strange = sorted(path.name for path in folder.iterdir() if path.name not in FOLDERS) if folder.is_dir() else []
    if strange:
        raise ConfigError(
            f"{folder}: got {strange[0]} in it, wanted a folder of its own, since what is there is replaced: name another with "
            "--to, or take that away"
        )
    with replacing(folder) as scratch:
        for path, text in made.items():
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_text(text, encoding="utf-8")
    return sorted(made)


def files(config: Deploy, bento: str) -> Files:
    """All manifests by their place; errors as `write`."""
    cluster = config.kubernetes
    if cluster is None:
        raise ConfigError(EXAMPLE, param="deploy.kubernetes")
    version = bento.partition(":")[2]
    strategy, templates = verdicts.canary(config, cluster)
    base = [
        *workload.base(bento, f"{LOCAL_IMAGE}:{version}", config.instances),
        *verdicts.judge(LOCAL_JUDGE),
    ]
    production = [
        *traffic.routes(cluster),
        *traffic.policies(cluster),
        *workload.scaling(config),
        *workload.scraping(),
        *templates,
    ]
    patches = [
        *workload.serving(cluster),
        {"op": "replace", "path": "/spec/strategy/canary", "value": strategy},
    ]
    if config.autoscale:  # what the autoscaler has decided is not decided again with every change
        patches.append({"op": "remove", "path": "/spec/replicas"})
    judged, _, tag = cluster.judge.rpartition(":")
    return {
        **_folder("base", base, {}),
        **_folder(
            "local",
            [],
            {
                "namespace": cluster.namespace,
                "resources": ["../base"],
                "patches": [_patch("Rollout", APP, workload.trying())],
            },
        ),
        **_folder(
            "production",
            production,
            {
                "namespace": cluster.namespace,
                "resources": ["../base"],
                "images": [
                    {"name": LOCAL_IMAGE, "newName": cluster.image, "newTag": version},
                    {"name": LOCAL_JUDGE.partition(":")[0], "newName": judged, "newTag": tag},
                ],
                "patches": [
                    _patch("Rollout", APP, patches),
                    _patch("Deployment", JUDGE, verdicts.prometheus(cluster.prometheus)),
                ],
            },
        ),
    }


def kustomization(resources: Iterable[str], **more: Any) -> str:
    """The file that kustomize begins with."""
    return yaml_of(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **more, "resources": [*resources]}
    )


def yaml_of(*documents: Object) -> str:
    """Documents as one file."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)


def _folder(name: str, objects: Iterable[Object], more: dict[str, Any]) -> dict[Path, str]:
    """A folder's files: one a kind of object, and its kustomization."""
    by_kind: dict[str, list[Object]] = {}
    for one in objects:
        by_kind.setdefault(f"{one['kind'].lower()}.yaml", []).append(one)
    beside = more.pop("resources", [])
    made = {Path(name, file): yaml_of(*ones) for file, ones in by_kind.items()}
    return {Path(name, "kustomization.yaml"): kustomization([*beside, *by_kind], **more), **made}


def _patch(kind: str, name: str, operations: list[Object]) -> Object:
    return {"target": {"kind": kind, "name": name}, "patch": _block(operations)}


def _block(operations: list[Object]) -> str:
    """JSON patches, as kustomize takes them within its own file."""
    return yaml.dump(operations, Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of more than one line as blocks, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
