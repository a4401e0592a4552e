"""What clients do wrong in every protocol, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.histories import History
from tests.service.doors import Wanted

Floats = NDArray[np.float64]


def first(change: Callable[[History], History]) -> Callable[[Wanted], Wanted]:
    """A mistake in the second of two histories."""
    return lambda wanted: replace(wanted, histories=[wanted.histories[0], change(wanted.histories[1])])


def covariate(key: str, name: str, value: Callable[[Floats], Floats] | None) -> Callable[[Wanted], Wanted]:
    """A mistake in a covariate of all histories."""

    def change(history: History) -> History:
        given = dict(getattr(history, key))
        values = given.pop(name, np.zeros(12))
        made: dict[str, Any] = {key: given if value is None else given | {name: value(values)}}
        return replace(history, **made)

    return lambda wanted: replace(wanted, histories=[change(history) for history in wanted.histories])


def put(place: int, number: float) -> Callable[[Floats], Floats]:
    """Another number at a place."""

    def change(values: Floats) -> Floats:
        values = values.copy()
        values[place] = number
        return values

    return change


def shorter(history: History) -> History:
    """A history without its first value."""
    cut = {name: values[1:] for name, values in history.past_covariates.items()}
    return replace(history, values=history.values[1:], past_covariates=cut)


@dataclass(frozen=True)
class Mistake:
    """Something that every door refuses.

    Attributes:
        change: of a request without it.
        core: what every door's message says.
        status: of HTTP, and what stands for it in gRPC.
        not_of: words in the names of doors that cannot be told such a thing, or say it differently.
    """

    change: Callable[[Wanted], Wanted]
    core: str
    status: int = 400
    not_of: Sequence[str] = ()


MISTAKES: dict[str, Mistake] = {
    "horizon too long": Mistake(
        lambda wanted: replace(wanted, horizon=13), "got 13, wanted 1 to 12, the steps this model forecasts"
    ),
    "horizon negative": Mistake(
        lambda wanted: replace(wanted, horizon=-1), "got -1, wanted 1 to 12, the steps this model forecasts"
    ),
    "level not calibrated": Mistake(
        lambda wanted: replace(wanted, levels=(0.5, 0.99)), "got 0.99, wanted 0.05 to 0.95, which is calibrated"
    ),
    "too many levels": Mistake(lambda wanted: replace(wanted, levels=[0.5] * 100), "got 100, wanted at most 99"),
    "another model": Mistake(
        lambda wanted: replace(wanted, model="prophet"), "got 'prophet', wanted 'bentocast', the model served here", 404
    ),
    "the trees": Mistake(
        lambda wanted: replace(wanted, model="bentocast-rows"),
        "model: got 'bentocast-rows', wanted 'bentocast', the model served here",
        404,
        ["v1", "v2", "inference"],
    ),
    "no series": Mistake(
        lambda wanted: replace(wanted, histories=[]), "is empty, wanted one", 400, ["v2", "inference"]
    ),
    "no series in tensors": Mistake(
        lambda wanted: replace(wanted, histories=[]),
        "series: got shape [0, 1], wanted [series, values]",
        400,
        ["time series", "bentoml", "v1", "forecast"],
    ),
    "too many series": Mistake(
        lambda wanted: replace(wanted, histories=[*wanted.histories, wanted.histories[0]]), "wanted at most 2"
    ),
    "too short": Mistake(
        lambda wanted: replace(wanted, histories=[shorter(history) for history in wanted.histories]),
        "series 's01' has 101 values from its first value on, wanted 102 or more, which the model's longest window needs",
    ),
    "negative": Mistake(
        first(lambda history: replace(history, values=put(7, -0.5)(history.values))),
        "[1].series[7]: got -0.5, wanted 0 or more: this model's target is never negative",
    ),
    "too large": Mistake(
        first(lambda history: replace(history, values=put(7, 1.1e100)(history.values))),
        "[1].series[7]: got 1.1e+100, wanted numbers between -1e+100 and 1e+100, or null where a value is missing",
    ),
    "infinite": Mistake(
        first(lambda history: replace(history, values=put(7, -np.inf)(history.values))),
        "[1].series[7]: got -inf, wanted numbers between -1e+100 and 1e+100, or null where a value is missing",
        400,
        ["json", "time series", "v1", "bentoml"],
    ),
    "infinite in JSON": Mistake(
        first(lambda history: replace(history, values=put(7, -np.inf)(history.values))),
        "wanted a number, or null where a value is missing",
        400,
        ["binary", "inference", "grpc forecast", "grpc bentoml"],
    ),
    "nothing but gaps": Mistake(
        first(lambda history: replace(history, values=history.values * np.nan)),
        "series 's02' has 0 values from its first value on",
    ),
    "other frequency": Mistake(
        first(lambda history: replace(history, frequency="15min")),
        "[1].frequency: got '15min', wanted '1h', at which the model was trained: resample the series",
        400,
        ["v2", "inference"],
    ),
    "no frequency": Mistake(
        first(lambda history: replace(history, frequency="often")),
        "[1].frequency: got 'often', wanted a positive number and one of s, min, h, d, w",
        400,
        ["v2", "inference"],
    ),
    "too late": Mistake(
        first(lambda history: replace(history, start=np.datetime64("2199-12-31", "s"))),
        (
            "[1].start_timestamp: the series runs from 2199-12-31T00:00:00 to 2200-01-04T06:00:00, wanted between "
            "1900-01-01T00:00:00 and 2200-01-01T00:00:00"
        ),
    ),
    "no time": Mistake(
        first(lambda history: replace(history, start="tomorrow")),  # type: ignore[arg-type] # as text it is a mistake
        "got 'tomorrow', wanted ISO 8601 such as 2024-05-01T13:00",
    ),
    "a fraction of a second": Mistake(
        first(lambda history: replace(history, start="2024-05-01T13:00:00.5")),  # type: ignore[arg-type] # likewise
        "got '2024-05-01T13:00:00.5', wanted whole seconds such as 2024-05-01T13:00",
    ),
    "name too long": Mistake(first(lambda history: replace(history, name="n" * 257)), "at most 256"),
    "covariate missing": Mistake(
        covariate("past_covariates", "rain", None),
        "[0].past_covariates: 'rain' is missing, wanted rain, workingday, each with 102 numbers",
    ),
    "covariate ahead missing": Mistake(
        covariate("future_covariates", "workingday", None),
        "[0].future_covariates: 'workingday' is missing, wanted temperature, workingday, each with 12 numbers",
    ),
    "covariate unknown": Mistake(
        covariate("future_covariates", "moon", lambda values: values),
        "[0].future_covariates: the model knows no covariate 'moon', wanted temperature, workingday",
    ),
    "covariate short": Mistake(
        covariate("past_covariates", "rain", lambda values: values[1:]),
        "[0].past_covariates.rain: got 101 numbers, wanted 102 (one for each of the values of series)",
    ),
    "covariate ahead short": Mistake(
        covariate("future_covariates", "temperature", lambda values: values[1:]),
        "[0].future_covariates.temperature: got 11 numbers, wanted 12 (one for each of the steps ahead)",
    ),
    "covariate without a value": Mistake(
        covariate("past_covariates", "rain", lambda values: values * np.nan),
        "[0].past_covariates.rain: all 102 values are missing, wanted one or more to fill the others from",
    ),
    "covariate ahead with a gap": Mistake(
        covariate("future_covariates", "temperature", put(3, np.nan)),
        "[0].future_covariates.temperature: a value is missing or out of range, wanted numbers",
    ),
}
