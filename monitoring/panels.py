"""What is worth looking at, by dashboard: said once, drawn by Grafana and by our own page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data.params import Params
from monitoring.recording import SERVICE, VERSION

Unit = Literal["reqps", "percentunit", "s", "short"]
#: Beyond this a feature has drifted, if it is beyond the noise too.
PSI_LIMIT = 0.2


@dataclass(frozen=True)
class Panel:
    """One picture over time.

    Attributes:
        title: of it.
        unit: as Grafana names it.
        queries: expressions, each with what its lines are called (`{{label}}` is a label's value).
        limit: a line at what is wanted at most, or None.
    """

    title: str
    unit: Unit
    queries: tuple[tuple[str, str], ...]
    limit: float | None = None


def panels(params: Params) -> Mapping[str, tuple[Panel, ...]]:
    """All, by the name of their dashboard."""
    return {
        "service": _service(params),
        "model": _model(),
        "data": _data(),
        "rollout": _rollout(),
    }


def _service(params: Params) -> tuple[Panel, ...]:
    objective = params.loadtest.objective
    version = "{{service_version}}"
    by_status = f"sum by ({SERVICE}, http_response_code) (service_version_code:requests:rate5m)"
    return (
        Panel("Requests", "reqps", (("service_version:requests:rate5m", version),)),
        Panel(
            "Answers by status",
            "reqps",
            ((by_status, "{{http_response_code}}"),),
        ),
        Panel("Errors", "percentunit", (("service_version:request_errors:ratio_rate5m", version),), objective.errors),
        Panel(
            "Latency",
            "s",
            tuple((f"service_version:request_duration_seconds:p{p}_5m", f"{version} p{p}") for p in (50, 95, 99)),
            objective.seconds,
        ),
        Panel(
            "Requests too slow",
            "percentunit",
            (("job:request_slow:ratio_rate1h", "1 h"), ("job:request_slow:ratio_rate6h", "6 h")),
            round(1 - objective.percentile, 9),
        ),
        Panel("Instances that answer", "short", ((f'sum by ({VERSION}) (up{{job="bentocast"}})', version),)),
    )


def _model() -> tuple[Panel, ...]:
    version = "{{service_version}}"
    mean = (
        f"sum by ({VERSION}) (rate(model_batch_series_sum[5m]))"
        f" / sum by ({VERSION}) (rate(model_batch_series_count[5m]))"
    )
    return (
        Panel("Seven tests (0 pass, 1 inconclusive, 2 fail, 3 error)", "short", (("ml_test_outcome", "{{test}}"),)),
        Panel("Rows through the model", "short", (("service_version:model_rows:rate5m", version),)),
        Panel("Series in one pass", "short", ((mean, version),)),
        Panel("Age of the model", "s", (("service_version:model_age:seconds", version),)),
        Panel(
            "Forecasts that are no number",
            "short",
            ((f"sum by ({VERSION}, output) (increase(model_output_nonfinite_total[1h]))", "{{output}}"),),
            0.0,
        ),
        Panel(
            "Since the pipeline's last success",
            "s",
            (("time() - pipeline_stage_last_success_timestamp_seconds", "{{stage}}"),),
        ),
    )


def _data() -> tuple[Panel, ...]:
    missing, outside = (
        f"sum by ({VERSION}, feature) (increase(model_feature_{what}_total[1h]))" for what in ("missing", "outside")
    )
    counted = "feature:model_feature_bin:increase1h"
    return (
        Panel("Drift (PSI of an hour)", "short", (("feature:model_feature:psi1h", "{{feature}}"),), PSI_LIMIT),
        Panel("Drift (PSI of a day)", "short", (("feature:model_feature:psi1d", "{{feature}}"),), PSI_LIMIT),
        Panel("PSI by chance", "short", (("feature:model_feature:psi_noise1h", "{{feature}}"),)),
        Panel("Values missing", "percentunit", ((f"{missing} / ({missing} + {counted})", "{{feature}}"),)),
        Panel("Values beyond training", "percentunit", ((f"{outside} / {counted}", "{{feature}}"),)),
        Panel(
            "Record",
            "short",
            (
                (f"sum by ({VERSION}) (rate(record_forecasts_written_total[5m]))", "written a second"),
                (f"sum by ({VERSION}) (record_forecasts_queued)", "wait"),
                (f"sum by ({VERSION}) (increase(record_forecasts_dropped_total[1h]))", "dropped in an hour"),
            ),
        ),
    )


def _rollout() -> tuple[Panel, ...]:
    routed = "sum without (instance, job) (rate(envoy_cluster_upstream_rq_xx[5m]))"
    return (
        Panel("Share of users' requests", "percentunit", (("rollout_weight_ratio", "{{service_version}}"),)),
        Panel("Rollout under way", "short", (("rollout_under_way", "{{strategy}} of {{candidate}}: {{state}}"),)),
        Panel(
            "Routed to",
            "reqps",
            ((routed, "{{envoy_cluster_name}} {{envoy_response_code_class}}xx"),),
        ),
    )
