"""The judge in the cluster, and the steps of a canary in which Argo Rollouts asks it.

A step with a weight is an analysis: questions at growing times since it began, each about all that was answered since, so
that evidence is looked at as it grows and harm is found within a minute or two. Only the last one may let the rollout go
on: after a step in between if the candidate did not fail and has answered enough, after the last step if the verdict is a
pass. Each step is judged by itself, with its part of `alpha`. No data, and a judge that does not
answer, go no further.
"""

from __future__ import annotations

import json
from typing import Any

from data import durations
from data.deployment import Deploy, Kubernetes, Plan, Step
from data.errors import ConfigError
from data.rollout import Judgement
from deploy.kubernetes import objects
from deploy.kubernetes.objects import ASKED, CANARY, HASH, JUDGE, STABLE, Object, made
from deploy.kubernetes.traffic import GRPC_ROUTE, HTTP_ROUTE

#: Edges of the service's own histogram are so far apart that no less can be told, and ruled out.
TOLERATED, EXCLUDED = 1.5, 2.6
#: Nothing is asked before: a version has to be scraped three times.
FIRST_SECONDS = 60
#: A judge that is just being started again is asked again so often, ten seconds apart.
TRIES = 5
USER = 1034


def judge(image: str) -> list[Object]:
    """The judge's own pods. It keeps nothing, so that two of them are no trouble.

    Args:
        image: with a tag, made of deploy/Containerfile.
    """
    container: Object = {
        "name": "judge",
        "image": image,
        "ports": [{"name": "http", "containerPort": ASKED}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "readinessProbe": objects.probe("/healthz", "http", 5, 2),
        "livenessProbe": objects.probe("/healthz", "http", 20, 3, timeout=5),
        "securityContext": objects.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod: Object = {
        "serviceAccountName": JUDGE,
        "automountServiceAccountToken": False,
        "securityContext": objects.pod_security(USER),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    spec: Object = {
        "replicas": 1,
        "selector": {"matchLabels": objects.selected(JUDGE)},
        "template": {"metadata": {"labels": objects.selected(JUDGE)}, "spec": pod},
    }
    return [
        made("ServiceAccount", "v1", JUDGE, app=JUDGE, automountServiceAccountToken=False),
        made("Deployment", "apps/v1", JUDGE, spec, app=JUDGE),
        objects.service(JUDGE, JUDGE, {"http": (ASKED, None)}),
    ]


def prometheus(url: str) -> list[Object]:
    """JSON patches of the judge: where Prometheus is."""
    told = [{"name": "DEPLOY_PROMETHEUS", "value": url}]
    return [{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": told}]


def canary(config: Deploy, cluster: Kubernetes) -> tuple[Object, list[Object]]:
    """The canary strategy, and the templates of its analyses.

    Args:
        config: with the plan that is `deploy.canary`.
        cluster: of whom it is told.

    Raises:
        ConfigError: the plan has what neither Argo Rollouts nor a gateway can do.
    """
    plan = config.judged(config.canary)
    weighted = _weighted(plan)
    assert plan.judgement is not None, "plans that were judged have one"
    templates, steps = [], []
    for number, step in enumerate(weighted):
        is_last = number == len(weighted) - 1
        percent = _percent(step)
        template = _template(step, plan, _alone(plan.judgement, len(weighted), step), cluster, is_last=is_last)
        templates.append(template)
        versions = {"stable": "Stable", "candidate": "Latest"}
        analysis = {
            "templates": [{"templateName": template["metadata"]["name"]}],
            "args": [{"name": key, "valueFrom": {"podTemplateHashValue": value}} for key, value in versions.items()],
        }
        steps += [{"setWeight": percent}, {"analysis": analysis}]
    routing = {
        "plugins": {
            "argoproj-labs/gatewayAPI": {
                "namespace": cluster.namespace,
                "httpRoutes": [{"name": HTTP_ROUTE}],
                "grpcRoutes": [{"name": GRPC_ROUTE}],
            }
        }
    }
    strategy = {"stableService": STABLE, "canaryService": CANARY, "trafficRouting": routing, "steps": steps}
    return strategy, templates


def looks(seconds: int) -> list[int]:
    """Seconds since a step began at which it is judged: each twice the one before, the last at its end."""
    found = [seconds]
    while found[0] >= 2 * FIRST_SECONDS:
        found.insert(0, found[0] // 2)
    return found


def _weighted(plan: Plan) -> list[Step]:
    if plan.end != "promote":
        raise ConfigError(
            f"deploy.canary.end: got {plan.end!r}, wanted 'promote': Argo Rollouts promotes what has passed its last step; keep "
            "such a plan for `python -m deploy canary --plan FILE`"
        )
    by_header = next((step for step in plan.steps if step.header), None)
    if by_header:
        raise ConfigError(
            f"deploy.canary: got a step that goes by a {by_header}, wanted weights: a header's requests are not the gateway's "
            "to count; take the step out, or keep it in a plan of its own for `python -m deploy ab`"
        )
    weighted = [step for step in plan.steps if step.weight is not None]
    if not weighted:
        raise ConfigError(
            "deploy.canary: got no step with a weight, wanted one: copies of requests are not sent in a cluster"
        )
    return weighted


def _percent(step: Step) -> int:
    assert step.weight is not None, "it has been chosen by that"
    percent = round(step.weight * 100)
    if abs(step.weight * 100 - percent) > 1e-9 or not percent:
        raise ConfigError(f"deploy.canary: got weight {step.weight:g}, wanted whole percent: a gateway's weights are")
    return percent


def _alone(judgement: Judgement, steps: int, step: Step) -> dict[str, Any]:
    """The judgement of a step by itself, as the judge is told it."""
    slowness = judgement.slowness
    return {
        **judgement.model_dump(mode="json", exclude={"answers", "accuracy", "pairs"}),
        "alpha": judgement.alpha / steps,
        "requests": max(judgement.requests, step.requests),
        "slowness": {
            "tolerated": max(slowness.tolerated, TOLERATED),
            "excluded": max(slowness.excluded, EXCLUDED),
            "share": slowness.share,
        },
    }


def _template(step: Step, plan: Plan, judgement: dict[str, Any], cluster: Kubernetes, *, is_last: bool) -> Object:
    lasting = max(durations.seconds(cluster.step), durations.seconds(step.at_least) if step.at_least else 0)
    moments = looks(lasting)
    args = [{"name": "stable"}, {"name": "candidate"}]
    metrics = [
        _metric(step, plan, judgement, cluster, seconds, is_end=seconds == lasting, is_last=is_last)
        for seconds in moments
    ]
    name = f"bentocast-{_percent(step)}"
    return made("AnalysisTemplate", "argoproj.io/v1alpha1", name, {"args": args, "metrics": metrics})


def _metric(
    step: Step,
    plan: Plan,
    judgement: dict[str, Any],
    cluster: Kubernetes,
    seconds: int,
    *,
    is_end: bool,
    is_last: bool,
) -> Object:
    """A question at a time of a step. What is neither success nor failure is inconclusive, and pauses the rollout."""
    body = {
        "by": HASH.replace("-", "_"),
        "stable": "{{args.stable}}",
        "candidate": "{{args.candidate}}",
        "labels": {"namespace": cluster.namespace},
        "phases": [{"weight": step.weight, "began": -seconds, "ended": 0}],
        "judgement": judgement,
    }
    if not is_end:
        good = 'result.outcome in ["pass", "inconclusive"]'
    elif not is_last:
        good = f'result.outcome == "pass" or (result.outcome == "inconclusive" and result.requests >= {step.requests})'
    else:
        good = 'result.outcome == "pass"'
    bad = 'result.outcome in ["fail", "error"]'
    if is_end and plan.undecided == "rollback":
        bad = f"not ({good})"
    return {
        "name": f"after-{seconds}s",
        "initialDelay": f"{seconds}s",
        "count": 1,
        "successCondition": good,
        "failureCondition": bad,
        "consecutiveErrorLimit": TRIES,
        "provider": {
            "web": {
                "method": "POST",
                "url": f"http://{JUDGE}.{cluster.namespace}.svc:{ASKED}/verdict",
                "headers": [{"key": "Content-Type", "value": "application/json"}],
                "timeoutSeconds": 30,
                "body": json.dumps(body),
                "jsonPath": "{$}",
            }
        },
    }
