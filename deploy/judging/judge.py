"""The judge of a rollout: what was counted of canary and stable version, into a verdict that may be asked for at any time.

It takes counters and gives a verdict, without a clock and without a network. A canary that is within all that is
tolerated fails with a chance of at most `alpha` over the whole rollout, however often it is looked at; each check has its
part of that. A pass needs every check, so each has the whole of `beta` (an intersection-union test: Berger 1982,
"Multiparameter hypothesis testing and acceptance sampling").

Evidence comes and goes, and what once was enough stays enough: whoever asks stops at the first FAIL or ERROR. Asking on
and waiting for a better verdict gives the guarantee away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.rollout import BESIDE_STEPS, STEP, Judgement, PairLimits
from data.verdict import Check, Outcome, Verdict
from deploy.judging import counts, evidence
from deploy.judging.counts import Pairs, Phase, Split
from deploy.judging.evidence import Events

#: So many times as large as the evidence that there is none, evidence of harm is a doubt.
DOUBT = 3.0
#: Answers that a canary may have no more of than the stable version, each kind a check: fields of a phase.
BAD = ("errors", "refused")
#: Evidence beyond this is not written out.
UNWRITTEN = 1e6


@dataclass(frozen=True, slots=True)
class Scale:
    """What speaks for harm and against it: logarithms of e-values, and claims that they are evidence of."""

    harm: float
    harmless: float
    claims: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """How much was seen, and what is the least for a pass."""

    seen: int
    fewest: int
    unit: str


def judge(
    phases: Sequence[Phase],
    edges: Sequence[float],
    judgement: Judgement,
    *,
    answers: Pairs | None = None,
    accuracy: Pairs | None = None,
) -> Verdict:
    """Whether a canary is as good as the stable version.

    Args:
        phases: one for each weight so far, in order.
        edges: in seconds, at which latencies are compared, chosen before they were counted (`deploy.judging.counts.edges`).
        judgement: limits and error rates.
        answers: to the same mirrored requests, worse where they differ; None if nothing is mirrored.
        accuracy: of forecasts of the same target, worse where the canary's absolute error is the larger one; None if no
            actual values are expected.

    Returns:
        A check a figure. It fails on evidence of harm, passes on evidence against it from enough requests or pairs, and
        is inconclusive otherwise. Requests that were not split as configured are an error, since that makes all
        else wrong. `numbers` has log_harm and log_harmless with their limits, and the counts.

    Raises:
        ValueError: counts that cannot be (`deploy.judging.counts.check`), or edges without `excluded_steps` above them.
    """
    counts.check(phases, edges)
    drawn = [one for one in phases if one.drawn]
    checks = [_split(drawn, judgement)] if drawn or not phases else []
    checks += [_bad(name, phases, judgement) for name in BAD]
    checks.append(_slowness(phases, edges, judgement))
    if answers is not None:
        checks.append(_pairs("answers", "differ", answers, judgement.answers, judgement))
    if accuracy is not None:
        checks.append(_pairs("accuracy", "are worse", accuracy, judgement.accuracy, judgement))
    return Verdict.of(checks)


def limit(judgement: Judgement, part: str) -> float:
    """The logarithm of the evidence that a check fails at: 1 / (alpha x its part)."""
    return -math.log(judgement.alpha * judgement.parts.of(part))


def doubts(verdict: Verdict) -> list[Check]:
    """Checks that are open, and speak `DOUBT` times as much against the canary as for it.

    Nothing is concluded from it, so it takes nothing from the error rates; but nobody would give such a canary more users.
    """
    open_ones = [one for one in verdict.checks if one.outcome is Outcome.INCONCLUSIVE and "log_harm" in one.numbers]
    # NaN, which no comparison holds of, is a doubt.
    return [one for one in open_ones if not one.numbers["log_harm"] - one.numbers["log_harmless"] <= math.log(DOUBT)]


def is_enough(verdict: Verdict, *, is_last: bool) -> bool:
    """Whether a step that has had its requests is over: the last one wants a pass, the others want no doubt."""
    return verdict.passed or not (is_last or doubts(verdict))


def compared(one: Phase, edge: float, steps: int) -> Split:
    """The canary's requests over an edge so many steps of `STEP` above, or more, with the stable version's over the edge.

    If the canary takes at most `STEP**steps` times as long, in distribution, its requests are over the higher edge no
    more often than the stable version's are over the lower.

    Raises:
        ValueError: there is no such edge.
    """
    above = counts.at_least(one.over, edge * STEP**steps)
    if above is None:
        raise ValueError(f"got {max(one.over):g} s as the last edge, wanted {steps} steps of {STEP:g} above {edge:g} s")
    return Split(one.over[above].canary, one.over[edge].stable)


def ruled_out(one: Phase, edge: float, steps: int) -> Split:
    """The canary's requests over an edge so many steps above, or fewer, with the stable version's over the edge.

    If the canary takes `STEP**steps` times as long or longer, its requests are over the higher edge no less often than
    the stable version's are over the lower. Where the next edge is further away than that, both are the same edge, at
    which a canary can be told from a slower one only if it is quicker than the stable version.
    """
    above = counts.at_most(one.over, edge * STEP**steps)
    assert above is not None, "the edge itself is one"
    return Split(one.over[above].canary, one.over[edge].stable)


def _split(phases: Sequence[Phase], judgement: Judgement) -> Check:
    """Whether requests were split as configured."""
    name = "split"
    canary, stable = _total([one.requests for one in phases])
    asked = canary + stable
    if not asked:
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=f"{name}: no requests")
    events = [_events(one.weight, one.requests, judgement) for one in phases]
    harm = sum(float(evidence.share_differs(one.canary, one.stable, one.weight)) for one in events)
    most = limit(judgement, "split")
    wanted = sum(one.weight * sum(one.requests) for one in phases)
    text = (
        f"{name}: {canary:,} of {asked:,} requests went to the canary, {wanted:,.0f} should have; "
        f"evidence of another split {_shown(harm)} of {_shown(most)} needed"
    )
    off = harm >= most
    if off:
        text += ", so no other figure can be trusted"
    numbers = {"canary": canary, "stable": stable, "wanted": wanted, "log_harm": harm, "log_harm_limit": most}
    return Check(name=name, outcome=Outcome.ERROR if off else Outcome.PASS, text=text, numbers=numbers)


def _bad(name: str, phases: Sequence[Phase], judgement: Judgement) -> Check:
    """Whether the canary fails more often, or refuses. It passes if its rate is near enough to the stable version's, or low.

    That is one e-value, the mean of two: a canary to be kept out has both a high ratio and a high share. Users' own bad
    requests are refused by both versions alike, so a difference is the canary's.
    """
    limits = judgement.errors
    seen: list[Split] = [getattr(one, name) for one in phases]
    asked, bad = _total([one.requests for one in phases]), _total(seen)
    events = [_events(one.weight, hits, judgement) for one, hits in zip(phases, seen, strict=True)]
    fine = asked.canary - bad.canary
    low = evidence.share_above(fine / judgement.cluster, bad.canary / judgement.cluster, 1 - limits.share)
    scale = Scale(
        harm=float(evidence.rate_above(events, limits.tolerated)),
        harmless=float(evidence.mean([evidence.rate_below(events, limits.excluded), low])),
        claims=(
            f"they are {_more_frequent(limits.tolerated)}",
            f"they are less than {limits.excluded:g} times as frequent or below {_percent(limits.share)}",
        ),
    )
    sample = Sample(asked.canary, judgement.requests, "requests")
    return _check(name, _against(bad, asked), scale, sample, judgement, _numbers(bad, asked))


def _slowness(phases: Sequence[Phase], edges: Sequence[float], judgement: Judgement) -> Check:
    """Whether the canary takes longer: harm by the mean over edges, its absence at every edge.

    Copies are compared more leniently (`BESIDE_STEPS`), so they can fail a canary that is much slower, and speak for one
    only where nothing else does: that they are not twice as slow says nothing of a tenth.
    """
    name, limits = "slowness", judgement.slowness
    timed = [one for one in phases if one.over]
    if not edges:
        text = f"{name}: no edges to compare latencies at, since the stable version had no traffic before the canary"
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text)
    weighed = [one for one in timed if one.drawn] or timed
    copied = bool(weighed) and not weighed[0].drawn
    asked = _total([one.timed_requests for one in weighed])

    def events(
        pick: Callable[[Phase, float, int], Split], some: Sequence[Phase], edge: float, steps: int
    ) -> list[Events]:
        return [_events(one.timed_weight, pick(one, edge, steps + _beside(one)), judgement) for one in some]

    harm = {
        edge: _slower([events(compared, some, edge, limits.tolerated_steps) for some in _kinds(timed)])
        for edge in edges
    }
    harmless = {
        edge: _not_slower(events(ruled_out, weighed, edge, limits.excluded_steps), asked.canary, judgement)
        for edge in edges
    }
    beside = BESIDE_STEPS if copied else 0
    of = ", as copies, " if copied else " "
    seldom = f"seldom slow at each of {len(edges)} edges"
    scale = Scale(
        harm=float(evidence.mean(list(harm.values()))),
        harmless=min(harmless.values()),
        claims=(
            f"it is{of}more than {_percent(STEP ** (limits.tolerated_steps + beside) - 1)} slower",
            f"it is{of}less than {_percent(STEP ** (limits.excluded_steps + beside) - 1)} slower or {seldom}",
        ),
    )
    worst = max(edges, key=lambda edge: (harm[edge], edge))
    steps = limits.tolerated_steps + beside
    over = _total([compared(one, worst, steps) for one in weighed])
    above = counts.at_least(timed[-1].over, worst * STEP**steps) if timed else None
    text = _against(over, asked, f" over {_milliseconds(above or worst)}", f" over {_milliseconds(worst)}")
    numbers = _numbers(over, asked) | {"edge": worst}
    for edge in edges:
        numbers |= {f"log_harm over {edge:g} s": harm[edge], f"log_harmless over {edge:g} s": harmless[edge]}
    sample = Sample(asked.canary, judgement.requests, "requests")
    check = _check(name, text, scale, sample, judgement, numbers)
    hint = _too_coarse(weighed, edges, limits.excluded_steps + beside)
    if hint and sample.seen and check.outcome is Outcome.INCONCLUSIVE:
        return check.model_copy(update={"text": f"{check.text}; {hint}"})
    return check


def _kinds(phases: Sequence[Phase]) -> list[list[Phase]]:
    """Copies, if there are any, and what was drawn."""
    copies, drawn = ([one for one in phases if one.drawn == chosen] for chosen in (False, True))
    return [copies, drawn] if copies else [drawn]


def _slower(kinds: Sequence[Sequence[Events]]) -> float:
    """That the canary is slower at an edge, by the mean over copies and what was drawn.

    Their product is an e-value too. But that copies are not twice as slow says nothing of a tenth, and would be
    held against what users' own requests show.
    """
    return float(evidence.mean([evidence.rate_above(events, 1.0) for events in kinds]))


def _beside(one: Phase) -> int:
    return 0 if one.drawn else BESIDE_STEPS


def _too_coarse(timed: Sequence[Phase], edges: Sequence[float], steps: int) -> str:
    """What to do about edges that are so far apart that not even a canary like the stable version can pass.

    Raises:
        ValueError: no edge is above one of them, so nothing tells what is slower.
    """
    for one in timed:
        if edges and max(edges) >= max(one.over):
            raise ValueError(
                f"got {max(one.over):g} s as the last edge, wanted one above it: nothing tells what is slower"
            )
    ratios = [
        min(other for other in one.over if other > edge) / edge
        for one in timed
        for edge in edges
        if counts.at_most(one.over, edge * STEP**steps) == edge
    ]
    if not ratios:
        return ""
    wanted = STEP ** math.ceil(math.log(max(ratios) / (1 + counts.ROUNDED)) / math.log(STEP))
    return (
        f"edges are up to {max(ratios):.3g} times apart: to rule harm out, set slowness.excluded to "
        f"{math.ceil(wanted * 100) / 100:g} or more"
    )


def _not_slower(events: Sequence[Events], asked: int, judgement: Judgement) -> float:
    """That the canary is not much slower at an edge, or seldom as slow as that, whatever the stable version is.

    One e-value, the mean of two, as of errors: where nearly no request of either is over an edge, a ratio says nothing.
    """
    over = sum(float(one.canary) for one in events)
    seldom = evidence.share_above(asked / judgement.cluster - over, over, 1 - judgement.slowness.share)
    return float(evidence.mean([evidence.rate_below(events, 1.0), seldom]))


def _events(weight: float, seen: Split, judgement: Judgement) -> Events:
    """Events of one phase; a cluster counts as one (see `deploy.judging.evidence`)."""
    return Events(weight, seen.canary / judgement.cluster, seen.stable / judgement.cluster)


def _pairs(name: str, what: str, seen: Pairs, limits: PairLimits, judgement: Judgement) -> Check:
    """Whether the canary is the worse one in more pairs than it may be."""
    counts.check_pairs(name, seen)
    total = sum(seen)
    scale = Scale(
        harm=float(evidence.share_above(seen.worse, seen.other, limits.tolerated)),
        harmless=float(evidence.share_above(seen.other, seen.worse, 1 - limits.excluded)),
        claims=(f"more than {_percent(limits.tolerated)} {what}", f"fewer than {_percent(limits.excluded)} {what}"),
    )
    numbers = {"worse": float(seen.worse), "pairs": float(total)}
    sample = Sample(total, judgement.pairs, "pairs")
    return _check(name, f"{seen.worse:,} of {total:,} pairs {what}", scale, sample, judgement, numbers)


def _check(
    name: str, counted: str, scale: Scale, sample: Sample, judgement: Judgement, numbers: dict[str, float]
) -> Check:
    if not sample.seen:
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=f"{name}: no {sample.unit}")
    most, least = limit(judgement, name), -math.log(judgement.beta)
    outcome = Outcome.INCONCLUSIVE
    if scale.harm >= most:
        outcome = Outcome.FAIL
    elif scale.harmless >= least and sample.seen >= sample.fewest:
        outcome = Outcome.PASS
    text = (
        f"{name}: {counted}; evidence that {scale.claims[0]} {_shown(scale.harm)} of {_shown(most)} needed, "
        f"that {scale.claims[1]} {_shown(scale.harmless)} of {_shown(least)} needed"
    )
    if sample.seen < sample.fewest:
        text += f", {sample.seen:,} of {sample.fewest:,} {sample.unit} needed"
    weighed = {"log_harm": scale.harm, "log_harmless": scale.harmless}
    limits = {"log_harm_limit": most, "log_harmless_limit": least}
    return Check(name=name, outcome=outcome, text=text, numbers=numbers | weighed | limits)


def _total(splits: Sequence[Split]) -> Split:
    return Split(sum(one.canary for one in splits), sum(one.stable for one in splits))


def _against(seen: Split, asked: Split, canary: str = "", stable: str = "") -> str:
    return (
        f"{seen.canary:,} of {asked.canary:,} (canary){canary} against "
        f"{seen.stable:,} of {asked.stable:,} (stable){stable}"
    )


def _numbers(seen: Split, asked: Split) -> dict[str, float]:
    return {
        "canary": float(seen.canary),
        "stable": float(seen.stable),
        "canary_requests": float(asked.canary),
        "stable_requests": float(asked.stable),
    }


def _more_frequent(ratio: float) -> str:
    return "more frequent" if ratio == 1 else f"more than {ratio:g} times as frequent"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _shown(logarithm: float) -> str:
    """An e-value as people read it."""
    if logarithm > math.log(UNWRITTEN):
        return f"over {UNWRITTEN:,.0f}"
    value = math.exp(logarithm)
    if value < 0.01:
        return "under 0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
