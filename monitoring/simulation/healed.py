"""Whether the loop healed a fault: forecasts after it, against those of a model that a person trained for the new regime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from data import gaps
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.panel import Panel
from monitoring.simulation.city import City
from monitoring.simulation.faults import Fault
from service.record.join import Pairs
from service.record.pairs import pairs
from training import estimator

if TYPE_CHECKING:
    from data.params import Params
    from monitoring.simulation.play import Player

#: Days after a change of regime at which it has to be healed, and days over which forecasts are compared then.
HEALED_DAYS, COMPARED_DAYS = 30, 14
#: What is served may have an error that is so many times that of the model made by hand of the days that the loop had.
WORSE = 1.05


class Healed(NamedTuple):
    """What was seen after a fault that the loop heals."""

    rows: list[tuple[str, str]]
    good: bool


def watch(player: Player, params: Params, change: int, fault: Fault, say: Callable[[str], None]) -> Healed:
    """Play on, and compare.

    Args:
        player: after the fault was found.
        params: the configuration.
        change: place of the hour at which the fault began.
        fault: which.
        say: tells a person what goes on.
    """
    rows, good = [], True
    if fault.regime:
        begin = change + 24 * HEALED_DAYS
        player.play(begin)
        trained = player.trained
        say(f"comparing with a model made by hand, for {COMPARED_DAYS} days")
        end = begin + 24 * COMPARED_DAYS
        player.play(end)
        errors = compare(player, params, change, (trained, begin, end))
        good = errors.served <= WORSE * errors.hand
        had = (trained - change) / 24
        same = (
            f"MAE of {COMPARED_DAYS} days, {HEALED_DAYS} after the change: served, and of a model made by hand from the same "
            f"{had:.0f} days since the change that the loop had when it trained last (judged: at most {WORSE:g}x)"
        )
        more = (
            f"the same, of a model made by hand from all {HEALED_DAYS} days since the change, {HEALED_DAYS - had:.0f} more than "
            "the loop had (told, not judged)"
        )
        rows += [
            (same, f"{errors.served:.3f}, {errors.hand:.3f}: {errors.served / errors.hand:.3f}x"),
            (more, f"{errors.later:.3f}: {errors.served / errors.later:.3f}x"),
            ("the same, of the model before the change", f"{errors.before:.3f}"),
        ]
    states = [f"day {player.days(one.began):.0f} {one.state}" for one in player.told.retrainings]
    rows.append(("the loop", ", ".join(states) or "did nothing"))
    return Healed(rows, good and any(one.state == "healed" for one in player.told.retrainings))


class Errors(NamedTuple):
    """Mean absolute errors of the same forecasts, each counted once however often it was asked for.

    Attributes:
        served: of what was served.
        hand: of a model made by hand when the loop trained last, from the days since the change: what the loop is held to.
        later: of one made by hand when the comparison begins, from all days since the change; it has seen more than the loop
            had, but none of the days that are compared.
        before: of one that knows nothing of the change.
    """

    served: float
    hand: float
    later: float
    before: float


def compare(player: Player, params: Params, change: int, times: tuple[int, int, int]) -> Errors:
    """Errors of what was served, and of models that a person would have made.

    A person who knows of the change trains on what came since then.

    Args:
        player: that has played to the end.
        params: the configuration.
        change: place of the hour of the change.
        times: places of hours: what the loop trained on ended, and begin and end of the forecasts that are compared.
    """
    city, (trained, begin, end) = player.city, times
    panel = _panel(city, params, end)
    design = Design(Declaration(series=params.series, features=params.features), scale_floor(panel))
    hours = panel.target.size // len(city.names)
    spans = ((change, trained), (change, begin), (0, change))
    models = [_fit(design, panel, params, city, span) for span in spans]
    seen = np.concatenate([_errors(part, city) for part in pairs(player.record, city.hours[begin], city.hours[end])])
    # The users that a canary is judged by ask for the same forecast thousands of times.
    (keys, place), error = np.unique(seen[:, :3], axis=0, return_inverse=True), seen[:, 3]
    served = np.bincount(place.ravel(), error) / np.bincount(place.ravel())
    station, hour, step = keys.astype(np.int64).T
    origins, row = np.unique(station * hours + hour, return_inverse=True)
    rows = design.rows(panel, origins)
    actual = estimator.actuals(panel, origins, design.horizon)[row, step - 1]
    made = [
        np.maximum(model.predict(rows.inputs).reshape(origins.size, -1) * rows.scale[:, None], 0.0)[row, step - 1]
        for model in models
    ]
    errors = np.column_stack([served, *(np.abs(forecast - actual) for forecast in made)])
    return Errors(*np.mean(errors[~np.isnan(errors).any(axis=1)], axis=0).tolist())


def _errors(part: Pairs, city: City) -> np.ndarray:
    """Columns: place of the station, place of the origin's hour, step, absolute error."""
    station = np.array([city.names.index(name) for name in part.series.tolist()])
    origin = (part.origin - city.hours[0].astype("datetime64[s]")) // np.timedelta64(3_600, "s")
    return np.column_stack([station, origin.astype(np.int64), part.step, np.abs(part.forecast - part.actual)])


def _fit(
    design: Design, panel: Panel, params: Params, city: City, span: tuple[int, int]
) -> HistGradientBoostingRegressor:
    """A model of the same kind, fitted on targets of some hours."""
    hour = np.arange(panel.target.size) % (panel.target.size // len(city.names))
    among = (hour >= span[0]) & (hour + design.horizon < span[1])
    origins = estimator.training_origins(design, panel, params.train.max_rows, among=among)
    rows = design.rows(panel, origins)
    target = (estimator.actuals(panel, origins, design.horizon) / rows.scale[:, None]).ravel()
    return estimator.fit(rows.inputs, target, params.train.point, params.train.seed)


def _panel(city: City, params: Params, end: int) -> Panel:
    """All stations from the first hour to one day after the last."""
    end += 24
    target = city.target[:, :end]
    return Panel(
        ids=city.names,
        offsets=np.arange(len(city.names) + 1) * end,
        starts=np.full(len(city.names), city.hours[0].astype("datetime64[s]")),
        step_seconds=params.series.step_seconds,
        target=np.concatenate([gaps.fill(values, params.series.gaps.target) for values in target]),
        observed=~np.isnan(target).ravel(),
        covariates={name: np.tile(values[:end], len(city.names)) for name, values in city.covariates.items()},
    )
