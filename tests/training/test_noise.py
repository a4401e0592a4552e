"""How far stretches of training are from the whole, against a loop over them."""

from __future__ import annotations

import numpy as np
import pytest

from data.drift import CHANCE, STRETCHES, psi
from tests.training import tiny
from training import noise, train

LENGTHS = (24 * 40,) * 12


def test_largest_of_all_stretches_and_times_of_the_day() -> None:
    config, panel = tiny.params(), tiny.panel(LENGTHS)
    design = tiny.design(config, panel)
    known = design.origin_table(panel)
    usable = design.origins(panel)
    rows = design.rows(panel, usable, known[:, usable])
    reference = train._reference(design, rows.inputs, np.ones(8))

    found = noise.noise(design, panel, known, reference, lambda inputs: inputs[:, 1].astype(np.float64))

    assert set(found) == set(STRETCHES)
    assert set(found["1d"]) == {*design.names, "forecast"} - {"step", *config.features.calendar}, "asked for, not seen"
    for name, once in (("mean_6h", True), ("future_rain", False)):
        place, bins = design.names.index(name), reference.features[name]
        steps = rows.inputs.reshape(usable.size, design.horizon, -1)[:, : 1 if once else None, place]
        codes = np.searchsorted(bins.edges, steps.astype(np.float64), side="left")
        hours = panel.times[usable].astype(np.int64) // 3_600
        hour = hours % 24
        day = hours // 24 - hours[hour % 6 == 0].min() // 24
        largest = 0.0
        for length in (28, 7, 1):
            for begin in range(day[hour % 6 == 0].max() + 2 - length):
                for wanted in ([0], [6], [12], [18], [0, 6, 12, 18]):
                    some = codes[(day >= begin) & (day < begin + length) & np.isin(hour, wanted)].ravel()
                    counts = np.bincount(some, minlength=len(bins.shares)).astype(float)
                    if some.size:
                        largest = max(largest, float(psi(counts, np.array(bins.shares))) - CHANCE / some.size)
            assert found[f"{length}d"][name] == pytest.approx(largest, rel=1e-3), (name, length)
    assert found["1d"]["mean_6h"] > 0


def test_series_are_sampled_evenly_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    config, panel = tiny.params(), tiny.panel(LENGTHS)
    design = tiny.design(config, panel)
    monkeypatch.setattr(noise, "MOST_ORIGINS", 500)
    some = noise._origins(design, panel)
    assert 0 < some.size <= 500
    assert set(panel.series[some].tolist()) <= {0, 4, 8}


def test_daily_series_have_one_time_of_the_day() -> None:
    config = tiny.params(
        {
            "series": {"frequency": "1d"},
            "features": {
                "scale": "7d",
                "seasonal_lags": ["7d"],
                "moving_averages": ["7d"],
                "rolling_spread": ["7d"],
                "calendar": ["day_of_week"],
            },
        }
    )
    hourly = tiny.panel((300, 300))
    panel = type(hourly)(**{**hourly.__dict__, "step_seconds": 86_400})
    design = tiny.design(config, panel)
    assert np.array_equal(noise._origins(design, panel), design.origins(panel))
