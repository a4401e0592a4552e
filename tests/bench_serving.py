"""The serving part of `make bench`: the model's input rows of one history and of many, against pandas' for one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from data import durations
from data.declaration import Declaration
from data.features import Design
from data.matching import RATIO_FLOOR
from data.panel import Panel
from tests.data import project
from tests.data.test_calendar import PANDAS

MANY = 256
FLOOR = 1e-3


def peer(frame: pd.DataFrame, declaration: Declaration) -> pd.DataFrame:
    """The input rows of one series as one would write them in pandas.

    Args:
        frame: hourly: the target (`y`) and the covariates, with `horizon` rows past the origin, where `y` is NaN.
        declaration: with matched means whose season is a day.
    """
    features, matched = declaration.features, declaration.features.matched_means
    assert matched is not None

    def steps(duration: str) -> int:
        return durations.steps(duration, declaration.series.frequency)

    keys = [np.asarray(pd.DatetimeIndex(frame.index).hour), frame[matched.match].to_numpy()]
    now = len(frame) - features.horizon
    history, ahead, reach = slice(now), slice(now, None), slice(now - steps(matched.lookback), now)
    y = frame["y"].iloc[history]
    scale = max(y.abs().rolling(steps(features.scale)).mean().iloc[-1], FLOOR)
    rows: dict[str, object] = {"step": np.arange(1, features.horizon + 1)}
    rows |= {f"mean_{window}": y.rolling(steps(window)).mean().iloc[-1] / scale for window in features.moving_averages}
    rows |= {f"spread_{window}": y.rolling(steps(window)).std().iloc[-1] / scale for window in features.rolling_spread}
    rows |= {f"lag_{lag}": y.iloc[-lag] / scale for lag in features.lags}
    rows |= {f"seasonal_lag_{lag}": frame["y"].shift(steps(lag)).iloc[ahead] / scale for lag in features.seasonal_lags}

    earlier = y.groupby([key[history] for key in keys]).shift().groupby([key[history] for key in keys])
    expected = earlier.rolling(matched.ratio_count, min_periods=1).mean().droplevel([0, 1]).sort_index()
    for window in matched.ratios:
        above, below = (values.rolling(steps(window)).mean().iloc[-1] for values in (y, expected))
        rows[f"ratio_{window}"] = (above + RATIO_FLOOR * scale) / (below + RATIO_FLOOR * scale)
    newest = frame["y"].iloc[reach].groupby([key[reach] for key in keys])
    wanted = pd.MultiIndex.from_arrays([key[ahead] for key in keys])
    for count in matched.counts:
        means = newest.rolling(count, min_periods=1).mean().groupby(level=[0, 1]).last()
        rows[f"matched_mean_{count}"] = means.reindex(wanted).to_numpy() / scale
    rows |= {name: PANDAS[name](pd.DatetimeIndex(frame.index[ahead])) for name in features.calendar}
    rows |= {f"future_{name}": frame[name].iloc[ahead] for name in declaration.series.covariates.future}
    return pd.DataFrame(rows, index=frame.index[ahead])


def histories(design: Design, count: int) -> tuple[Panel, pd.DataFrame]:
    """So many histories as requests bring them, and the first of them as a frame."""
    width, generator = design.context + design.horizon, np.random.default_rng(0)
    start = np.datetime64("2024-01-01T05", "s")
    index = pd.date_range(start, periods=width, freq="h")
    target = generator.poisson(20.0, (count, width)).astype(np.float64)
    target[:, design.context :] = np.nan
    working = np.tile((index.day_of_week < 5).astype(np.float64), (count, 1))
    covariates = {name: generator.normal(size=(count, width)) for name in design.future} | {"workingday": working}
    panel = Panel(
        ids=tuple(map(str, range(count))),
        offsets=np.arange(count + 1) * width,
        starts=np.full(count, start),
        step_seconds=3_600,
        target=target.ravel(),
        observed=np.ones(count * width, dtype=np.bool_),
        covariates={name: values.ravel() for name, values in covariates.items()},
    )
    return panel, pd.DataFrame({"y": target[0]} | {name: values[0] for name, values in covariates.items()}, index=index)


def shortest(run: Callable[[], object], times: int) -> float:
    """Seconds of the shortest of some runs, as the processor counts them: waiting for others is left out."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def serving(rounds: int) -> None:
    """Microseconds a history, as ratios against pandas in the same round; the numbers are the same."""
    params = project.changed()
    design = Design(Declaration(series=params.series, features=params.features), FLOOR)

    def ours(count: int) -> Callable[[], np.ndarray]:
        panel, _ = histories(design, count)
        asked = vars(panel)
        # a panel of its own for every request: nothing is carried over
        return lambda: design.rows(Panel(**asked), panel.offsets[1:] - 1 - design.horizon).inputs

    frame = histories(design, 1)[1]
    np.ones(2_000_000)  # as the service frees its model's file: glibc keeps memory of that size at hand from then on
    wanted = peer(frame, design.declaration)[design.names].to_numpy(np.float32)
    np.testing.assert_allclose(ours(1)(), wanted, rtol=1e-5)
    contenders: dict[str, tuple[Callable[[], object], int, int]] = {
        "pandas, one history": (lambda: peer(frame, design.declaration), 20, 1),
        "ours, one history": (ours(1), 1_000, 1),
        f"ours, {MANY} histories": (ours(MANY), 40, MANY),
    }
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (run, times, count) in contenders.items():
            runs[name].append(shortest(run, times) / count)
    base = next(iter(runs.values()))
    print(f"\nserving: {len(design.columns)} columns, {design.context} values back, {design.horizon} steps ahead\n")
    print("| input rows of | microseconds a history (median) | times faster than pandas (median) |\n|---|---|---|")
    for name, seconds in runs.items():
        ratio = statistics.median(other / own for other, own in zip(base, seconds, strict=True))
        print(f"| {name} | {statistics.median(seconds) * 1e6:,.1f} | {ratio:,.0f}x |", flush=True)
