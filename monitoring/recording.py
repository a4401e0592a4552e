"""What Prometheus records, made from params.yaml.

Recorded names are `level:metric:operations`. Ratios add numerator and denominator apart. `WORK` are the requests that run
the model; probes and pages are no user's.

The trap is in the labels that whoever scrapes adds, which are of one instance and not known here: the Prometheus operator's
are `pod`, `container`, `service` and others. So sums are `by` the labels that mean something, and not `without` others.
"""

from __future__ import annotations

from typing import Any

from data import drift
from data.errors import ConfigError
from data.params import Params
from deploy.kubernetes import objects
from deploy.router.messages import PUBLIC
from deploy.verdicts import prometheus
from service.metrics import LATENCY

Rule = dict[str, Any]
#: Requests that run the model; probes and pages are no user's.
WORK = f"endpoint=~`{prometheus.WORK}`"
REQUESTS, DURATION = "bentoml_service_request_total", "bentoml_service_request_duration_seconds"
#: Labels of a whole service; the namespace is a cluster's.
SERVICE = "job, namespace"
#: Labels of a version: what the model counts does not name it, but the targets of one machine do, and a cluster's pods.
VERSION = f"{SERVICE}, service_version, {objects.HASH.replace('-', '_')}"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
#: What an Envoy answered to users, and not on its own pages: of the deployment's (`deploy.router`) or compose.yaml's.
ROUTED = f'job="router", envoy_http_conn_manager_prefix=~"{PUBLIC}|users"'
ANSWERED = "envoy_http_downstream_rq_xx"
ROUTED_WINDOWS = ("5m", "1h")
#: Actual values that the record did not take: RecordDown tells of them, and nobody needs to get up.
REFUSED = 'endpoint="/v1/timeseries/actuals", http_response_code=~"5.."'
DRIFT_WINDOWS = ("1h", "1d")
REFERENCE = "feature_bin:model_feature_reference:ratio"


def groups(params: Params) -> list[dict[str, Any]]:
    """Groups of recording rules.

    Raises:
        ConfigError: the objective cannot be told from the service's metrics.
    """
    return [
        {"name": "requests", "rules": _requests()},
        {"name": "budget", "interval": "30s", "rules": _budget(params)},
        {"name": "router", "interval": "30s", "rules": _router()},
        {"name": "model", "rules": _model()},
        {"name": "drift", "interval": "1m", "rules": [rule for window in DRIFT_WINDOWS for rule in _drift(window)]},
    ]


def edge(seconds: float) -> float:
    """The edge of the service's histogram that stands for a latency: the largest that is no longer.

    Raises:
        ConfigError: it is shorter than all of them.
    """
    shorter = [one for one in LATENCY if one <= seconds]
    if not shorter:
        raise ConfigError(
            f"loadtest.objective.seconds: got {seconds:g}, wanted {LATENCY[0]:g} or more, the first edge of the service's "
            "histogram of latencies"
        )
    return shorter[-1]


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


def _requests() -> list[Rule]:
    by_version = f"by ({VERSION})"
    buckets = f"sum by ({VERSION}, le) (rate({DURATION}_bucket{{{WORK}}}[5m]))"
    return [
        _record("service_version:requests:rate5m", f"sum {by_version} (rate({REQUESTS}{{{WORK}}}[5m]))"),
        _record(
            "service_version_code:requests:rate5m",
            f"sum by ({VERSION}, http_response_code) (rate({REQUESTS}{{{WORK}}}[5m]))",
        ),
        _record("service_version:request_errors:ratio_rate5m", _errors(by_version, "5m")),
        *(
            _record(
                f"service_version:request_duration_seconds:p{share}_5m", f"histogram_quantile(0.{share}, {buckets})"
            )
            for share in (50, 95, 99)
        ),
    ]


def _errors(level: str, window: str) -> str:
    """Share of requests that failed for a reason of ours; 0 where none did."""
    whole = f"sum {level} (rate({REQUESTS}{{{WORK}}}[{window}]))"
    bad = f'sum {level} (rate({REQUESTS}{{{WORK}, http_response_code=~"5.."}}[{window}]))'
    return f"({bad} or 0 * {whole}) / {whole}"


def _budget(params: Params) -> list[Rule]:
    level = f"by ({SERVICE})"
    within = f'le="{edge(params.loadtest.objective.seconds)}"'
    made = []
    for window in WINDOWS:
        timed = f"sum {level} (rate({DURATION}_count{{{WORK}}}[{window}]))"
        quick = f"sum {level} (rate({DURATION}_bucket{{{WORK}, {within}}}[{window}]))"
        made += [
            _record(f"job:request_errors:ratio_rate{window}", _errors(level, window)),
            _record(f"job:request_slow:ratio_rate{window}", f"1 - {quick} / {timed}"),
            _record(f"job:requests:increase{window}", f"sum {level} (increase({REQUESTS}{{{WORK}}}[{window}]))"),
        ]
    return made


def _router() -> list[Rule]:
    """Users' own view: what an Envoy answers while no instance can be reached is on no instance's page."""
    made = []
    for window in ROUTED_WINDOWS:
        whole = f"sum by ({SERVICE}) (rate({ANSWERED}{{{ROUTED}}}[{window}]))"
        failed = f'sum by ({SERVICE}) (rate({ANSWERED}{{{ROUTED}, envoy_response_code_class="5"}}[{window}]))'
        refused = f"(sum (rate({REQUESTS}{{{REFUSED}}}[{window}])) or vector(0))"
        bad = f"clamp_min({failed} - on () group_left () {refused}, 0)"
        made += [
            _record(f"job:routed_errors:ratio_rate{window}", f"({bad} or 0 * {whole}) / {whole}"),
            _record(f"job:routed:increase{window}", f"sum by ({SERVICE}) (increase({ANSWERED}{{{ROUTED}}}[{window}]))"),
        ]
    return made


def _model() -> list[Rule]:
    return [
        _record("service_version:model_rows:rate5m", f"sum by ({VERSION}) (rate(model_rows_total[5m]))"),
        _record("service_version:model_series:rate5m", f"sum by ({VERSION}) (rate(model_series_total[5m]))"),
        _record(
            "service_version:model_age:seconds",
            f"time() - max by ({VERSION}) (model_trained_until_timestamp_seconds)",
        ),
        _record(REFERENCE, f"max by ({VERSION}, feature, bin) (model_feature_reference_ratio)"),
        _record("job:instances:up", f'sum by ({SERVICE}) (up{{job="bentocast"}})'),
    ]


def _drift(window: str) -> list[Rule]:
    """PSI and Jensen-Shannon divergence (nats) of each feature against training, half a value added to every bin.

    Each bin is on the page from the start, or a ratio would lack the empty ones. No share of training is 0.
    """
    bins = f"feature_bin:model_feature_bin:increase{window}"
    whole = f"feature:model_feature_bin:increase{window}"
    now, then = f"feature_bin:model_feature:ratio{window}", REFERENCE
    middle = f"(({now} + {then}) / 2)"
    return [
        _record(bins, f"sum by ({VERSION}, feature, bin) (increase(model_feature_bin_total[{window}]))"),
        _record(whole, f"sum without (bin) ({bins})"),
        _record(now, f"({bins} + 0.5) / ignoring (bin) group_left () ({whole} + 0.5 * count without (bin) ({bins}))"),
        _record(f"feature:model_feature:psi{window}", f"sum without (bin) (({now} - {then}) * ln({now} / {then}))"),
        _record(
            f"feature:model_feature:js{window}",
            f"(sum without (bin) ({now} * ln({now} / {middle})) + sum without (bin) ({then} * ln({then} / {middle}))) / 2",
        ),
        _record(f"feature:model_feature:psi_noise{window}", f"{drift.CHANCE} / ({whole} > {drift.FEWEST})"),
    ]
