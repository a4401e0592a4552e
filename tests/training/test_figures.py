"""The table of figures, on an invented hour.csv of some weeks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training import tiny
from training import figures
from training.figures import Figures

pytestmark = pytest.mark.filterwarnings(tiny.BOOLEANS)

PARAMS = tiny.params({"features": {"calendar": ["hour"]}})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours with a daily rhythm that the weather pushes up and down; some hours without rides have no row."""
    draw = np.random.default_rng(0)
    hours = pd.date_range("2011-01-01", periods=1_100, freq="h")
    temp = draw.random(hours.size)
    rides = 100 * (1 + 0.5 * np.sin(2 * np.pi * hours.hour / 24)) * (0.3 + temp)
    frame = pd.DataFrame(
        {
            "dteday": hours.strftime("%Y-%m-%d"),
            "hr": hours.hour,
            "holiday": 0,
            "workingday": (hours.day_of_week < 5).astype(int),
            "weathersit": 1,
            "temp": temp,
            "atemp": draw.random(hours.size),
            "hum": draw.random(hours.size),
            "windspeed": draw.random(hours.size),
            "cnt": np.maximum(1, np.round(np.asarray(rides) + 3 * draw.standard_normal(hours.size))).astype(int),
        }
    )
    path = tmp_path_factory.mktemp("bikes") / "hour.csv"
    frame[draw.random(len(frame)) > 0.02].to_csv(path, index=False)
    return path


def test_measure_scores_the_last_fifth_with_and_without_weather(table: Path, tmp_path: Path) -> None:
    found = {
        variant: figures.measure(table, PARAMS, tmp_path, variant, covariates)
        for variant, covariates in figures.VARIANTS.items()
    }
    weather, calendar = found["weather known ahead"], found["calendar only"]
    assert weather.mae < 0.6 * calendar.mae
    assert calendar.mae < calendar.naive_mae
    assert weather.naive_mae == calendar.naive_mae
    for row in found.values():
        assert row.parity <= 1e-5
        assert row.parity_rows > 1_000
        assert row.seconds > 0
        assert 0.6 < row.coverage[0.8] < row.coverage[0.95] <= 1.0


def test_measure_does_not_look_at_the_last_fifth(table: Path, tmp_path: Path) -> None:
    """The model that is written is the same when the rides that it is scored on are others."""
    raw = pd.read_csv(table)
    last = np.arange(len(raw)) > 0.82 * len(raw)
    raw.loc[last, "cnt"] = raw.loc[last, "cnt"].to_numpy()[::-1]
    other = tmp_path / "other.csv"
    raw.to_csv(other, index=False)
    made = []
    for name, path in (("one", table), ("other", other)):
        figures.measure(path, PARAMS, tmp_path / name, "variant", figures.CALENDAR)
        made.append([(tmp_path / name / "variant" / part).read_bytes() for part in ("model.onnx", "forecaster.json")])
    assert made[0] == made[1]


def test_render_makes_a_table() -> None:
    row = Figures("weather", 20.04, 60.0, {0.8: 0.801, 0.95: 0.9512}, 5.9e-08, 12_345, 61.4)
    assert figures.render([row, row]).splitlines() == [
        "| variant | MAE | seasonal naive | in 80 % | in 95 % | ONNX parity (rows) | seconds |",
        "|---|---|---|---|---|---|---|",
        "| weather | 20.04 | 60.00 | 80.1% | 95.1% | 5.9e-08 (12345) | 61 |",
        "| weather | 20.04 | 60.00 | 80.1% | 95.1% | 5.9e-08 (12345) | 61 |",
    ]
