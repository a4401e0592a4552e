"""A verdict from a real Prometheus that scrapes two versions of the service."""

from __future__ import annotations

import time

import pytest

from data.verdict import Outcome
from deploy.verdicts.prometheus import PrometheusError
from tests.deploy.verdicts.town import MARKS, SCRAPE_TIMEOUT_SECONDS, Town

pytestmark = MARKS


def test_a_candidate_like_the_stable_version_passes(town: Town) -> None:
    phases = [(0.25, town.traffic(0.25, 4.0)), (0.5, town.traffic(0.5, 6.0))]
    verdict = town.verdict(phases)
    assert verdict.outcome is Outcome.PASS, str(verdict)
    counted = verdict.checks[0].numbers
    assert 0.6 < (counted["canary"] + counted["stable"]) / 8_000 < 1.2


def test_harm_is_found(town: Town) -> None:
    failing = town.verdict([(0.25, town.traffic(0.25, 3.0, errors=0.2))])
    assert failing.outcome is Outcome.FAIL, str(failing)
    assert "errors: " in failing.checks[1].text
    slow = town.verdict([(0.5, town.traffic(0.5, 4.0, slower=6.0))])
    assert {check.name for check in slow.checks if check.outcome is Outcome.FAIL} == {"slowness"}, str(slow)


def test_a_weight_that_was_never_there_is_an_error(town: Town) -> None:
    verdict = town.verdict([(0.1, town.traffic(0.5, 3.0))])
    assert verdict.outcome is Outcome.ERROR
    assert "no other figure can be trusted" in verdict.checks[0].text


def test_no_data_never_passes(town: Town) -> None:
    phase = (0.5, town.traffic(0.5, 2.0))
    assert town.verdict([phase], labels={"namespace": "test"}).outcome is Outcome.INCONCLUSIVE
    assert "no forecasts of bentocast:a or bentocast:b in Prometheus" in str(
        town.verdict([phase], labels={"namespace": "test"})
    )
    gone = town.verdict([phase], candidate="bentocast:c")
    assert gone.outcome is Outcome.ERROR, str(gone)
    assert "0 of " in gone.checks[0].text


def test_phases_are_read_from_the_weight(town: Town) -> None:
    town.traffic(0.5, 1.0)
    town.traffic(0.0, 1.0)
    assert town.verdict([], weights="canary_weight").outcome is Outcome.INCONCLUSIVE
    phases = [(weight, town.traffic(weight, 3.0)) for weight in (0.25, 0.5)]
    read = town.source.phases("canary_weight", time.time() - 600, time.time())
    assert [weight for weight, _, _ in read] == [0.25, 0.5]
    for (_, began, ended), (_, (really_began, really_ended)) in zip(read, phases, strict=True):
        assert really_began - SCRAPE_TIMEOUT_SECONDS <= began < ended <= really_ended + 1
    verdict = town.verdict([], weights="canary_weight")
    assert verdict.checks[0].outcome is Outcome.PASS, str(verdict)
    with pytest.raises(PrometheusError, match="up: got 2 series, wanted the candidate's alone"):
        town.source.phases("up", time.time() - 600, time.time())


def test_versions_are_told_apart_by_a_label(town: Town) -> None:
    phase = [(0.5, town.traffic(0.5, 4.0))]
    by_tag = town.verdict(phase)
    by_hash = town.verdict(phase, by="rollouts_pod_template_hash", stable="old", candidate="new")
    assert by_hash.checks[0].numbers["canary"] == by_tag.checks[0].numbers["canary"] > 1_000
    none = town.verdict(phase, by="rollouts_pod_template_hash", stable="older", candidate="newer")
    assert none.outcome is Outcome.INCONCLUSIVE
    assert "older or newer (by rollouts_pod_template_hash)" in str(none)
