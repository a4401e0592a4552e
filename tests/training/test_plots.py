"""Pictures that can be drawn of any backtest."""

from __future__ import annotations

import dataclasses
import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from data.panel import Panel
from tests.training import tiny
from training import metrics, plots
from training.forecasts import Bounds, Forecasts

PARAMS = tiny.params()
NAMES = ["forecast.png", "error_by_step.png", "coverage_by_step.png", "importance.png"]


def bounds(made: Forecasts, levels: tuple[float, ...] = (0.8, 0.95)) -> Bounds:
    """Intervals as `rolling_bounds` leaves them: not known in the first two folds."""
    wide = np.where(made.fold < 2, np.nan, 10.0)[:, None]
    return {level: (made.point - level * wide, made.point + level * wide) for level in levels}


def drawn(panel: Panel, made: Forecasts, ends: Bounds, importance: dict[str, float]) -> dict[str, Figure]:
    steps = metrics.by_step(made, ends)
    return dict(plots.draw(panel, tiny.design(PARAMS, panel), made, ends, steps, importance))


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=40)
    return out.getvalue()


def legend(figure: Figure) -> list[str]:
    found = figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def renders(figures: dict[str, Figure]) -> bool:
    return list(figures) == NAMES and all(png(figure).startswith(b"\x89PNG") for figure in figures.values())


@pytest.mark.parametrize(("lengths", "shown"), [((340,), 1), ((340, 340), 2), ((340, 340, 340, 340), 3)])
def test_draw_renders_for_few_and_many_series(lengths: tuple[int, ...], shown: int) -> None:
    panel = tiny.panel(lengths)
    made = tiny.backtested(PARAMS, panel)
    figures = drawn(panel, made, bounds(made), {"step": 0.2, "lag_1": 0.1, "rain": -0.01})
    assert renders(figures)
    axes = figures["forecast.png"].axes
    assert len(axes) == shown
    volume = [panel.target[panel.series == place][-72:].sum() for place in range(len(lengths))]
    busiest = sorted(range(len(lengths)), key=lambda place: -volume[place])[:shown]
    assert [part.get_title(loc="left") for part in axes] == [f"series {panel.ids[place]}" for place in busiest]
    assert legend(figures["forecast.png"]) == ["95% interval", "80% interval", "seasonal naive", "forecast", "actual"]


def test_draw_shows_day_ahead_forecasts_end_to_end() -> None:
    panel = tiny.panel((400,))
    made = tiny.backtested(PARAMS, panel)
    figures = drawn(panel, made, bounds(made), {"step": 0.2})
    lines = {line.get_label(): line for line in figures["forecast.png"].axes[0].get_lines()}
    times = np.asarray(lines["actual"].get_xdata(), "datetime64[s]")
    assert np.unique(np.diff(times)).tolist() == [np.timedelta64(3_600, "s")]
    at = np.searchsorted(panel.times, times)
    assert at[-1] == made.origins[-1] + 6
    assert np.array_equal(np.asarray(lines["actual"].get_ydata(), float), panel.target[at])
    assert np.array_equal(np.asarray(lines["seasonal naive"].get_ydata(), float), panel.target[at - 24])
    assert np.array_equal(np.asarray(lines["forecast"].get_ydata(), float)[-6:], made.point[-1])


def test_draw_renders_without_any_interval() -> None:
    panel = tiny.panel((340,))
    made = tiny.backtested(PARAMS, panel)
    nothing = np.full_like(made.point, np.nan)
    assert renders(drawn(panel, made, {0.8: (nothing, nothing)}, {"step": 0.2}))
    assert renders(drawn(panel, made, {}, {"step": 0.2}))


def test_draw_names_levels_with_their_digits() -> None:
    panel = tiny.panel((340,))
    made = tiny.backtested(PARAMS, panel)
    figures = drawn(panel, made, bounds(made, (0.995,)), {"step": 0.2})
    assert legend(figures["coverage_by_step.png"]) == ["99.5% interval"]


def test_draw_renders_where_actuals_are_missing() -> None:
    panel = tiny.panel((340,))
    hidden = np.random.default_rng(0).random(340) < 0.3
    panel = dataclasses.replace(panel, observed=~hidden)
    made = tiny.backtested(PARAMS, panel)
    assert np.isnan(made.actual).any()
    assert renders(drawn(panel, made, bounds(made), {"step": 0.2}))


def test_draw_leaves_out_a_series_that_ended_before_the_last_fold() -> None:
    panel = tiny.panel((400, 300))
    made = tiny.backtested(PARAMS, panel)
    last = made.fold == 3
    assert set(panel.series[made.origins[last]]) == {0}
    figures = drawn(panel, made, bounds(made), {"step": 0.2})
    assert renders(figures)
    assert [part.get_title(loc="left") for part in figures["forecast.png"].axes] == ["series shop 0"]


def test_draw_takes_names_as_they_are() -> None:
    """A dollar sign opens mathematics in matplotlib, which most names are not."""
    panel = dataclasses.replace(tiny.panel((340,)), ids=(r"$\nothing$ 50% a_b^{",))
    made = tiny.backtested(PARAMS, panel)
    figures = drawn(panel, made, bounds(made), {r"future_$\price$": 0.2, "future_a_b^{": 0.1})
    assert renders(figures)


def test_draw_renders_where_no_importance_is_known() -> None:
    panel = tiny.panel((340,))
    made = tiny.backtested(PARAMS, panel)
    assert renders(drawn(panel, made, bounds(made), {"step": np.nan, "lag_1": np.nan}))


def test_draw_needs_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    panel = tiny.panel((340,))
    made = tiny.backtested(PARAMS, panel)
    drawn(panel, made, bounds(made), {"step": 0.2})
    assert mpl.get_backend().lower() == "agg"
