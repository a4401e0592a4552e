"""What the backtest said of a model, as its card keeps it: how large errors are, and how they vary from day to day."""

from __future__ import annotations

from data.section import Section


class Expected(Section):
    """The expected absolute error of a forecast: by series, level and step.

    Attributes:
        sizes: usual size of each series' forecasts, in the target's unit.
        levels: of forecasts, in units of their series' size, rising.
        errors: by series, at each level, in units of its size.
        usual: the same for a series that is not among them.
        steps: what a step's error is to all steps'; 1 on average.
    """

    sizes: dict[str, float]
    levels: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    usual: tuple[float, ...]
    steps: tuple[float, ...]


class Daily(Section):
    """A figure over the days of the backtest.

    Attributes:
        mean: of it.
        deviation: its standard deviation.
        rows: errors that a day of it is made of, on average; 0 where that says nothing.
    """

    mean: float
    deviation: float
    rows: float = 0.0


class Accuracy(Section):
    """What the backtest said of a model.

    Attributes:
        expected: sizes of errors.
        mae: by slice, in the target's unit.
        shape: by slice, of the logarithm of a day's errors after each series' level of the day is taken out.
        error: of the logarithm of a day's errors.
        bias: of a day's mean of forecast - actual in units of the expected error.
        days: that it was measured on.
    """

    expected: Expected
    mae: dict[str, float]
    shape: dict[str, Daily]
    error: Daily
    bias: Daily
    days: int
