"""Counts from scrapes: whole, of one phase alone, and the same moment for both versions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from deploy.router.counters import Counters
from deploy.verdicts import prometheus
from deploy.verdicts.prometheus import BUCKET, TOTAL, WORK, Series, grown, identity, interval, selector, span
from service import endpoints
from service.metrics import Metrics
from tests.service.world import World

TIMES = np.arange(1_000.0, 1_151.0, 15.0)


def series(
    values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]],
    times: np.ndarray[tuple[int], np.dtype[np.float64]] = TIMES,
    name: str = TOTAL,
    *,
    late: bool = False,
    **labels: str,
) -> Series:
    """Of instance one, unless it is said otherwise; a late one has the last of the scrapes."""
    numbers = np.asarray(values, dtype=np.float64)
    made = {"__name__": name, "instance": "one", "endpoint": "/forecast", "http_response_code": "200"} | labels
    return Series(made, times[-numbers.size :] if late else times[: numbers.size], numbers)


def test_a_steady_rate_is_counted_whole() -> None:
    assert grown([series(100 + 10 * (TIMES - 1_000))], 1_015.0, 1_100.0) == Counters(850, 0, {})


def test_scrapes_at_other_moments_count_the_same() -> None:
    """Two instances with the same traffic, scraped 7 s apart."""
    one = series(10 * (TIMES - 1_000))
    other = series(10 * (TIMES + 7 - 1_000), TIMES + 7)
    since, until = span([[one], [other]], 1_000.0)
    assert (since, until) == (1_015.0, 1_142.0)
    assert grown([one], since, until) == grown([other], since, until) == Counters(1_270, 0, {})


def test_a_counter_that_falls_has_begun_anew() -> None:
    values = [0, 100, 200, 300, 50, 150, 250, 350, 450, 550, 650]
    assert grown([series(values)], 1_000.0, 1_150.0).requests == 950


def test_the_first_error_of_an_instance_counts() -> None:
    fine = series(10 * (TIMES - 1_000))
    wrong = series([2.0, 2.0, 2.0], http_response_code="503", late=True)
    counted = grown([fine, wrong], 1_000.0, 1_150.0)
    assert (counted.requests, counted.errors) == (1_502, 2)


def test_what_an_instance_had_counted_before_its_first_scrape_is_left_out() -> None:
    """It came in this phase, or Prometheus was away for a while: nobody knows."""
    late = series([9_000.0, 9_010.0, 9_020.0], instance="two", late=True)
    assert grown([series(10 * (TIMES - 1_000)), late], 1_000.0, 1_150.0).requests == 1_520


def test_answers_that_are_the_clients_fault_are_no_errors() -> None:
    refused, too_many = (series(TIMES - 1_000, http_response_code=code) for code in ("400", "429"))
    assert grown([refused, too_many], 1_000.0, 1_150.0) == Counters(300, 0, {}, refused=150)


def test_latencies_are_those_of_all_instances_and_doors() -> None:
    grows = TIMES - 1_000
    found = [
        series(grows * many, name=BUCKET, le=le, endpoint=door)
        for door in ("/forecast", "/v1/timeseries/forecast")
        for le, many in (("0.01", 1), ("0.025", 3), ("+Inf", 4))
    ]
    counted = grown(found, 1_000.0, 1_150.0)
    assert counted.over() == {0.01: 900, 0.025: 300}
    assert counted.seen == 1_200


def test_buckets_that_disagree_are_put_in_order() -> None:
    """After a new beginning that one bucket did not show."""
    odd = [
        series([0, 50, 60], name=BUCKET, le="0.01"),
        series([0, 50, 20], name=BUCKET, le="0.025"),
        series([0, 50, 60], name=BUCKET, le="+Inf"),
    ]
    over = grown(odd, 1_000.0, 1_030.0).over()
    assert over[0.01] >= over[0.025] >= 0


def test_one_scrape_is_no_span() -> None:
    once = series([5.0])
    assert interval([once]) == interval([]) == 0.0
    since, until = span([[once], []], 1_000.0)
    assert since >= until


def test_queries_name_one_bento() -> None:
    told = selector(identity("bentocast:a-1", None, {"namespace": 'prod "eu" \\'}))
    assert told.endswith('service_name="bentocast",service_version="a-1",namespace="prod \\"eu\\" \\\\"}')


def test_names_are_those_of_the_services_own_metrics(city: World) -> None:
    """So that what is renamed there is missed here."""
    registry = CollectorRegistry()
    metrics = Metrics(city.served, registry)
    metrics.answered("/forecast", 200, 0.01)
    labels = {sample.name: sample.labels for family in registry.collect() for sample in family.samples}
    own = {
        "service_name": "bentocast",
        "service_version": "abc123",
        "endpoint": "/forecast",
        "http_response_code": "200",
    }
    for name in (TOTAL, BUCKET):
        assert own.items() <= labels[name].items()
    assert "le" in labels[BUCKET]
    doors = {one.template: one.is_work for one in endpoints.table(city.worker(), metrics)}
    assert sum(doors.values()) == 4
    assert {door: bool(re.fullmatch(WORK, door)) for door in doors} == doors


@pytest.mark.parametrize(
    ("endpoint", "is_work"),
    [
        ("/inference.GRPCInferenceService/ModelInfer", True),
        ("/bentocast.v1.Forecasts/Forecast", True),
        ("/bentoml.grpc.v1.BentoService/Call", True),
        ("/grpc.health.v1.Health/Check", False),
        ("/inference.GRPCInferenceService/ModelReady", False),
        ("other", False),
    ],
)
def test_forecasts_by_grpc_alone_are_counted(endpoint: str, *, is_work: bool) -> None:
    assert bool(re.fullmatch(WORK, endpoint)) is is_work


def test_an_address_with_a_password_is_masked() -> None:
    source = prometheus.Prometheus("http://me:secret@127.0.0.1:9")
    with pytest.raises(prometheus.PrometheusError) as err:
        source.series(identity("b:a", None, {}), 0.0, 10.0)
    assert "secret" not in err.value.message
    assert "cannot be read: ConnectionError; is DEPLOY_PROMETHEUS right?" in err.value.message
