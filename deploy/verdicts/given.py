"""Verdicts on other programs' traffic, and how a verdict is told."""

from __future__ import annotations

import math
from typing import Any

from data.errors import RequestError
from data.rollout import Judgement
from data.verdict import Check, Outcome, Verdict
from deploy.journal import Rollout
from deploy.judging import counts, judge
from deploy.judging.counts import Phase
from deploy.rollouts.progress import FEWEST_TIMES, phase
from deploy.verdicts import prometheus
from deploy.verdicts.asked import LONGEST_SECONDS, Asked
from deploy.verdicts.prometheus import Prometheus, PrometheusError

#: The stable version's latencies over so long before the first phase say at which edges they are compared.
BEFORE_SECONDS = 600.0
#: What programs that compare numbers go by.
VALUES = {Outcome.PASS: 1, Outcome.INCONCLUSIVE: 0, Outcome.FAIL: -1, Outcome.ERROR: -1}


def document(verdict: Verdict, rollout: Rollout | None = None) -> dict[str, Any]:
    """A verdict as JSON: `outcome`, `value` (1 pass, 0 inconclusive, -1 fail or error), `requests`, `checks`, `text`.

    Args:
        verdict: the verdict.
        rollout: on which, if it is one of here; told as `rollout`.
    """
    checks = [
        check.model_dump(mode="json", exclude={"numbers"}) | {"numbers": _finite(check.numbers)}
        for check in verdict.checks
    ]
    outcome = verdict.outcome
    split = next((check.numbers for check in verdict.checks if check.name == "split"), {})
    told: dict[str, Any] = {
        "outcome": outcome.value,
        "value": VALUES[outcome],
        "requests": int(split.get("canary", 0)),
        "checks": checks,
        "text": str(verdict),
    }
    if rollout is not None:
        told["rollout"] = {key: getattr(rollout, key) for key in ("id", "strategy", "stable", "candidate", "state")}
    return told


def text(verdict: Verdict) -> str:
    """A verdict for people: a line a check."""
    return "\n".join([verdict.outcome.upper(), *(f"  {one.outcome:12}  {one.text}" for one in verdict.checks)])


def on(asked: Asked, judgement: Judgement, source: Prometheus | None, now: float) -> Verdict:
    """Judge what is asked.

    Args:
        asked: versions and phases.
        judgement: limits, unless others are asked for.
        source: of counts that are not brought.
        now: seconds since 1970.

    Raises:
        RequestError: counts that cannot be, or phases that are not one after another.
        PrometheusError: it cannot be read, or nobody said where it is.
    """
    try:
        judgement = judgement.changed(asked.judgement)
    except ValueError as err:
        raise RequestError(f"the body: judgement: {err}") from err
    edges: tuple[float, ...] = asked.edges
    if asked.is_counted:
        phases = asked.counted()
    elif source is None:
        raise PrometheusError("nobody said where Prometheus is: set DEPLOY_PROMETHEUS, or start this with --prometheus")
    else:
        phases, edges = _counted(asked, judgement, source, now)
        if not phases:
            both = f"{asked.stable} or {asked.candidate}" + (f" (by {asked.by})" if asked.by else "")
            return _nothing(
                f"no forecasts of {both} in Prometheus while both had a share, or no phase with three scrapes"
            )
    pairs = {name: seen.pairs for name, seen in (("answers", asked.answers), ("accuracy", asked.accuracy)) if seen}
    try:
        return judge.judge(phases, edges, judgement, **pairs)
    except ValueError as err:
        raise (RequestError(f"the body: {err}") if asked.is_counted else PrometheusError(f"Prometheus: {err}")) from err


def _counted(
    asked: Asked, judgement: Judgement, source: Prometheus, now: float
) -> tuple[list[Phase], tuple[float, ...]]:
    """Phases, and the edges that were chosen from what came before them; none where nothing is known."""
    assert asked.stable is not None, "phases with times have both"
    assert asked.candidate is not None, "phases with times have both"
    periods = asked.at(now) if asked.weights is None else source.phases(asked.weights, now - LONGEST_SECONDS, now)
    if not periods:
        return [], ()
    begin = periods[0][1]
    names = [prometheus.identity(one, asked.by, asked.labels) for one in (asked.stable, asked.candidate)]
    before = source.series(names[0], begin - BEFORE_SECONDS, begin)
    earlier = prometheus.grown(before, begin - BEFORE_SECONDS, begin)
    timed = earlier.within.get(math.inf, 0)
    found = []
    for weight, began, ended in periods:
        stable, candidate = (source.series(name, began, ended) for name in names)
        if not stable and not candidate:
            continue
        since, until = prometheus.span([stable, candidate], began)
        if since < until:
            seen = [prometheus.grown(one, since, until) for one in (candidate, stable)]
            found.append(phase(weight, *seen, timed=timed >= FEWEST_TIMES))
    if timed < FEWEST_TIMES:
        return found, ()
    return found, counts.edges(earlier.over(), timed, judgement.slowness.excluded_steps)


def _nothing(why: str) -> Verdict:
    return Verdict.of([Check(name="prometheus", outcome=Outcome.INCONCLUSIVE, text=why)])


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}
