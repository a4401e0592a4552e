"""Matched means and ratios against a plain loop, and the same bits at chosen rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data import matching, windows
from data.matching import RATIO_FLOOR, Lookback, Matcher
from data.panel import Panel
from tests.data.drawn import Floats, Integers, same_bits

MANY = settings(max_examples=60, deadline=None)


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    """Some series with a condition of three kinds of days."""
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=3))
    rows = sum(lengths)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return panel(lengths, generator.lognormal(size=rows), generator.integers(0, 3, rows).astype(np.float64))


def panel(lengths: list[int], target: Floats, kind: Floats) -> Panel:
    return Panel(
        ids=tuple(f"shop {place}" for place in range(len(lengths))),
        offsets=np.cumsum([0, *lengths]),
        starts=np.full(len(lengths), np.datetime64("2024-01-01T00:00:00", "s")),
        step_seconds=3_600,
        target=target,
        observed=np.ones(target.size, dtype=np.bool_),
        covariates={"kind": kind},
    )


@st.composite
def matchers(draw: st.DrawFn) -> Matcher:
    season = draw(st.integers(1, 5))
    return Matcher(
        match=draw(st.sampled_from(["kind", "hour", "is_weekend"])),
        season=season,
        lookback=season * draw(st.integers(1, 6)),
        counts=tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))),
        ratios=tuple(draw(st.lists(st.integers(1, 12), max_size=3))),
        ratio_count=draw(st.integers(1, 4)),
        horizon=draw(st.integers(1, season)),
    )


def at(matcher: Matcher, series: Panel, rows: Integers, counts: Sequence[int]) -> Floats:
    """Matched means of any rows, also of those near their series' start."""
    own = Lookback(matcher.season, matcher.lookback, np.arange(1), counts)
    return own.means(series.target, matcher.condition(series), rows, series.age[rows])[:, :, 0]


def ratios(matcher: Matcher, series: Panel, scale: Floats) -> Floats:
    return matcher.ratio_table(series, windows.over_panel(series.target, series.offsets, matcher.ratios), scale)


def condition(matcher: Matcher, series: Panel) -> list[float]:
    if matcher.match == "kind":
        return [float(kind) for kind in series.covariates["kind"]]
    moments = [time.item() for time in series.times]
    return [float(moment.hour if matcher.match == "hour" else moment.weekday() >= 5) for moment in moments]


def loop(matcher: Matcher, series: Panel, row: int, count: int) -> float:
    """The mean of the newest matches before a row, found one by one."""
    same = condition(matcher, series)
    first = series.offsets[:-1][series.series[row]]
    found: list[float] = []
    for turn in range(1, matcher.lookback // matcher.season + 1):
        back = row - turn * matcher.season
        if back >= first and same[back] == same[row] and len(found) < count:
            found.append(float(series.target[back]))
    return math.fsum(found) / len(found) if found else math.nan


@MANY
@given(panels(), matchers())
def test_matched_means_agree_with_a_loop(series: Panel, matcher: Matcher) -> None:
    rows = np.arange(series.target.size)
    wanted = [[loop(matcher, series, row, count) for row in range(rows.size)] for count in matcher.counts]
    np.testing.assert_allclose(at(matcher, series, rows, matcher.counts), np.array(wanted), rtol=1e-12)


@MANY
@given(panels(), matchers())
def test_matched_means_around_origins_are_those_of_each_row(series: Panel, matcher: Matcher) -> None:
    left = np.repeat(series.lengths, series.lengths) - 1 - series.age
    origins = np.flatnonzero((series.age >= matcher.context - 1) & (left >= matcher.horizon))[::-1]
    assume(origins.size > 0)
    kinds = matcher.condition(series)
    ahead, expected = matcher.around(series, kinds, origins)
    assert same_bits(ahead, matcher.ahead(series, kinds, origins))
    for step in range(matcher.horizon):
        assert same_bits(ahead[..., step], at(matcher, series, origins + step + 1, matcher.counts))
    assert same_bits(expected, matcher.expected(series, kinds, origins))
    for place in range(matcher.span):
        rows = origins + place + 1 - matcher.span
        assert same_bits(expected[:, place], at(matcher, series, rows, [matcher.ratio_count])[0])


@MANY
@given(panels(), matchers(), st.data())
def test_matched_means_look_at_no_value_less_than_a_season_old(
    series: Panel, matcher: Matcher, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, series.target.size - 1))
    recent = np.arange(series.target.size) > row - matcher.season
    hidden = replace(series, target=np.where(recent, np.nan, series.target))
    rows, counts = np.array([row]), matcher.counts
    assert same_bits(at(matcher, hidden, rows, counts), at(matcher, series, rows, counts))


@MANY
@given(panels(), matchers())
def test_ratios_agree_with_a_loop(series: Panel, matcher: Matcher) -> None:
    generator = np.random.default_rng(0)
    scale = generator.lognormal(size=series.target.size)
    expected = [loop(matcher, series, row, matcher.ratio_count) for row in range(series.target.size)]
    wanted = np.full((len(matcher.ratios), series.target.size), np.nan)
    for place, window in enumerate(matcher.ratios):
        for row in np.flatnonzero(series.age >= window - 1):
            inside = slice(row - window + 1, row + 1)
            above = math.fsum(series.target[inside]) / window + RATIO_FLOOR * scale[row]
            below = sum(expected[inside]) / window + RATIO_FLOOR * scale[row]
            wanted[place, row] = above / below
    np.testing.assert_allclose(ratios(matcher, series, scale), wanted, rtol=1e-11)


@MANY
@given(panels(), matchers())
def test_ratios_at_chosen_rows_have_the_bits_of_the_whole_panel(series: Panel, matcher: Matcher) -> None:
    scale = np.random.default_rng(0).lognormal(size=series.target.size)
    rows = np.flatnonzero(series.age >= matcher.context - 1)
    assume(rows.size > 0 and len(matcher.ratios) > 0)
    above = windows.over_panel(series.target, series.offsets, matcher.ratios)
    wanted = matcher.ratio_table(series, above, scale)[:, rows]
    expected = matcher.expected(series, matcher.condition(series), rows)
    assert same_bits(matcher.ratio_rows(expected, above[:, rows], scale[rows]), wanted)


def test_ratios_that_cross_a_block_have_the_same_bits() -> None:
    generator = np.random.default_rng(0)
    lengths = [matching.BLOCK_ROWS - 30, 20, 50]
    rows = sum(lengths)
    series = panel(lengths, generator.lognormal(size=rows), generator.integers(0, 2, rows).astype(np.float64))
    matcher = Matcher("kind", season=2, lookback=8, counts=(1,), ratios=(3,), ratio_count=2, horizon=1)
    scale = np.ones(rows)
    got = ratios(matcher, series, scale)
    for start, length in zip(series.offsets[:-1], lengths, strict=True):
        part = slice(start, start + length)
        alone = panel([length], series.target[part], series.covariates["kind"][part])
        assert same_bits(got[:, part], ratios(matcher, alone, scale[part]))


def test_matched_mean_of_a_holiday_looks_back_to_days_off() -> None:
    week = [10.0, 11, 12, 13, 14, 1, 2]
    working = [1.0, 1, 1, 1, 1, 0, 0]
    series = panel([15], np.array(week * 2 + [np.nan]), np.array(working * 2 + [0.0]))
    matcher = Matcher("kind", season=1, lookback=14, counts=(2, 3, 9), ratios=(), ratio_count=1, horizon=1)
    assert at(matcher, series, np.array([14]), matcher.counts)[:, 0].tolist() == [1.5, (2 + 1 + 2) / 3, 1.5]


def test_matched_mean_takes_what_the_lookback_has() -> None:
    series = panel([5], np.array([8.0, 4.0, 2.0, 1.0, 0.0]), np.zeros(5))
    matcher = Matcher("kind", season=1, lookback=3, counts=(10,), ratios=(), ratio_count=1, horizon=1)
    assert at(matcher, series, np.arange(5), matcher.counts)[0].tolist() == pytest.approx(
        [math.nan, 8, 6, 14 / 3, 7 / 3], nan_ok=True
    )


def test_ratio_of_a_quiet_hour_is_bounded() -> None:
    series = panel([4], np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(4))
    matcher = Matcher("kind", season=1, lookback=2, counts=(1,), ratios=(1,), ratio_count=1, horizon=1)
    scale: Floats = np.full(4, 5.0)
    assert ratios(matcher, series, scale)[0].tolist() == pytest.approx([math.nan, 1, 1, 11], nan_ok=True)


def test_matcher_needs_its_lookback_before_its_longest_window() -> None:
    matcher = Matcher("kind", season=2, lookback=8, counts=(1,), ratios=(3, 5), ratio_count=2, horizon=2)
    assert matcher.context == 13
    assert replace(matcher, ratios=()).context == 8
    rows: Integers = np.array([12])
    series = panel([13], np.arange(13.0), np.zeros(13))
    assert np.isfinite(matcher.expected(series, matcher.condition(series), rows)).all()


def test_matched_means_of_many_rows_have_the_bits_of_each_alone() -> None:
    generator = np.random.default_rng(0)
    series = panel([900], generator.normal(size=900) * 10.0 ** generator.uniform(-12, 12, 900), np.zeros(900))
    matcher = Matcher("kind", season=2, lookback=200, counts=(3, 100), ratios=(), ratio_count=1, horizon=1)
    rows = np.arange(200, 900)
    together = at(matcher, series, rows, matcher.counts)
    for place, row in enumerate(rows):
        assert same_bits(together[:, [place]], at(matcher, series, np.array([row]), matcher.counts))
