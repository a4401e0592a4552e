"""Prometheus' rules, made from params.yaml: what is recorded, and what somebody is told of.

Recorded names are `level:metric:operations`. Ratios add numerator and denominator apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from data import drift, durations
from data.errors import ConfigError
from data.params import Params
from deploy.verdicts import prometheus
from service.metrics import LATENCY

Rule = dict[str, Any]
#: Requests that run the model; probes and pages are no user's.
WORK = f"endpoint=~`{prometheus.WORK}`"
REQUESTS, DURATION = "bentoml_service_request_total", "bentoml_service_request_duration_seconds"
#: Labels that are not of the version, and those that are not of the whole service.
OF_ONE = "instance, endpoint, http_response_code, runner_name, service_name"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
DRIFT_WINDOWS = ("1h", "1d")
REFERENCE = "feature_bin:model_feature_reference:ratio"
#: Fewest bad requests that wake somebody: one of three is no fire.
FEWEST_BAD = 10


@dataclass(frozen=True)
class Burn:
    """A pair of windows in which the budget burns too fast (Site Reliability Workbook, chapter 5)."""

    name: str
    factor: float
    long: str
    short: str
    severity: str
    wait: str


BURNS = (
    Burn("BurnsFast", 14.4, "1h", "5m", "page", "2m"),
    Burn("Burns", 6.0, "6h", "30m", "page", "15m"),
    Burn("BurnsSlowly", 1.0, "3d", "6h", "ticket", "1h"),
)


def rules(params: Params) -> dict[str, Any]:
    """The whole file of rules.

    Raises:
        ConfigError: the objective cannot be told from the service's metrics.
    """
    return {
        "groups": [
            {"name": "requests", "rules": _requests()},
            {"name": "budget", "interval": "30s", "rules": _budget(params)},
            {"name": "model", "rules": _model()},
            {"name": "drift", "interval": "1m", "rules": [rule for window in DRIFT_WINDOWS for rule in _drift(window)]},
            {"name": "alerts", "rules": alerts(params)},
        ]
    }


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
    by_version = f"without ({OF_ONE})"
    buckets = f"sum {by_version} (rate({DURATION}_bucket{{{WORK}}}[5m]))"
    return [
        _record("service_version:requests:rate5m", f"sum {by_version} (rate({REQUESTS}{{{WORK}}}[5m]))"),
        _record(
            "service_version_code:requests:rate5m",
            f"sum without (instance, endpoint, runner_name, service_name) (rate({REQUESTS}{{{WORK}}}[5m]))",
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
    level = f"without ({OF_ONE}, service_version)"
    within = f'le="{edge(params.loadtest.objective.seconds)}"'
    made = []
    for window in WINDOWS:
        timed = f"sum {level} (rate({DURATION}_count{{{WORK}}}[{window}]))"
        quick = f"sum without (le, {OF_ONE}, service_version) (rate({DURATION}_bucket{{{WORK}, {within}}}[{window}]))"
        made += [
            _record(f"job:request_errors:ratio_rate{window}", _errors(level, window)),
            _record(f"job:request_slow:ratio_rate{window}", f"1 - {quick} / {timed}"),
            _record(f"job:requests:increase{window}", f"sum {level} (increase({REQUESTS}{{{WORK}}}[{window}]))"),
        ]
    return made


def _model() -> list[Rule]:
    return [
        _record("service_version:model_rows:rate5m", "sum without (instance) (rate(model_rows_total[5m]))"),
        _record("service_version:model_series:rate5m", "sum without (instance) (rate(model_series_total[5m]))"),
        _record(
            "service_version:model_age:seconds",
            "time() - max without (instance) (model_trained_until_timestamp_seconds)",
        ),
        _record(REFERENCE, "max without (instance) (model_feature_reference_ratio)"),
        _record("job:instances:up", 'sum without (instance, service_version) (up{job="bentocast"})'),
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
        _record(bins, f"sum without (instance) (increase(model_feature_bin_total[{window}]))"),
        _record(whole, f"sum without (bin) ({bins})"),
        _record(now, f"({bins} + 0.5) / ignoring (bin) group_left () ({whole} + 0.5 * count without (bin) ({bins}))"),
        _record(f"feature:model_feature:psi{window}", f"sum without (bin) (({now} - {then}) * ln({now} / {then}))"),
        _record(
            f"feature:model_feature:js{window}",
            f"(sum without (bin) ({now} * ln({now} / {middle})) + sum without (bin) ({then} * ln({then} / {middle}))) / 2",
        ),
        _record(f"feature:model_feature:psi_noise{window}", f"{drift.CHANCE} / ({whole} > {drift.FEWEST})"),
    ]


# Alerts


def alerts(params: Params) -> list[Rule]:
    """What somebody is told of; each has a heading in docs/monitoring.md that says what to do."""
    made = [*_burning(params), *_tests(params), *_targets(), *_record_kept(), *_pipeline(params), *_rollouts()]
    for rule in made:
        rule["annotations"]["runbook_url"] = f"{params.monitoring.runbook}#{rule['alert'].lower()}"
    return made


def _alert(name: str, expression: str, wait: str, severity: str, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def _burning(params: Params) -> list[Rule]:
    objective = params.loadtest.objective
    slower = f"took longer than {edge(objective.seconds):g} s"
    kinds = (
        ("ErrorBudget", "request_errors", objective.errors, "failed"),
        ("LatencyBudget", "request_slow", 1 - objective.percentile, slower),
    )
    return [
        _burn(f"{name}{burn.name}", metric, burn, round(budget, 9), what)
        for name, metric, budget, what in kinds
        for burn in BURNS
    ]


def _burn(name: str, metric: str, burn: Burn, budget: float, what: str) -> Rule:
    """Both windows burn: the long one says that it matters, the short one that it goes on."""
    long, short = (f"job:{metric}:ratio_rate{window}" for window in (burn.long, burn.short))
    limit = f"{burn.factor * budget:.6g}"
    expression = f"{long} > {limit} and {short} > {limit}"
    if burn.severity == "page":
        expression += f" and {long} * job:requests:increase{burn.long} >= {FEWEST_BAD}"
    return _alert(
        name,
        expression,
        burn.wait,
        burn.severity,
        f"Too many requests {what}",
        f"{{{{ $value | humanizePercentage }}}} of the requests of the last {burn.long} {what}, wanted at most "
        f"{burn.factor * budget:.4g} ({burn.factor:g} times the {budget:g} of loadtest.objective), and it goes on.",
    )


def _tests(params: Params) -> list[Rule]:
    every = durations.seconds(params.monitoring.every)
    return [
        _alert(
            "MlTestFailed",
            "ml_test_outcome >= 2",
            "10m",
            "ticket",
            "The {{ $labels.test }} test does not pass",
            "Its outcome is {{ $value }} (2 fails, 3 cannot be run) for 10 minutes; `python -m monitoring check "
            "{{ $labels.test }}` says why.",
        ),
        _alert(
            "MlTestInconclusive",
            "ml_test_outcome == 1",
            "1d",
            "ticket",
            "The {{ $labels.test }} test decides nothing",
            "Its outcome is {{ $value }} (inconclusive) for a day: `python -m monitoring check {{ $labels.test }}` says what "
            "it lacks.",
        ),
        _alert(
            "MlTestStale",
            f"time() - ml_test_run_timestamp_seconds > {3 * every}",
            "10m",
            "ticket",
            "The {{ $labels.test }} test is not run",
            f"Its last run ended {{{{ $value | humanizeDuration }}}} ago (since 1970 if it never did), wanted one every "
            f"{params.monitoring.every}.",
        ),
    ]


def _targets() -> list[Rule]:
    return [
        _alert(
            "ServiceDown",
            'sum without (instance, service_version) (up{job="bentocast"}) == 0',
            "1m",
            "page",
            "No instance of the service answers",
            "{{ $value }} instances of the service answer Prometheus.",
        ),
        _alert(
            "InstanceDown",
            'up{job="bentocast"} == 0',
            "2m",
            "ticket",
            "{{ $labels.instance }} does not answer",
            "up is {{ $value }} for 2 minutes: {{ $labels.instance }} of version {{ $labels.service_version }} is gone or hangs.",
        ),
        _alert(
            "RouterDown",
            'up{job="router"} == 0',
            "1m",
            "page",
            "The router at {{ $labels.instance }} does not answer",
            "up is {{ $value }} for a minute: users may not reach the service.",
        ),
        _alert(
            "TargetMissing",
            'absent(up{job="bentocast"}) or absent(up{job="monitoring"}) or absent(up{job="prometheus"})'
            ' or up{job=~"monitoring|prometheus|alertmanager|pushgateway"} == 0',
            "5m",
            "ticket",
            "Nothing is known of {{ $labels.job }}",
            "Prometheus has no target of the job {{ $labels.job }}, or it does not answer (value {{ $value }}, 1 if there is "
            "none): what it would tell is not watched.",
        ),
    ]


def _record_kept() -> list[Rule]:
    return [
        _alert(
            "RecordDropsForecasts",
            "sum without (instance, service_version) (increase(record_forecasts_dropped_total[10m])) > 0",
            "1m",
            "ticket",
            "Forecasts are missing from the record",
            "{{ $value | humanize }} forecasts of the last 10 minutes were not kept: quality is judged without them.",
        ),
        _alert(
            "RecordDown",
            "record_healthy == 0",
            "5m",
            "ticket",
            "The record of {{ $labels.instance }} takes nothing",
            "record_healthy is {{ $value }} for 5 minutes: forecasts wait in memory, actual values are refused with 503.",
        ),
    ]


def _pipeline(params: Params) -> list[Rule]:
    limit = params.monitoring.staleness.training
    return [
        _alert(
            "PipelineStopped",
            "time() - max without (stage, instance) (pipeline_stage_last_success_timestamp_seconds)"
            f" > {durations.seconds(limit)}",
            "10m",
            "ticket",
            "The pipeline has not run",
            f"No stage of the pipeline has succeeded for {{{{ $value | humanizeDuration }}}}, wanted one within {limit} "
            "(monitoring.staleness.training).",
        ),
        _alert(
            "PipelineStageFailed",
            "pipeline_stage_success == 0",
            "1m",
            "ticket",
            "The stage {{ $labels.stage }} failed",
            "pipeline_stage_success is {{ $value }}: `dvc repro` ended at {{ $labels.stage }}; what it made before is unchanged.",
        ),
    ]


def _rollouts() -> list[Rule]:
    return [
        _alert(
            "RolloutPaused",
            # ab stays until somebody decides.
            'rollout_under_way{state="paused", strategy!="ab"} == 1',
            "4h",
            "ticket",
            "The rollout of {{ $labels.candidate }} waits for somebody",
            "The {{ $labels.strategy }} of {{ $labels.candidate }} is paused for 4 hours (value {{ $value }}): "
            "`python -m deploy status` says why.",
        ),
    ]
