"""Test 6: training, latency, throughput and memory cost what they did: no sudden step, and nothing that creeps.

Training is compared over the runs in MLflow, serving over what Prometheus pulled, versions under equal load by the load
gates (`python -m loadtests gate`). Sudden: a figure against its past. Slow: its trend over many versions, or over the
life of a process, since no single step of it would be found.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data import durations
from data.errors import BentocastError
from data.monitoring import Cost
from data.verdict import Check, Outcome, Verdict
from deploy.verdicts.prometheus import BUCKET, WORK
from monitoring import trend
from monitoring.context import Context
from training.tracking import Run

Floats = NDArray[np.float64]
#: Requests up to each edge of latency, in seconds; the last edge is infinite.
Edges = Mapping[float, float]
#: The same with whose they are.
Named = tuple[str, Edges]
#: Moments, seconds since 1970, and a series' value at each.
Points = Sequence[tuple[float, float]]

TRAINING = tuple(
    f"cost.{stage}.{figure}" for stage in ("backtest", "train") for figure in ("seconds", "peak_memory_bytes")
)
GATED = {"p50": 1, "p95": 1, "p99": 1, "memory": 1, "processor": 1, "throughput": -1}
GATE = "python -m loadtests gate"
PERCENTILES = (0.5, 0.95, 0.99)
#: Earlier figures that the newest one is compared with: their median; fewer are no past.
EARLIER, FEWEST = 5, 3
#: Standard score from which a trend is one: 4 of noise are rarer than 1 in 30,000.
CERTAIN = 4.0
#: The same over versions, of which there are few; seven that rise one after another reach it.
CERTAIN_VERSIONS = 3.0
MEMORY = "worker_resident_memory_bytes"
#: Share of a process' memory that it has to have grown by: memory that breathes over hours has trends too.
SEEN = 0.1
#: A process that is started again so often in a day may be ended by its own leak.
OFTEN, DAY_SECONDS = 4, 86_400.0
#: What lives that were cut short are looked at for, as a multiple of `warm_up`.
PARTS = 4
#: Seconds between values that are asked for.
STEP, MEMORY_STEP = 3_600.0, 300.0
#: Prometheus gives no more than 11,000 points of a series.
MOST_POINTS = 10_000


def check(context: Context) -> Verdict:
    """Look at training, load gates, latencies and memory."""
    settings = context.params.monitoring.cost
    return Verdict.of(
        [
            *_asked("training", lambda: _training(context, settings)),
            *_asked("load gates", lambda: _gates(context, settings)),
            *_asked("latency", lambda: _latency(context, settings)),
            *_asked("memory", lambda: _memory(context, settings)),
        ]
    )


def judge_figure(name: str, values: Sequence[float], settings: Cost) -> list[Check]:
    """One figure of training over the runs, oldest first: the newest against the median of those before, and the trend."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    if len(known) != len(values):
        bad = len(values) - len(known)
        return [
            Check(name=name, outcome=Outcome.ERROR, text=f"{name}: {bad} of {len(values)} runs have no positive number")
        ]
    if len(known) <= FEWEST:
        text = f"{name}: {len(known)} runs, wanted {FEWEST + 1}: there is no past to compare with"
        return [Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text)]
    usual = float(np.median(known[-1 - EARLIER : -1]))
    made = [Check.at_most(f"{name} / usual", known[-1] / usual, settings.sudden)]
    recent = np.log(known[-settings.versions :])
    found = trend.trend(np.arange(recent.size, dtype=np.float64), recent)
    growth = math.exp(found.slope * (recent.size - 1))
    grew = growth > settings.slow and found.certainty > CERTAIN_VERSIONS
    text = f"{name} is {growth:.3g} times what it was {recent.size - 1} runs ago, by its trend; limit {settings.slow:g}"
    numbers = {"value": growth, "limit": settings.slow, "certainty": found.certainty}
    return [
        *made,
        Check(name=f"{name} over runs", outcome=Outcome.FAIL if grew else Outcome.PASS, text=text, numbers=numbers),
    ]


def judge_gates(runs: Sequence[Run], bento: str | None, settings: Cost) -> list[Check]:
    """The load gate of the version that serves, and ratios put end to end over those that lead to it.

    Where no version ever had one, nobody measures them against each other: that is said, and is no gap in what is known.
    A gate of a version that was not let through says nothing of what serves.
    """
    name = "load gate"
    if bento is None:
        return []
    latest = {run.tags["candidate"]: run for run in runs if run.tags["candidate"] != run.tags["baseline"]}
    if not latest:
        text = f"{name}: no version has one, nothing is compared under equal load: `{GATE}` does it"
        return [Check(name=name, outcome=Outcome.PASS, text=text)]
    own = latest.get(bento)
    if own is None:
        text = f"{name}: {len(latest):,} versions have one, and {bento}, which serves, has none: run `{GATE}`"
        return [Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text)]
    chain = [own]
    while (before := latest.get(chain[-1].tags["baseline"])) is not None and before not in chain:
        chain.append(before)
    chain = chain[: settings.versions]
    outcome = Outcome(own.tags["outcome"])
    made = [Check(name=name, outcome=outcome, text=f"{name} of {bento}: {outcome}")]
    return made + [_chained(figure, sign, chain, settings) for figure, sign in GATED.items()]


def _chained(figure: str, sign: int, chain: Sequence[Run], settings: Cost) -> Check:
    """A figure over the gates, newest first, up to the first that did not measure it."""
    ratios = [run.metrics.get(f"{figure}.estimate", math.nan) ** sign for run in chain]
    known = list(itertools.takewhile(math.isfinite, ratios))
    if len(known) == len(chain):
        return Check.at_most(f"{figure} over {len(chain)} gates", math.prod(ratios), settings.slow)
    lacking = chain[len(known)].tags["candidate"]
    told = f"the load gate of {lacking} measured none"
    if not known:
        text = f"{figure}: {told}: run `{GATE}` again"
        return Check(name=f"{figure} over {len(chain)} gates", outcome=Outcome.INCONCLUSIVE, text=text)
    found = Check.at_most(f"{figure} over {len(known)} of {len(chain)} gates", math.prod(known), settings.slow)
    return found.model_copy(update={"text": f"{found.text}; {told}"})


def judge_latencies(now: Named, before: Named, settings: Cost) -> list[Check]:
    """Percentiles of what serves against those of what served before it."""
    counts = {name: _count(found) for name, found in (now, before)}
    short = [f"{count:,.0f} of {name}" for name, count in counts.items() if count < settings.requests]
    if short or len(counts) < 2:
        text = f"latency: {', '.join(short) or 'no'} requests, wanted {settings.requests} of each"
        return [Check(name="latency", outcome=Outcome.INCONCLUSIVE, text=text)]
    made = []
    for share in PERCENTILES:
        ours, theirs = (quantile(found, share) for _, found in (now, before))
        name = f"p{share * 100:g} of {now[0]} / of {before[0]}"
        made.append(Check.at_most(name, ours / theirs if theirs > 0 else math.nan, settings.sudden))
    return made


def _count(edges: Edges) -> float:
    return edges.get(math.inf, 0.0)


def quantile(edges: Edges, share: float) -> float:
    """A quantile of a histogram, on a line within its bucket as Prometheus' histogram_quantile; NaN without any.

    Args:
        edges: its counts.
        share: of them.
    """
    rank = share * _count(edges)
    low, below = 0.0, 0.0
    for edge, count in sorted(edges.items()):
        if count >= rank and count > below:
            return low if math.isinf(edge) else low + (edge - low) * (rank - below) / (count - below)
        low, below = edge, max(below, count)
    return math.nan


def judge_leak(name: str, times: Floats, values: Floats, settings: Cost) -> Check:
    """Whether a process' memory rises steadily, to `sudden` times of today's within `leak`.

    A life that is long enough is judged by itself. One that began a moment ago tells nothing yet; a leak that ends lives
    before they are long enough shows in the lives before it, all together.
    """
    warm_up = float(durations.seconds(settings.warm_up))
    *before, last = trend.lives(times, values)
    numbers = {"lived": trend.lived(last), "restarts": float(len(before))}
    if trend.lived(last) >= 2 * warm_up:
        return _leak(name, [trend.warmed(last, warm_up)], numbers, settings)
    if (enough := _together([*before, last], warm_up)) is not None:
        found = _leak(f"{name} in {len(enough)} lives", enough, numbers, settings)
        if found.outcome is Outcome.FAIL:
            return found.model_copy(update={"name": name})
    text = f"{name}: watched for {trend.lived(last) / 3_600:.1f} h, wanted {2 * warm_up / 3_600:g} h before a leak can be told"
    if before:
        ends = times[-1] - np.array([at[-1] for at, _ in before])
        recent = int((ends <= DAY_SECONDS).sum())
        text += f"; it fell and began anew {len(before)} times, {recent} of them in the last day"
        if recent >= OFTEN:
            text += ": is it killed for lack of memory?"
    return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text, numbers=numbers)


def _together(lives: Sequence[trend.Life], warm_up: float) -> list[trend.Life] | None:
    """The newest lives, as they were when warm; None if they say less than a single one has to.

    Parts say less than a whole of their length, so up to `PARTS` times as much is taken where it is there.
    """
    found: list[trend.Life] = []
    for life in reversed(lives):
        if sum(map(trend.lived, found)) >= PARTS * warm_up:
            break
        if (warm := trend.warmed(life, warm_up))[0].size:
            found.append(warm)
    return found if sum(map(trend.lived, found)) >= warm_up else None


def _leak(name: str, parts: Sequence[trend.Life], numbers: dict[str, float], settings: Cost) -> Check:
    """Of lives that are warm, newest first."""
    found = trend.leaking(parts)
    last, steady = float(np.median(parts[0][1][-5:])), found.certainty > CERTAIN
    ratio = 1 + max(0.0, found.slope) * durations.seconds(settings.leak) / last
    seen = found.slope * max(map(trend.lived, parts)) > SEEN * last
    outcome = Outcome.FAIL if steady and seen and ratio > settings.sudden else Outcome.PASS
    text = f"{name}: {last / 1e6:.0f} MB, {found.slope * 3_600 / 1e6:+.2f} MB an hour"
    if steady:
        text += f", in {settings.leak} {ratio:.3g} times; limit {settings.sudden:g}"
    numbers |= {"value": ratio if steady else 1.0, "limit": settings.sudden, "slope": found.slope}
    return Check(name=name, outcome=outcome, text=text, numbers=numbers)


def judge_size(now: tuple[str, Sequence[float]], before: tuple[str, Sequence[float]], settings: Cost) -> list[Check]:
    """Median memory of the version that serves against the version before it; nothing to say without one."""
    if not (now[1] and before[1]):
        return []
    ratio = float(np.median(now[1]) / np.median(before[1]))
    return [Check.at_most(f"memory of {now[0]} / of {before[0]}", ratio, settings.sudden)]


def _asked(name: str, ask: Callable[[], list[Check]]) -> list[Check]:
    """What one source says; one that cannot be asked is an error of its own."""
    try:
        return ask()
    except BentocastError as err:
        return [Check(name=name, outcome=Outcome.ERROR, text=f"{name}: {err.message}")]


def _runs(context: Context, tags: dict[str, str]) -> list[Run]:
    from training import tracking

    tracking.connect("the test was not run")
    return tracking.runs(context.params.promote.experiment, tags)


def _training(context: Context, settings: Cost) -> list[Check]:
    runs = [run for run in _runs(context, {}) if "cost.train.seconds" in run.metrics]
    return [
        check
        for figure in TRAINING
        for check in judge_figure(figure, [run.metrics.get(figure, math.nan) for run in runs], settings)
    ]


def _gates(context: Context, settings: Cost) -> list[Check]:
    served = context.served()
    return judge_gates(_runs(context, {"kind": "load gate"}), served.bento if served else None, settings)


def _latency(context: Context, settings: Cost) -> list[Check]:
    """Of the version that serves against the version before it, and of its last `window` against the time before that.

    The second finds a step that came while a version served, which its whole life would hide. Where there is a version
    before, it is left out while there are too few requests on either side: the version came a moment ago.
    """
    first, *others = _latencies(context, settings)
    enough = [pair for pair in others if all(_count(found) >= settings.requests for _, found in pair)]
    return [check for pair in (first, *enough) for check in judge_latencies(*pair, settings)]


def _latencies(context: Context, settings: Cost) -> list[tuple[Named, Named]]:
    """What is compared: the version that serves with the one before it, if there is one, and today with before."""
    window = durations.seconds(settings.window)
    late: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    early: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    seen = Spans()
    for labels, points in context.metrics.over(BUCKET, durations.seconds(settings.before), STEP):
        if not re.fullmatch(WORK, labels.get("endpoint", "")):
            continue
        version, edge = labels.get("service_version", ""), float(labels.get("le", "nan"))
        for (_, value), (at, following) in itertools.pairwise(points):
            part = late if at > context.now - window else early
            part[version][edge] += following - value if following >= value else following
        seen.add(version, points)
    serving, previous = seen.both(_serving(context))
    if serving is None:
        return [(("now", {}), ("before", {}))]
    made: list[tuple[Named, Named]] = []
    if previous is not None:
        made.append(((serving, _added(early, late, serving)), (previous, _added(early, late, previous))))
    made.append(((f"the last {settings.window}", late[serving]), ("the time before", early[serving])))
    return made


def _added(early: Mapping[str, Edges], late: Mapping[str, Edges], version: str) -> Edges:
    parts = [of.get(version, {}) for of in (early, late)]
    return {edge: sum(one.get(edge, 0.0) for one in parts) for edge in {*parts[0], *parts[1]}}


@dataclass
class Spans:
    """When each version was seen first, and last."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def add(self, version: str, points: Points) -> None:
        """One of its series was seen at these moments."""
        self.first[version] = min(points[0][0], self.first.get(version, math.inf))
        self.last[version] = max(points[-1][0], self.last.get(version, 0.0))

    def both(self, ours: str | None) -> tuple[str | None, str | None]:
        """The version that serves (the newest where nobody says), and the one before it, which is none that came later.

        One that was tried and taken back came later than what serves again.
        """
        if not self.first:
            return None, None
        serving = ours if ours in self.first else max(self.first, key=lambda one: (self.first[one], self.last[one]))
        earlier = [one for one, first in self.first.items() if first < self.first[serving]]
        return serving, max(earlier, key=lambda one: self.last[one], default=None)


def _serving(context: Context) -> str | None:
    """Version of the Bento that users get, which a candidate beside it is not."""
    served = context.served()
    return served.bento.rpartition(":")[2] if served else None


def _memory(context: Context, settings: Cost) -> list[Check]:
    before_seconds = durations.seconds(settings.before)
    step = max(MEMORY_STEP, before_seconds / MOST_POINTS)
    found = context.metrics.over(MEMORY, before_seconds, step)
    if not found:
        return [
            Check(name="memory", outcome=Outcome.INCONCLUSIVE, text=f"memory: no service tells {MEMORY}: is it up?")
        ]
    newest = max(points[-1][0] for _, points in found)
    checks: list[Check] = []
    sizes: defaultdict[str, list[float]] = defaultdict(list)
    seen, warm_up = Spans(), durations.seconds(settings.warm_up)
    for labels, points in found:
        table = np.array(points)
        version = labels.get("service_version", "")
        seen.add(version, points)
        sizes[version] += table[table[:, 0] >= table[0, 0] + warm_up, 1].tolist()
        if points[-1][0] >= newest - 2 * step:  # the others have ended
            name = f"memory of {labels.get('instance', 'the service')}"
            checks.append(judge_leak(name, table[:, 0], table[:, 1], settings))
    now, before = seen.both(_serving(context))
    return checks + judge_size((now or "", sizes[now or ""]), (before or "", sizes[before or ""]), settings)
