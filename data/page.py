"""The frame of every report: one HTML file that needs nothing else, readable on a phone and on paper."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from string import Template

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

INK, QUIET, STRONG, GOOD, BAD, UNSURE = "#222222", "#8a939d", "#1f6feb", "#1a7f37", "#b3261e", "#9a6700"

#: A logarithmic axis over more than this has its ticks at 1, 2 and 5 of each decade.
WIDE = 8.0

_FRAME = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.badge { color: #fff; padding: .1rem .6rem; border-radius: .3rem; background: #666; }
.badge.pass { background: #1a7f37; } .badge.fail, .badge.error { background: #b3261e; }
.badge.inconclusive { background: #9a6700; }
.wide, pre { overflow-x: auto; } pre { font-size: .8rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #ddd; white-space: nowrap; }
tr.fail td:last-child, tr.error td:last-child { color: #b3261e; font-weight: 600; }
tr.inconclusive td:last-child { color: #9a6700; font-weight: 600; } tr.pass td:last-child { color: #1a7f37; }
svg { max-width: 100%; height: auto; } .quiet { color: #555; }
</style></head><body>
$body
</body></html>
""")


def document(title: str, blocks: Iterable[str]) -> str:
    """A whole page of blocks of HTML."""
    return _FRAME.substitute(title=html.escape(title), body="\n".join(blocks))


def heading(badge: str, text: str) -> str:
    """The first line, with an outcome before it."""
    return f'<h1><span class="badge {html.escape(badge)}">{html.escape(badge.upper())}</span> {html.escape(text)}</h1>'


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A paragraph."""
    kind = ' class="quiet"' if quiet else ""
    return f"<p{kind}>{html.escape(text)}</p>"


def listing(text: str) -> str:
    """Lines as they are, such as the end of a log."""
    return f"<pre>{html.escape(text)}</pre>"


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table; each row comes with its class, such as an outcome."""
    lines = [
        f'<tr class="{html.escape(kind)}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'
        for kind, cells in rows
    ]
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def picture(name: str, figure: Figure) -> str:
    """A picture under its name; the same text for the same numbers."""
    with mpl.rc_context({"svg.hashsalt": "bentocast", "svg.fonttype": "none"}):
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return f"<h2>{html.escape(name)}</h2>\n{text[text.index('<svg') :]}"


def ticks(axis: Axis) -> None:
    """A few round numbers along a logarithmic axis on which all is drawn, however short it is."""
    low, high = axis.get_view_interval()
    wide = high > WIDE * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_locator(NullLocator())


def plain(axes: Axes) -> None:
    """No frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
