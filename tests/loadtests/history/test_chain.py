from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.loadtest import LoadHistory, Loadtest
from data.verdict import Outcome
from loadtests.gate.judge import RATIOS
from loadtests.history import chain
from loadtests.history.chain import Gate
from loadtests.history.report import Found, page, text


def gate(began: float, baseline: str, candidate: str, ratio: float = 1.0, half: float = 1.02, **other: float) -> Gate:
    numbers: dict[str, float] = {}
    for name in RATIOS:
        here = other.get(name, ratio)
        numbers |= {f"{name}.estimate": here, f"{name}.low": here / half, f"{name}.high": here * half}
        numbers |= {f"{name}.baseline": 1.0, f"{name}.candidate": here}
    return Gate(began, f"b:{baseline}", f"b:{candidate}", "native", "pass", numbers)


def test_a_chain_leads_to_the_newest_candidate() -> None:
    gates = [gate(3, "2", "3"), gate(1, "0", "1"), gate(4, "3", "3"), gate(2, "1", "2"), gate(2.5, "1", "side")]
    assert [one.candidate for one in chain.chain(gates)] == ["b:1", "b:2", "b:3"]


def test_a_candidate_that_was_measured_again_counts_as_it_was_last() -> None:
    (one,) = chain.chain([gate(1, "0", "1", 1.5), gate(2, "0", "1", 1.1)])
    assert one.numbers["p50.estimate"] == 1.1


def test_versions_that_were_rolled_back_make_no_endless_chain() -> None:
    gates = [gate(1, "1", "2"), gate(2, "2", "1")]
    assert [one.candidate for one in chain.chain(gates)] == ["b:2", "b:1"]


def test_no_gate_between_two_versions() -> None:
    assert chain.chain([]) == chain.chain([gate(1, "1", "1")]) == []
    found = Found.of([gate(1, "1", "1")], Loadtest())
    assert found.verdict.outcome is Outcome.INCONCLUSIVE
    assert "INCONCLUSIVE: no gate between two versions yet" in text(found)
    assert text(Found.of([], Loadtest(protocol="grpc"))) == (
        "no gates by grpc (loadtest.protocol) yet: `python -m loadtests gate` makes one"
    )


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20), st.floats(1.0, 1.5))
def test_ratios_multiply_and_doubt_grows(ratios: list[float], half: float) -> None:
    gates = [gate(place, str(place), str(place + 1), ratio, half) for place, ratio in enumerate(ratios)]
    links = chain.links(gates, "p95")
    assert links[-1].ratio == pytest.approx(math.prod(ratios))
    spread = math.exp(math.log(half) * math.sqrt(len(ratios)))
    assert links[-1].low == pytest.approx(links[-1].ratio / spread)
    assert links[-1].high == pytest.approx(links[-1].ratio * spread)
    assert links[0].ratio == 1.0


def test_a_bound_that_is_not_known_is_far_away() -> None:
    one = gate(1, "0", "1", 1.2)
    del one.numbers["p50.low"], one.numbers["p50.high"]
    link = chain.links([one], "p50")[-1]
    assert link.low == 0.0
    assert link.high > 1e100


def test_what_creeps_in_below_the_limit_of_each_gate_is_found() -> None:
    creeping = [gate(place, str(place), str(place + 1), throughput=0.97, p95=1.04, ratio=1.0) for place in range(8)]
    verdict = chain.judge(creeping, 1.15)
    failed = {check.name: check.text for check in verdict.checks if check.outcome is Outcome.FAIL}
    assert set(failed) == {"p95", "throughput"}
    assert failed["p95"] == "p95 1.369 (1.294 to 1.447) over 8 steps > 1.15 (limit)"
    assert failed["throughput"] == "throughput 0.784 (0.741 to 0.829) over 8 steps < 0.8696 (limit)"
    assert chain.judge(creeping[:1], 1.15).outcome is Outcome.PASS
    assert chain.judge(creeping[:3], 1.15).outcome is Outcome.INCONCLUSIVE


def test_only_the_last_versions_count() -> None:
    gates = [gate(place, str(place), str(place + 1), 1.2 if place < 2 else 1.0) for place in range(8)]
    assert Found.of(gates, Loadtest(history=LoadHistory(versions=5, limit=1.15))).verdict.outcome is Outcome.PASS
    assert Found.of(gates, Loadtest(history=LoadHistory(versions=8, limit=1.15))).verdict.outcome is Outcome.FAIL


def test_gates_by_another_protocol_are_another_chain() -> None:
    gates = [gate(1, "0", "1", 1.1), replace(gate(2, "1", "2", 1.3), protocol="grpc"), gate(3, "0", "2", 1.1)]
    found = Found.of(gates, Loadtest())
    assert [(one.baseline, one.candidate) for one in found.chained] == [("b:0", "b:2")]
    assert text(found).splitlines()[-len(RATIOS) - 1] == "PASS: from b:0 to b:2 by native, 1 step"
    (other,) = Found.of(gates, Loadtest(protocol="grpc")).gates
    assert other is gates[1]


def test_the_page_draws_every_version() -> None:
    made = page(Found.of([gate(place, str(place), f"<v{place + 1}>", 1.01) for place in range(3)], Loadtest()))
    assert made.count("<svg") == 2
    assert "b:&lt;v3&gt;" in made
    assert "<v3>" not in made


def test_a_figure_that_a_gate_lacks_does_not_pass() -> None:
    one = gate(1, "0", "1")
    for key in [key for key in one.numbers if key.startswith("p99")]:
        del one.numbers[key]
    found = Found.of([one], Loadtest())
    assert found.verdict.outcome is Outcome.INCONCLUSIVE
    (check,) = (check for check in found.verdict.checks if check.outcome is not Outcome.PASS)
    assert check.text == "p99: the gate of b:1 has no such figure"
    assert page(found).count("<svg") == 2
