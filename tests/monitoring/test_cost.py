"""Test 6: sudden and slow rises of training, gates, latency and memory, and what must not look like one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from data.monitoring import Cost
from data.verdict import Check, Outcome
from deploy.verdicts.prometheus import BUCKET
from monitoring import cost
from monitoring.context import Context
from monitoring.pages import Pages
from monitoring.trend import trend
from tests.training import tiny
from tests.training.conftest import at_home
from training import tracking
from training.tracking import Run

pytestmark = pytest.mark.filterwarnings(*tiny.MLFLOW)

SETTINGS = Cost()
MINUTE, HOUR, MB = 60.0, 3_600.0, 1e6
Floats = NDArray[np.float64]


def worst(checks: list[Check]) -> Outcome:
    order = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.ERROR]
    return max((check.outcome for check in checks), key=order.index)


@given(st.lists(st.integers(0, 20), min_size=3, max_size=30))
def test_a_trend_is_scipys(values: list[int]) -> None:
    at, numbers = np.arange(len(values), dtype=np.float64), np.array(values, dtype=np.float64)
    found = trend(at, numbers)
    assert found.slope == pytest.approx(stats.theilslopes(numbers, at)[0])
    assert np.sign(round(found.certainty, 9)) in (0, np.sign(np.nan_to_num(stats.kendalltau(at, numbers)[0])))


@given(st.lists(st.floats(1, 100), min_size=4, max_size=12), st.floats(0.01, 100))
def test_training_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    ours, theirs = (cost.judge_figure("seconds", [one * by for one in values], SETTINGS) for by in (1.0, unit))
    assert [check.numbers["value"] for check in ours] == pytest.approx([check.numbers["value"] for check in theirs])


def test_training_that_takes_as_long_as_ever_passes() -> None:
    values = np.random.default_rng(0).normal(60, 6, 40).tolist()
    for last in range(4, 41):
        assert worst(cost.judge_figure("seconds", values[:last], SETTINGS)) is Outcome.PASS


def test_training_that_suddenly_takes_twice_as_long_fails() -> None:
    check = cost.judge_figure("seconds", [60, 61, 59, 62, 60, 120], SETTINGS)[0]
    assert check.outcome is Outcome.FAIL
    assert check.text == "seconds / usual 2 > 1.5 (limit)"


def test_training_that_grows_a_little_each_time_fails_by_its_trend() -> None:
    sudden, slow = cost.judge_figure("seconds", [60 * 1.05**number for number in range(10)], SETTINGS)
    assert sudden.outcome is Outcome.PASS
    assert slow.outcome is Outcome.FAIL
    assert slow.text == "seconds is 1.55 times what it was 9 runs ago, by its trend; limit 1.3"


def test_few_runs_and_bad_numbers_do_not_pass() -> None:
    assert worst(cost.judge_figure("seconds", [60, 60, 60], SETTINGS)) is Outcome.INCONCLUSIVE
    assert worst(cost.judge_figure("seconds", [60, 60, 60, math.nan], SETTINGS)) is Outcome.ERROR
    assert worst(cost.judge_figure("seconds", [], SETTINGS)) is Outcome.INCONCLUSIVE


def gate(number: int, ratio: float, outcome: str = "pass") -> Run:
    metrics = {f"{name}.estimate": ratio**sign for name, sign in cost.GATED.items()}
    tags = {"baseline": f"b:{number - 1}", "candidate": f"b:{number}", "outcome": outcome}
    return Run(float(number), {}, metrics, tags)


def test_gates_that_each_pass_may_creep() -> None:
    assert worst(cost.judge_gates([gate(number, 1.01) for number in range(8)], "b:7", SETTINGS)) is Outcome.PASS
    crept = cost.judge_gates([gate(number, 1.04) for number in range(8)], "b:7", SETTINGS)
    assert [check.outcome for check in crept] == [Outcome.PASS, *[Outcome.FAIL] * 6]
    assert crept[-1].text == "throughput over 8 gates 1.369 > 1.3 (limit)"


@pytest.mark.parametrize("outcome", ["pass", "fail", "inconclusive", "error"])
def test_the_gate_of_what_serves_counts(outcome: str) -> None:
    runs = [gate(1, 1.0, "fail"), gate(2, 1.0, outcome), gate(3, 1.0, "fail")]
    found = cost.judge_gates(runs, "b:2", SETTINGS)
    assert worst(found) is Outcome(outcome)
    assert found[0].text == f"load gate of b:2: {outcome}"


def test_what_serves_without_a_gate_is_told_of_where_others_have_one() -> None:
    (check,) = cost.judge_gates([gate(1, 1.0, "fail")], "b:9", SETTINGS)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.text == (
        "load gate: 1 versions have one, and b:9, which serves, has none: run `python -m loadtests gate`"
    )
    assert cost.judge_gates([gate(1, 1.0, "fail")], None, SETTINGS) == []


@pytest.mark.parametrize("runs", [[], [Run(1.0, {}, {}, {"baseline": "b:9", "candidate": "b:9", "outcome": "fail"})]])
def test_where_nobody_has_a_gate_that_is_said_and_no_more(runs: list[Run]) -> None:
    (check,) = cost.judge_gates(runs, "b:9", SETTINGS)
    assert check.outcome is Outcome.PASS
    assert check.text.startswith("load gate: no version has one, nothing is compared under equal load")


@pytest.mark.parametrize(("lacking", "outcome"), [(7, Outcome.INCONCLUSIVE), (3, Outcome.PASS)])
def test_a_figure_that_a_gate_did_not_measure_is_told_of(lacking: int, outcome: Outcome) -> None:
    runs = [gate(number, 1.01) for number in range(8)]
    del runs[lacking].metrics["p95.estimate"]
    found = {check.name: check for check in cost.judge_gates(runs, "b:7", SETTINGS)}
    assert found["p99 over 8 gates"].text == "p99 over 8 gates 1.083 <= 1.3 (limit)"
    (check,) = (check for name, check in found.items() if name.startswith("p95"))
    assert check.outcome is outcome
    assert f"the load gate of b:{lacking} measured none" in check.text


def histogram(seconds: Floats) -> dict[float, float]:
    edges = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, math.inf]
    return {edge: float((seconds <= edge).sum()) for edge in edges}


@given(st.lists(st.floats(0.0001, 0.9), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    edges = histogram(np.array(seconds))
    true = float(np.quantile(seconds, share, method="inverted_cdf"))
    high = min(edge for edge in edges if edge >= true)
    low = max((edge for edge in edges if edge < true), default=0.0)
    assert low <= cost.quantile(edges, share) <= high


def test_no_requests_have_no_quantile() -> None:
    assert math.isnan(cost.quantile({}, 0.5))


def test_latencies_of_versions_are_compared() -> None:
    draw = np.random.default_rng(0).lognormal(-4, 0.5, 5_000)
    now, before = ("v2", histogram(draw * 1.1)), ("v1", histogram(draw))
    assert worst(cost.judge_latencies(now, before, SETTINGS)) is Outcome.PASS
    slow = cost.judge_latencies(("v2", histogram(draw * 3)), before, SETTINGS)
    assert [check.outcome for check in slow] == [Outcome.FAIL] * 3
    assert slow[0].name == "p50 of v2 / of v1"


def test_few_requests_are_inconclusive() -> None:
    checks = cost.judge_latencies(("v2", histogram(np.ones(10))), ("v1", {}), SETTINGS)
    assert checks[0].text == "latency: 10 of v2, 0 of v1 requests, wanted 200 of each"
    assert worst(checks) is Outcome.INCONCLUSIVE


def memory(hours: float, seed: int, leak_a_minute: float = 0.0) -> tuple[Floats, Floats]:
    """A worker of 200 MB: it warms up by 150 MB within the first hour, then breathes by some MB."""
    draw = np.random.default_rng(seed)
    at = np.arange(0, hours * HOUR, 300.0)
    noise = np.zeros(at.size)
    for place in range(1, at.size):
        noise[place] = 0.9 * noise[place - 1] + draw.normal(0, 2)
    warm = 150 * (1 - np.exp(-at / 1_200))
    return at, (200 + warm + noise + leak_a_minute * at / MINUTE) * MB


@pytest.mark.parametrize("seed", range(30))
def test_a_warm_up_and_a_plateau_are_no_leak(seed: int) -> None:
    for hours in (3, 6, 24, 72):
        check = cost.judge_leak("memory", *memory(hours, seed), SETTINGS)
        assert check.outcome is Outcome.PASS, (hours, check.text)


@pytest.mark.parametrize("seed", range(30))
def test_a_leak_of_a_megabyte_a_minute_is_found_within_six_hours(seed: int) -> None:
    check = cost.judge_leak("memory", *memory(6, seed, 1.0), SETTINGS)
    assert check.outcome is Outcome.FAIL, check.text
    assert check.numbers["slope"] == pytest.approx(MB / MINUTE, rel=0.3)


def test_a_process_that_started_anew_begins_anew() -> None:
    at, before = memory(20, 0, 1.0)
    after = memory(6, 1)[1]
    times = np.concatenate([at, at[-1] + 300 + np.arange(after.size) * 300.0])
    assert cost.judge_leak("memory", times, np.concatenate([before, after]), SETTINGS).outcome is Outcome.PASS


def lived(*minutes: float, seed: int = 0, leak_a_minute: float = 0.0) -> tuple[Floats, Floats]:
    """One process after another under the same name, each for so many minutes."""
    parts = [memory(each / 60, seed + place, leak_a_minute)[1] for place, each in enumerate(minutes)]
    values = np.concatenate(parts)
    return np.arange(values.size, dtype=np.float64) * 300.0, values


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_that_kills_its_process_again_and_again_is_found_by_the_lives_before(seed: int) -> None:
    minutes = np.random.default_rng(seed).uniform(50, 130, 20)
    check = cost.judge_leak("memory", *lived(*minutes, 30, seed=seed, leak_a_minute=20.0), SETTINGS)
    assert check.outcome is Outcome.FAIL, check.text
    assert check.numbers["slope"] == pytest.approx(20 * MB / MINUTE, rel=0.3)
    assert check.name == "memory"


def test_lives_that_are_all_too_short_are_told_of() -> None:
    check = cost.judge_leak("memory", *lived(*[50] * 10, leak_a_minute=20.0), SETTINGS)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.text == (
        "memory: watched for 0.8 h, wanted 2 h before a leak can be told; it fell and began anew 9 times, 9 of them in the "
        "last day: is it killed for lack of memory?"
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("minutes", [(3_000, 60), (70, 90, 110, 80, 100, 75), (20, 20, 20, 600, 90)])
def test_a_sound_process_that_was_started_anew_is_inconclusive_for_a_while(
    seed: int, minutes: tuple[float, ...]
) -> None:
    check = cost.judge_leak("memory", *lived(*minutes, seed=100 * seed), SETTINGS)
    assert check.outcome is Outcome.INCONCLUSIVE, check.text


def test_a_cache_that_fills_is_no_leak() -> None:
    at = np.arange(0, 24 * HOUR, 300.0)
    values = (200 + 300 * np.minimum(1, at / (12 * HOUR))) * MB
    assert cost.judge_leak("memory", at, values, SETTINGS).outcome is Outcome.PASS


def test_a_short_life_is_inconclusive() -> None:
    check = cost.judge_leak("memory", *memory(1, 0), SETTINGS)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.text == "memory: watched for 0.9 h, wanted 2 h before a leak can be told"


def test_a_version_that_is_larger_fails() -> None:
    assert worst(cost.judge_size(("v2", [320.0]), ("v1", [200.0, 210.0, 190.0]), SETTINGS)) is Outcome.FAIL
    assert worst(cost.judge_size(("v2", [220.0]), ("v1", [200.0]), SETTINGS)) is Outcome.PASS
    assert cost.judge_size(("v2", [220.0]), ("", []), SETTINGS) == []


def pages(*, leak: float, slower: float, hours: int = 12) -> tuple[Pages, float]:
    """A version for half of the time, then another: pages every five minutes, as Prometheus would read them."""
    metrics = Pages()
    sizes = {"v1": memory(hours / 2, 0)[1], "v2": memory(hours / 2, 1, leak)[1]}
    draw = np.random.default_rng(0).lognormal(-4, 0.5, 20)
    for part, (version, size) in enumerate(sizes.items()):
        counts = histogram(draw * (slower if part else 1.0))
        for turn, value in enumerate(size.tolist()):
            lines = [f'worker_resident_memory_bytes{{service_version="{version}"}} {value}']
            for edge, count in counts.items():
                le = "+Inf" if math.isinf(edge) else str(edge)
                of = f'service_version="{version}",le="{le}"'
                lines.append(f'{BUCKET}{{endpoint="/v1/timeseries/forecast",{of}}} {count * (turn + 1)}')
                # Probes are quick, whatever the model takes, and outnumber forecasts.
                lines.append(f'{BUCKET}{{endpoint="/readyz",{of}}} {1_000 * (turn + 1)}')
            metrics.read("\n".join(lines) + "\n", version, 1e9 + 300.0 * (part * size.size + turn))
    return metrics, metrics.now


def checked(folder: Path, metrics: Pages, now: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    with at_home(folder, monkeypatch):
        tracking.connect()
        with tracking.run("town"):
            tracking.log({}, dict.fromkeys(cost.TRAINING, 1.0), {})
        found = cost.check(Context(tiny.params(), now, metrics, None)).checks
    return {check.name: check for check in found}


def test_pages_of_two_versions_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(tmp_path, *pages(leak=1.0, slower=3.0), monkeypatch)
    assert found["memory of v2"].outcome is Outcome.FAIL
    assert "memory of v1" not in found  # it has ended
    assert found["p95 of v2 / of v1"].outcome is Outcome.FAIL
    assert found["cost.train.seconds"].text == "cost.train.seconds: 1 runs, wanted 4: there is no past to compare with"
    assert "load gate" not in found  # nothing says what it serves


def test_pages_of_two_like_versions_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(tmp_path, *pages(leak=0.0, slower=1.0), monkeypatch)
    served = {name: check for name, check in found.items() if name.startswith(("p", "memory"))}
    assert {check.outcome for check in served.values()} == {Outcome.PASS}
    assert set(served) >= {"memory of v2", "memory of v2 / of v1", "p50 of v2 / of v1"}


def test_a_step_while_a_version_serves_is_found_beside_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten days after a rollout answers take a second, as of today: over its whole life the version looks well."""
    metrics = Pages()
    for hour in range(13 * 24):
        version, since = ("v1", hour) if hour < 2 * 24 else ("v2", hour - 2 * 24)
        slow = max(0, hour - 12 * 24)
        of = f'endpoint="/v1/timeseries/forecast",service_version="{version}"'
        edges = {"0.1": since - slow, "1": since, "+Inf": since}
        lines = [f'{BUCKET}{{{of},le="{edge}"}} {100 * count}' for edge, count in edges.items()]
        metrics.read("\n".join(lines) + "\n", version, 1e9 + HOUR * hour)
    context = Context(tiny.params(), metrics.now, metrics, None)
    found = {check.name: check.outcome for check in cost._latency(context, SETTINGS)}
    assert found["p50 of v2 / of v1"] is Outcome.PASS
    assert found["p50 of the last 1d / of the time before"] is Outcome.FAIL


def test_probes_are_no_requests_whose_latency_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Pages()
    for turn in range(30):
        probes = f'{BUCKET}{{service_version="v1",endpoint="/readyz",le="+Inf"}} {10_000 * turn}\n'
        metrics.read(probes, "v1", 1e9 + HOUR * turn)
    found = checked(tmp_path, metrics, metrics.now, monkeypatch)
    assert found["latency"].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("left", [25, 30])
def test_what_was_tried_later_is_not_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """A candidate that is small and quick, beside what serves, or taken back meanwhile."""
    metrics = Pages()
    for turn in range(30):
        for version, number, size in (("new", 2, 100 * MB), ("old", 1, 500 * MB)):
            if version == "new" and not 20 <= turn < left:
                continue
            info = f'model_info{{model="m",version="{number}",bento="b:{version}",run_id="r",git_commit="c"}} 1\n'
            told = f'worker_resident_memory_bytes{{service_version="{version}"}} {size}\n'
            of = f'endpoint="/v1/timeseries/forecast",service_version="{version}"'
            quick = (version == "new") * 900 * turn
            told += f'{BUCKET}{{{of},le="0.1"}} {quick}\n{BUCKET}{{{of},le="+Inf"}} {1_000 * turn}\n'
            metrics.read(info + told, version, 1e9 + HOUR * turn)
        metrics.read('rollout_weight_ratio{service_version="old"} 1\n', "exporter", metrics.now)
    found = checked(tmp_path, metrics, metrics.now, monkeypatch)
    assert not [name for name in found if "of new /" in name or "/ of new" in name], found.keys()


def test_a_warm_up_is_not_the_size_of_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Pages()
    for turn in range(60):
        version, since = ("v1", turn) if turn < 30 else ("v2", turn - 30)
        size = (100 if version == "v1" and since < 12 else 300) * MB
        metrics.read(f'worker_resident_memory_bytes{{service_version="{version}"}} {size}\n', version, 1e9 + 300 * turn)
    assert checked(tmp_path, metrics, metrics.now, monkeypatch)["memory of v2 / of v1"].numbers["value"] == 1.0


def test_no_metrics_are_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(tmp_path, Pages(), 1e9, monkeypatch)
    assert found["memory"].text == "memory: no service tells worker_resident_memory_bytes: is it up?"
    assert found["latency"].outcome is Outcome.INCONCLUSIVE
