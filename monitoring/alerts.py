"""What Prometheus tells somebody of, made from params.yaml; docs/runbooks.md says what to do about each."""

from __future__ import annotations

from dataclasses import dataclass

from data import durations
from data.params import Params
from monitoring.recording import SERVICE, Rule, edge

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

#: Checks of test 2 that compare distributions; see `monitoring.invariants`.
DRIFT = 'test="invariants", check=~"drift over .+"'
#: Jobs that there are on one machine, and each of which is to be known.
JOBS = ("bentocast", "monitoring", "prometheus")


def alerts(params: Params, *, cluster: bool = False) -> list[Rule]:
    """What somebody is told of; each has a heading in docs/runbooks.md that says what to do.

    Args:
        params: the configuration.
        cluster: whether the Prometheus is a cluster's: it and its like are for whoever runs it, and a service of which
            there is nothing is down, where on one machine somebody may have ended it.
    """
    made = [
        *_burning(params),
        *_tests(params),
        *(_targets_of_cluster() if cluster else _targets()),
        *_record_kept(),
        *_pipeline(params),
        *_rollouts(),
        _loop(params),
    ]
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
    made = [
        _burn(f"{name}{burn.name}", metric, burn, round(budget, 9), what)
        for name, metric, budget, what in kinds
        for burn in BURNS
    ]
    routed = "were answered with 5xx by the router"
    return [*made, _burn("RouterErrorBudgetBurnsFast", "routed_errors", BURNS[0], objective.errors, routed, "routed")]


def _burn(name: str, metric: str, burn: Burn, budget: float, what: str, of: str = "requests") -> Rule:
    """Both windows burn: the long one says that it matters, the short one that it goes on."""
    long, short = (f"job:{metric}:ratio_rate{window}" for window in (burn.long, burn.short))
    limit = f"{burn.factor * budget:.6g}"
    expression = f"{long} > {limit} and {short} > {limit}"
    if burn.severity == "page":
        expression += f" and {long} * job:{of}:increase{burn.long} >= {FEWEST_BAD}"
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
            "InputsDrifted",
            # Not the recorded PSI of a day: of weather it is far above any limit on every quiet day, and test 2 knows how far
            # training's own days are.
            f"ml_test_check_value{{{DRIFT}}} > ml_test_check_limit{{{DRIFT}}}",
            "10m",
            "ticket",
            "What clients send is no longer what the model was trained on",
            "{{ $labels.check }}: a feature or the forecast is {{ $value | humanize }} times as far from training as it may be "
            "(1 is the limit) for 10 minutes; `python -m monitoring check invariants` says which.",
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
    absent = " or ".join(f'absent(up{{job="{job}"}})' for job in JOBS)
    return _watched(
        f'sum by ({SERVICE}) (up{{job="bentocast"}}) == 0',
        f'{absent} or up{{job=~"monitoring|prometheus|alertmanager|pushgateway"}} == 0',
    )


def _targets_of_cluster() -> list[Rule]:
    return _watched(
        f'sum by ({SERVICE}) (up{{job="bentocast"}}) == 0 or absent(up{{job="bentocast"}}) - 1',
        'up{job=~"monitoring|pushgateway"} == 0',
    )


def _watched(down: str, missing: str) -> list[Rule]:
    return [
        _alert(
            "ServiceDown",
            down,
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
            missing,
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
            f"sum by ({SERVICE}) (increase(record_forecasts_dropped_total[10m])) > 0",
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
            f"time() - max by ({SERVICE}) (pipeline_stage_last_success_timestamp_seconds) > {durations.seconds(limit)}",
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
        _alert(
            "RolloutGone",
            'rollout_under_way{state="gone"} == 1',
            "5m",
            "ticket",
            "Nobody drives the rollout of {{ $labels.candidate }}",
            "The command of the {{ $labels.strategy }} of {{ $labels.candidate }} is gone for 5 minutes (value {{ $value }}): "
            "users stay with both versions, and nobody judges them, until `python -m deploy resume` or `abort`.",
        ),
    ]


def _loop(params: Params) -> Rule:
    """Of a retraining that is under way each step has a limit of its own, and a turn takes as long as it does."""
    every = params.monitoring.loop.every
    return _alert(
        "LoopStopped",
        f"time() - retraining_loop_turn_timestamp_seconds > {3 * durations.seconds(every)} unless "
        '(retraining_loop_running == 1 and on (job, instance) retraining_newest{state="running"} == 1)',
        "10m",
        "ticket",
        "The loop of retrainings takes no turn",
        f"Its last turn began {{{{ $value | humanizeDuration }}}} ago, wanted one every {every} (monitoring.loop.every): no "
        "failing test leads to a new model.",
    )
