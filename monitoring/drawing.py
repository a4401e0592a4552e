"""Lines over time as SVG, small enough to read: colours come from the page, so that it may be light or dark."""

from __future__ import annotations

import datetime as dt
import html
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 10, 22
#: Lines that have a colour of their own (`.line0` and so on of the page's style).
COLOURS = 6

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: of it.
        points: (seconds since 1970, value), oldest first; what is no finite number is left out.
    """

    name: str
    points: Points


def lines(given: Sequence[Line], begin: float, end: float, unit: str, limit: float | None = None) -> str:
    """A picture of lines, and their names with the last values below it.

    Args:
        given: the lines; those beyond `COLOURS` are drawn quietly and not named.
        begin: left edge, seconds since 1970.
        end: right edge.
        unit: of values: `reqps`, `percentunit`, `s` or `short`.
        limit: a line at this value, or None.
    """
    known = [Line(one.name, [point for point in one.points if math.isfinite(point[1])]) for one in given]
    known = [one for one in known if one.points]
    if not known:
        return '<p class="quiet">Nothing was counted in this time.</p>'
    values = [value for one in known for _, value in one.points]
    low, high = min(0.0, *values), max([*values, limit if limit is not None else 0.0])
    step = _step((high - low) or 1.0)
    high = low + step * max(1, math.ceil((high - low) / step - 1e-9))

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - begin) / (end - begin)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>',
            f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{text(value, unit)}</text>',
        ]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = begin + share * (end - begin)
        parts.append(
            f'<text class="tick" x="{x(at):.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{_time(at, end - begin)}</text>'
        )
    for number, one in reversed(list(enumerate(known))):
        parts.append(f'<path class="{_kind(number)}" d="{_path(one.points, x, y)}"/>')
    if limit is not None:
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    parts.append("</svg>")
    return "".join(parts) + _legend(known, unit, limit)


def text(value: float, unit: str) -> str:
    """A number for people."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return duration(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time, in the unit that it is read in."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= 2 * size or (size == 1 and abs(seconds) >= 1):
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e3:.3g} ms" if seconds else "0"


def _path(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Broken where values are missing: where it is longer to the next than three times the usual."""
    gaps = sorted(after - before for (before, _), (after, _) in itertools.pairwise(points))
    usual = gaps[len(gaps) // 2] if gaps else 0.0
    made, last = [], -math.inf
    for at, value in points:
        made.append(f"{'M' if at - last > 3 * usual else 'L'}{x(at):.1f} {y(value):.1f}")
        last = at
    return "".join(made) + ("h.1" if len(points) == 1 else "")


def _kind(number: int) -> str:
    return f"line line{number}" if number < COLOURS else "line quiet"


def _legend(known: Sequence[Line], unit: str, limit: float | None) -> str:
    names = [
        f'<span><i class="key line{number}"></i>{html.escape(one.name) or "all"} <b>{text(one.points[-1][1], unit)}</b></span>'
        for number, one in enumerate(known[:COLOURS])
    ]
    if len(known) > COLOURS:
        names.append(f'<span class="quiet">and {len(known) - COLOURS} more</span>')
    if limit is not None:
        names.append(f'<span><i class="key limit"></i>limit {text(limit, unit)}</span>')
    return f'<p class="legend">{"".join(names)}</p>'


def _step(span: float) -> float:
    """A round distance of ticks: about four of them."""
    size = 10.0 ** math.floor(math.log10(span / 4))
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 4)


def _time(at: float, span: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M" if span <= 86_400 else "%d %b %H:%M")
