"""Our own page: the seven verdicts with their reasons, then what Grafana would draw; one file that needs nothing else.

What cannot be had (Prometheus gone, no record) is said where it would stand.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import durations, page
from data.errors import BentocastError
from data.verdict import Outcome, Verdict
from monitoring import drawing, suite
from monitoring.context import Context
from monitoring.drawing import Line
from monitoring.panels import PSI_LIMIT, Panel, panels
from monitoring.prometheus import Prometheus
from service.record.busiest import Busiest, busiest
from service.record.pairs import pairs

#: Points of a line.
POINTS = 240
#: Steps of one series that are drawn, at most.
MOST_STEPS = 24 * 14
_LABEL = re.compile(r"\{\{(\w+)\}\}")

STYLE = """<style>
:root { color-scheme: light dark; --ink: #222; --quiet: #6b7480; --back: #fff; --card: #fff; --rule: #dde1e6; --bad: #b3261e;
  --c0: #1f6feb; --c1: #c2410c; --c2: #1a7f37; --c3: #8250df; --c4: #0e7490; --c5: #be185d;
  --unsure: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --quiet: #98a2ae; --back: #14171b; --card: #1b1f25; --rule: #333a43;
  --bad: #ff8a80; --c0: #6ea8fe; --c1: #fb923c; --c2: #5fd38a; --c3: #c4a7ff; --c4: #4fd1e0; --c5: #f9a8d4;
  --unsure: #f3c969; } }
body { color: var(--ink); background: var(--back); max-width: 76rem; margin: 1.2rem auto; }
.quiet { color: var(--quiet); } h2 { margin: 2rem 0 .6rem; } h3 { font-size: .9rem; margin: 0 0 .3rem; }
th, td { border-bottom-color: var(--rule); vertical-align: top; } th { color: var(--quiet); font-weight: 500; }
tr.fail td:nth-child(2), tr.error td:nth-child(2), .firing { color: var(--bad); font-weight: 600; }
tr.pass td:nth-child(2) { color: var(--c2); }
tr.inconclusive td:nth-child(2), tr.unknown td:nth-child(2) { color: var(--unsure); }
tr.fail td:last-child, tr.error td:last-child, tr.inconclusive td:last-child, tr.pass td:last-child
  { color: inherit; font-weight: inherit; }
td { white-space: normal; } td:first-child, td:nth-child(2) { white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .8rem; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: .5rem; padding: .6rem .7rem .2rem; min-width: 0; }
svg { display: block; width: 100%; } .grid { stroke: var(--rule); } .tick { fill: var(--quiet); font-size: 11px; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .line.quiet { stroke: var(--rule); }
.limit { stroke: var(--bad); stroke-dasharray: 5 4; stroke-width: 1.3; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .78rem; margin: .3rem 0 .5rem; overflow-wrap: anywhere; }
.key { display: inline-block; width: .9rem; height: 0; border-top: 3px solid; vertical-align: middle; margin-right: .35rem; }
.key.limit { border-top-style: dashed; border-color: var(--bad); }
.line0 { stroke: var(--c0); border-color: var(--c0); } .line1 { stroke: var(--c1); border-color: var(--c1); }
.line2 { stroke: var(--c2); border-color: var(--c2); } .line3 { stroke: var(--c3); border-color: var(--c3); }
.line4 { stroke: var(--c4); border-color: var(--c4); } .line5 { stroke: var(--c5); border-color: var(--c5); }
.bar { display: grid; grid-template-columns: minmax(6rem, 10rem) 1fr 8.5rem; gap: .6rem; align-items: center; font-size: .8rem; }
.bars { columns: 2 28rem; column-gap: 2rem; padding: .7rem; } .bar { break-inside: avoid; padding: .1rem 0; }
.bar.few { color: var(--quiet); } .bar.few > i > i { background: var(--quiet); opacity: .45; }
.bar > span { overflow-wrap: anywhere; }
.bar > i { position: relative; height: .75rem; background: var(--rule); border-radius: .2rem; }
.bar > i > i {
  position: absolute; inset: 0 auto 0 0; background: var(--c0); border-radius: .2rem; }
.bar.over > i > i { background: var(--bad); }
.bar > i > u { position: absolute; inset: -2px auto -2px 50%; border-left: 2px dashed var(--ink); }
@media (max-width: 600px) { .tick { font-size: 16px; } .bar { grid-template-columns: 8rem 1fr 5rem; } }
</style>"""


@dataclass(frozen=True)
class Source:
    """Whom the page asks.

    Attributes:
        context: the configuration, the moment, the record.
        prometheus: for pictures.
        verdicts: of the seven tests; raises what can be told to people if they cannot be had.
        seconds: of time that is drawn.
    """

    context: Context
    prometheus: Prometheus
    verdicts: Callable[[], Mapping[str, Verdict | None]]
    seconds: float


def document(source: Source) -> str:
    """The whole page."""
    at = dt.datetime.fromtimestamp(source.context.now, dt.UTC)
    blocks = [STYLE, *_verdicts(source), *_guarded(_firing, source)]
    blocks.append(page.paragraph(
        f"{at:%Y-%m-%d %H:%M} UTC, the last {drawing.duration(source.seconds)}; from {source.prometheus.shown}", quiet=True
    ))  # fmt: skip
    shown = panels(source.context.params)
    for name, heading in (("service", "Service"), ("data", "Drift"), ("record", "Forecasts and what came"), ("model", "Model"),
                          ("rollout", "Versions")):  # fmt: skip
        blocks.append(f"<h2>{heading}</h2>")
        if name == "data":
            blocks += _guarded(_drift, source)
        elif name == "record":
            blocks += _guarded(_record, source)
            continue
        blocks += _cards(source, shown[name])
    return page.document("bentocast: monitoring", blocks)


def _guarded(make: Callable[[Source], str], source: Source) -> list[str]:
    """What is made, or why it cannot be."""
    try:
        return [made] if (made := make(source)) else []
    except BentocastError as err:
        return [page.paragraph(err.message, quiet=True)]


def _verdicts(source: Source) -> list[str]:
    try:
        found = source.verdicts()
    except BentocastError as err:
        return [page.heading("unknown", "The seven tests"), page.paragraph(err.message)]
    worst: str = suite.worst(one for one in found.values() if one)
    if not all(found.values()) and worst == Outcome.PASS:
        worst = "running"
    many = Counter(one.outcome for one in found.values() if one)
    said = ", ".join(f"{many[outcome]} {outcome}" for outcome in Outcome if many[outcome]) or "none has ended yet"
    rows = []
    for name, verdict in found.items():
        if verdict is None:
            rows.append(("unknown", (name, "running", "has not ended yet")))
            continue
        # The reason is what is not well; of what is well, everything.
        reasons = [one.text for one in verdict.checks if one.outcome is verdict.outcome] or [
            "there was nothing to check"
        ]
        rows.append((verdict.outcome, (name, verdict.outcome, "; ".join(reasons))))
    return [page.heading(worst, f"The seven tests: {said}"), page.table(["test", "outcome", "why"], rows)]


def _firing(source: Source) -> str:
    found = Counter(sample.labels["alertname"] for sample in source.prometheus.query('ALERTS{alertstate="firing"}'))
    if not found:
        return page.paragraph("No alert fires.", quiet=True)
    names = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(found.items()))
    return f'<p><span class="firing">Alerts:</span> {html.escape(names)}</p>'


def _cards(source: Source, shown: tuple[Panel, ...]) -> list[str]:
    try:
        made = [_card(source, panel) for panel in shown]
    except BentocastError as err:
        return [page.paragraph(err.message, quiet=True)]
    return ['<div class="cards">', *made, "</div>"]


def _card(source: Source, panel: Panel) -> str:
    now = source.context.now
    drawn = [
        Line(_name(legend, labels), points)
        for expression, legend in panel.queries
        for labels, points in source.prometheus.range(expression, source.seconds, source.seconds / POINTS)
    ]
    drawn.sort(key=lambda line: -line.points[-1][1])
    picture = drawing.lines(drawn, now - source.seconds, now, panel.unit, panel.limit)
    return f'<section class="card"><h3>{html.escape(panel.title)}</h3>{picture}</section>'


def _name(legend: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], ""), legend).strip()


def _drift(source: Source) -> str:
    """A bar a feature of each version: its PSI against the limit, and against chance."""
    psi = source.prometheus.query("feature:model_feature:psi1h")
    noise = {_key(one.labels): one.value for one in source.prometheus.query("feature:model_feature:psi_noise1h")}
    made = []
    for labels, value in sorted(psi, key=lambda one: -one.value):
        if not np.isfinite(value):
            continue
        chance = noise.get(_key(labels))
        kind, said = " few", "too few values"
        if chance is not None:
            drifted = value > max(PSI_LIMIT, chance)
            kind, said = (" over", "drifts") if drifted else ("", "by chance" if value <= chance else "")
        made.append(
            f'<div class="bar{kind}"><span>{html.escape(labels.get("feature", ""))}</span>'
            f'<i><i style="width:{min(100.0, 50 * value / PSI_LIMIT):.1f}%"></i><u></u></i><span>{value:.3f} {said}</span></div>'
        )
    if not made:
        return page.paragraph("No feature was counted within the last hour.", quiet=True)
    said = (
        f"PSI of the last hour against training, the most first; the dashes are the limit {PSI_LIMIT:g}. "
        "What 1 % of hours reach by chance alone is no drift."
    )
    return f'{page.paragraph(said, quiet=True)}<section class="card bars">{"".join(made)}</section><p></p>'


def _key(labels: Mapping[str, Any]) -> tuple[str, str]:
    return labels.get("service_version", ""), labels.get("feature", "")


def _record(source: Source) -> str:
    """Forecast beside what came, of the series with most forecasts; up to the newest actual value, however late those are."""
    if source.context.record is None:
        return page.paragraph("No record is known: give its URL with --record, or bring up a deployment.", quiet=True)
    seconds = min(
        MOST_STEPS * source.context.params.series.step_seconds,
        durations.seconds(source.context.params.monitoring.quality.window),
    )
    shown = busiest(source.context.record, int(source.context.wall), seconds)
    found = _came(source.context.record, shown) if shown else {}
    if not shown or not found:
        return page.paragraph("No forecast has its actual value yet: POST them to /v1/timeseries/actuals.", quiet=True)
    times = sorted(found)
    picture = drawing.lines(
        [
            Line("what came", [(at, found[at][2]) for at in times]),
            Line("forecast", [(at, found[at][1]) for at in times]),
        ],
        times[0], max(times[-1], times[0] + 1), "short",
    )  # fmt: skip
    return f'<section class="card"><h3>{html.escape(shown.series)}</h3>{picture}</section>'


def _came(record: str, shown: Busiest) -> dict[float, tuple[int, float, float]]:
    """By time: the step, the forecast and what came; of several forecasts the one that was made last."""
    begin, end = (np.datetime64(at, "s") for at in (shown.begin, shown.end + 1))
    kept: dict[float, tuple[int, float, float]] = {}
    for some in pairs(record, begin, end, series=shown.series):
        at_seconds = some.time.astype(np.int64)
        for place in np.flatnonzero(some.has_actual & np.isfinite(some.actual)):
            at = float(at_seconds[place])
            new = (int(some.step[place]), float(some.forecast[place]), float(some.actual[place]))
            kept[at] = min(new, kept.get(at, new))
    return kept
