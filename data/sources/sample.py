"""The default source: an invented city of bike-share stations, drawn from a seed.

Rows never change once drawn: each random number comes from a generator of its own purpose, station and
calendar month, so a later end, more stations or a change of regime leave all other rows as they were.
Everything is computed for whole months and cut to the asked range last. It is one file because DVC
watches that file: a change in here is what makes the city anew.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ConfigError
from data.params import Sample

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Hours = NDArray[np.datetime64]
#: Draws the numbers of one month: takes a generator and the month's place in the hours.
Draw = Callable[[np.random.Generator, slice], Floats]
#: Bumps over a day: (peak hour, width in hours, weight).
Bumps = tuple[tuple[float, float, float], ...]

SMALLEST_RIDES_PER_HOUR, LARGEST_TO_SMALLEST = 2.5, 20.0
MISSING_ROWS = 0.005
OUTAGES_PER_MONTH, OUTAGE_HOURS = 0.15, (6, 96)
#: Counts are negative binomial: variance = mean + mean² / DISPERSION.
DISPERSION = 45.0
#: After the change of regime: fewer rides, peaks of commuting that move towards noon, a morning peak that
#: halves, office weeks from Tuesday to Thursday, and riders who mind the weather more.
LEVEL_AFTER_CHANGE, PEAK_SHIFT_HOURS, MORNING_AFTER_CHANGE, WEATHER_AFTER_CHANGE = 0.75, 2.0, 0.5, 1.6
WEEK = np.array([0.96, 1.03, 1.04, 1.02, 0.95, 1.0, 1.0])
WEEK_AFTER_CHANGE = np.array([0.55, 1.15, 1.25, 1.15, 0.45, 1.0, 1.0])
SATURDAY, SUNDAY = 5, 6


class Purpose(IntEnum):
    """What a random generator is for: no two purposes share numbers."""

    WEATHER = 0
    CITY_MOOD = 1
    STATION = 2
    STATION_MOOD = 3
    RIDES = 4
    GAPS = 5


@dataclass(frozen=True)
class Kind:
    """A sort of station: when it is used and what keeps its riders away."""

    workday: Bumps
    saturday: Bumps
    sunday: Bumps
    season: float = 0.1
    weather: float = 1.0
    summer_break: float = 0.95
    winter_break: float = 0.7
    weekend_after_change: float = 1.1

    @property
    def before(self) -> Floats:
        """Demand by day (workday, Saturday, Sunday) and hour, shape (3, 24), mean 1 over a week."""
        days = self._days(self.workday)
        return days / self._mean(days)

    @property
    def after(self) -> Floats:
        """The same after the change of regime, on the same scale: its mean is not 1."""
        days = self._days(_nearer_noon(self.workday))
        weekend = np.array([1.0, self.weekend_after_change, self.weekend_after_change])[:, None]
        return LEVEL_AFTER_CHANGE * weekend * days / self._mean(self._days(self.workday))

    def _days(self, workday: Bumps) -> Floats:
        return np.stack([_day(bumps) for bumps in (workday, self.saturday, self.sunday)])

    @staticmethod
    def _mean(days: Floats) -> float:
        return float(np.average(days.mean(axis=1), weights=[5, 1, 1]))


KINDS = (
    Kind(  # railway station
        workday=((7.6, 0.9, 3.0), (12.5, 3.0, 0.7), (17.6, 1.2, 2.8)),
        saturday=((11.0, 3.0, 1.0), (18.0, 3.0, 1.0)),
        sunday=((12.0, 4.0, 0.8), (19.0, 2.5, 1.1)),
    ),
    Kind(  # park and waterside
        workday=((13.0, 3.5, 0.7), (18.5, 2.5, 1.1)),
        saturday=((14.5, 3.2, 3.0),),
        sunday=((15.0, 3.0, 3.2),),
        season=0.45,
        weather=1.6,
        summer_break=1.15,
        winter_break=0.9,
        weekend_after_change=1.8,
    ),
    Kind(  # housing
        workday=((7.8, 1.1, 3.2), (12.5, 3.0, 0.5), (17.8, 2.0, 1.3)),
        saturday=((11.5, 3.5, 1.1), (18.0, 3.0, 0.6)),
        sunday=((12.5, 3.5, 0.9),),
    ),
    Kind(  # campus
        workday=((9.3, 1.0, 1.9), (13.0, 2.2, 1.6), (16.6, 1.6, 1.7)),
        saturday=((14.0, 4.0, 0.4),),
        sunday=((15.0, 4.0, 0.4),),
        weather=0.8,
        summer_break=0.4,
        winter_break=0.3,
    ),
    Kind(  # offices
        workday=((8.6, 1.0, 1.2), (12.5, 1.2, 0.8), (17.3, 1.3, 3.0)),
        saturday=((13.0, 4.0, 0.3),),
        sunday=((14.0, 4.0, 0.2),),
        summer_break=0.8,
        winter_break=0.5,
    ),
    Kind(  # bars and theatres
        workday=((12.5, 1.5, 0.6), (19.5, 2.2, 1.4)),
        saturday=((0.7, 1.6, 1.6), (15.0, 3.0, 0.8), (22.0, 2.4, 2.4)),
        sunday=((0.9, 1.7, 2.0), (15.0, 3.0, 0.9)),
        season=0.2,
        weather=1.2,
        winter_break=1.0,
        weekend_after_change=1.5,
    ),
    Kind(  # shops
        workday=((13.0, 2.5, 1.2), (17.5, 1.8, 1.4)),
        saturday=((14.2, 2.6, 3.0),),
        sunday=((14.0, 3.0, 0.5),),
        winter_break=1.1,
        weekend_after_change=1.3,
    ),
)


@dataclass(frozen=True)
class Calendar:
    """Every hour of the months that are touched, arrays of shape (hours,), and the slice of each month."""

    hours: Hours
    hour_of_day: NDArray[np.int64]
    day_of_year: NDArray[np.int64]
    weekday: NDArray[np.int64]
    holiday: Flags
    changed: Flags
    months: tuple[tuple[int, slice], ...]

    @property
    def workingday(self) -> Flags:
        """Monday to Friday, unless it is a holiday."""
        return (self.weekday < SATURDAY) & ~self.holiday

    @property
    def day_kind(self) -> NDArray[np.int64]:
        """0 for a workday, 1 for a Saturday, 2 for a Sunday or holiday."""
        saturday = (self.weekday == SATURDAY) & ~self.holiday
        return np.where(self.workingday, 0, np.where(saturday, 1, 2))

    def draw(self, seed: int, purpose: Purpose, station: int, how: Draw) -> Floats:
        """Random numbers of shape (hours,), month by month, each from its own generator."""
        return np.concatenate([how(_generator(seed, purpose, station, key), part) for key, part in self.months])


@dataclass(frozen=True)
class Weather:
    """The city's weather, each of shape (hours,): °C, mm/h and m/s, as it is reported (one decimal)."""

    temperature: Floats
    rain: Floats
    wind: Floats


def generate(sample: Sample) -> pd.DataFrame:
    """Draw the city.

    A row is an hour of a station, from `start` to `end`, both included. Some rows are missing: single
    hours, outages of 6 hours to 4 days, and all hours before a station opened (one in four opens late,
    so a short range may leave a station out). An hour without rides has its row.

    Returns:
        `station` (str), `hour` (datetime64, no time zone), `rides` (int), `temperature` (°C), `rain`
        (mm/h), `wind` (m/s), `holiday` and `workingday` (0 or 1).

    Raises:
        ConfigError: a date cannot be read, or the end lies before the start.
    """
    start, end = _hour(sample.start, "start"), _hour(sample.end, "end")
    if end < start:
        raise ConfigError(
            f"ingest.sample.end: got {sample.end!r}, wanted an hour at or after ingest.sample.start {sample.start!r}",
            param="ingest.sample.end",
        )
    change = None if sample.regime_change is None else _hour(sample.regime_change, "regime_change")
    calendar = _calendar(start, end, change)
    weather = _weather(sample.seed, calendar)
    mood = _mood(sample.seed, Purpose.CITY_MOOD, 0, calendar, spread=0.10, memory=0.99)
    asked = (calendar.hours >= start) & (calendar.hours <= end)
    rides, rows = [], []
    for station in range(1, sample.stations + 1):
        rides.append(_rides(sample.seed, station, calendar, weather, mood))
        rows.append(np.flatnonzero(asked & _reported(sample.seed, station, calendar)))
    return _frame(calendar, weather, rides, rows)


def _frame(
    calendar: Calendar, weather: Weather, rides: list[NDArray[np.int64]], rows: list[NDArray[np.int64]]
) -> pd.DataFrame:
    names = [f"s{station:02d}" for station in range(1, len(rows) + 1)]
    at = np.concatenate(rows)
    return pd.DataFrame(
        {
            "station": pd.Series(np.repeat(names, [len(of_station) for of_station in rows]), dtype="str"),
            "hour": calendar.hours[at].astype("datetime64[us]"),
            "rides": np.concatenate([counts[of_station] for counts, of_station in zip(rides, rows, strict=True)]),
            "temperature": weather.temperature[at],
            "rain": weather.rain[at],
            "wind": weather.wind[at],
            "holiday": calendar.holiday[at].astype(np.int64),
            "workingday": calendar.workingday[at].astype(np.int64),
        }
    )


def holidays(year: int) -> frozenset[dt.date]:
    """Public holidays of the city: fixed ones, those that follow Easter, and a Monday in September."""
    fixed = [dt.date(year, month, day) for month, day in ((1, 1), (5, 1), (12, 25), (12, 26))]
    after_easter = [easter(year) + dt.timedelta(days) for days in (-2, 1, 39, 50)]
    first = dt.date(year, 9, 1)
    third_monday = first + dt.timedelta(-first.weekday() % 7 + 14)
    return frozenset([*fixed, *after_easter, third_monday])


def easter(year: int) -> dt.date:
    """Easter Sunday in the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8)."""
    golden, century, rest = year % 19, year // 100, year % 100
    shift = century - century // 4 - (century - (century + 8) // 25 + 1) // 3
    full_moon = (19 * golden + shift + 15) % 30
    to_sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - full_moon - rest % 4) % 7
    correction = (golden + 11 * full_moon + 22 * to_sunday) // 451
    month, day = divmod(full_moon + to_sunday - 7 * correction + 114, 31)
    return dt.date(year, month, day + 1)


def _hour(text: str, key: str) -> np.datetime64:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo or moment != moment.replace(minute=0, second=0, microsecond=0):
        raise ConfigError(
            f"ingest.sample.{key}: got {text!r}, wanted a date or a whole hour without a time zone, such as "
            "'2024-12-31' or '2024-12-31T23:00'",
            param=f"ingest.sample.{key}",
        )
    return np.datetime64(moment, "h")


def _calendar(start: np.datetime64, end: np.datetime64, change: np.datetime64 | None) -> Calendar:
    edges = np.arange(start.astype("datetime64[M]"), end.astype("datetime64[M]") + 2)
    starts = (edges.astype("datetime64[h]") - edges[0].astype("datetime64[h]")).astype(int)
    hours = np.arange(edges[0].astype("datetime64[h]"), edges[-1].astype("datetime64[h]"))
    days, years = hours.astype("datetime64[D]"), edges.astype("datetime64[Y]").astype(int) + 1970
    free = [np.datetime64(day) for year in range(years[0], years[-1] + 1) for day in holidays(year)]
    return Calendar(
        hours=hours,
        hour_of_day=hours.astype(np.int64) % 24,
        day_of_year=(days - days.astype("datetime64[Y]")).astype(np.int64),
        weekday=(days.astype(np.int64) + 3) % 7,
        holiday=np.isin(days, np.array(free)),
        changed=np.zeros(hours.size, bool) if change is None else hours >= change,
        months=tuple(
            (int(month), slice(first, last))
            for month, (first, last) in zip(edges.astype(int), itertools.pairwise(starts.tolist()), strict=False)
        ),
    )


def _generator(seed: int, purpose: Purpose, station: int, month: int) -> np.random.Generator:
    # A spawn key holds no negative number: months are counted from year 0, not from 1970.
    key = (int(purpose), station, month + 1970 * 12)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def _mood(
    seed: int, purpose: Purpose, station: int, calendar: Calendar, *, spread: float, memory: float, lane: int = 0
) -> Floats:
    """A first-order autoregression of standard deviation `spread`, shape (hours,), starting from 0.

    One generator may feed several `lane`s, told apart by how many numbers are passed over first.
    """

    def shocks(generator: np.random.Generator, part: slice) -> Floats:
        return np.asarray(generator.standard_normal((lane + 1, part.stop - part.start))[lane])

    scaled = spread * float(np.sqrt(1 - memory**2)) * calendar.draw(seed, purpose, station, shocks)
    return np.fromiter(itertools.accumulate(scaled.tolist(), lambda state, shock: memory * state + shock), np.float64)


def _weather(seed: int, calendar: Calendar) -> Weather:
    def lane(number: int, spread: float, memory: float) -> Floats:
        return _mood(seed, Purpose.WEATHER, 0, calendar, spread=spread, memory=memory, lane=number)

    summer = _yearly(calendar)
    afternoon = np.cos(2 * np.pi * (calendar.hour_of_day - 15) / 24)
    front = lane(0, 1.0, 0.93)
    rain = np.where(front > 1.3, 2.4 * np.maximum(front - 1.3, 0.0) ** 1.4 + 0.1, 0.0)
    temperature = 11.5 + 9.5 * summer + (3.0 + 1.2 * summer) * afternoon + lane(1, 3.2, 0.985) - 1.5 * (rain > 0)
    wind = np.exp(1.05 + 0.38 * lane(2, 1.0, 0.95) + 0.12 * afternoon + 0.25 * (rain > 0))
    return Weather(_reading(temperature), _reading(rain), _reading(wind))


def _reading(values: Floats) -> Floats:
    return np.asarray(np.round(values, 1), np.float64)


def _yearly(calendar: Calendar) -> Floats:
    """A wave of one year, 1 in mid-July and -1 in mid-January, shape (hours,)."""
    return np.asarray(np.cos(2 * np.pi * (calendar.day_of_year - 198) / 365.25))


def _rides(seed: int, station: int, calendar: Calendar, weather: Weather, city_mood: Floats) -> NDArray[np.int64]:
    """Rides started at a station, shape (hours,)."""
    own_mood = _mood(seed, Purpose.STATION_MOOD, station, calendar, spread=0.12, memory=0.96)
    kind = KINDS[(station - 1) % len(KINDS)]
    mean = _size(station) * _habits(kind, calendar) * _growth(seed, station, calendar)
    minding = kind.weather * np.where(calendar.changed, WEATHER_AFTER_CHANGE, 1.0)
    mean = np.asarray(mean * np.exp(minding * _comfort(weather) + city_mood + own_mood))

    def counts(generator: np.random.Generator, part: slice) -> Floats:
        surprise = generator.standard_gamma(DISPERSION, part.stop - part.start) / DISPERSION
        return np.asarray(generator.poisson(mean[part] * surprise), np.float64)

    return calendar.draw(seed, Purpose.RIDES, station, counts).astype(np.int64)


def _size(station: int) -> float:
    """Usual rides per hour: steps of the golden ratio spread any number of stations over the whole range."""
    return float(SMALLEST_RIDES_PER_HOUR * LARGEST_TO_SMALLEST ** ((0.9 + 0.618034 * (station - 1)) % 1.0))


def _habits(kind: Kind, calendar: Calendar) -> Floats:
    """What the calendar does to demand, shape (hours,), about 1 on average."""
    day = (calendar.day_kind, calendar.hour_of_day)
    shape = np.where(calendar.changed, kind.after[day], kind.before[day])
    weekday = np.where(calendar.changed, WEEK_AFTER_CHANGE[calendar.weekday], WEEK[calendar.weekday])
    break_of_summer = (calendar.day_of_year >= 182) & (calendar.day_of_year < 243)
    break_of_winter = (calendar.day_of_year >= 356) | (calendar.day_of_year < 5)
    pause = np.where(break_of_summer, kind.summer_break, np.where(break_of_winter, kind.winter_break, 1.0))
    holiday = np.where(calendar.holiday, 0.85, 1.0)
    return np.asarray(shape * weekday * pause * holiday * np.exp(kind.season * _yearly(calendar)))


def _growth(seed: int, station: int, calendar: Calendar) -> Floats:
    """5 to 25 % a year, and a new station's slow beginning, shape (hours,)."""
    opening, rate = _station(seed, station)
    hours = np.arange(calendar.hours.size)
    beginning = 1 - 0.6 * np.exp(-np.maximum(hours - opening, 0) / (21 * 24)) if opening else 1.0
    return np.asarray((1 + rate) ** (hours / (365.25 * 24)) * beginning)


def _station(seed: int, station: int) -> tuple[int, float]:
    """The hour, counted from the first month, at which a station opens, and its growth a year."""
    generator = _generator(seed, Purpose.STATION, station, 0)
    rate, opening_day = generator.uniform(0.05, 0.25), int(generator.integers(45, 420))
    return (opening_day * 24 + 6 if station % 4 == 0 else 0), float(rate)


def _comfort(weather: Weather) -> Floats:
    """Log of what the weather does to demand, at most 0, shape (hours,)."""
    rain = 0.25 * (weather.rain > 0) + 0.35 * np.log1p(weather.rain)
    cold = 0.9 * (np.clip(20 - weather.temperature, 0, 25) / 25) ** 1.3
    heat = 0.5 * (np.clip(weather.temperature - 27, 0, 12) / 8) ** 2
    return np.asarray(-(rain + cold + heat + 0.05 * np.maximum(weather.wind - 4, 0)))


def _reported(seed: int, station: int, calendar: Calendar) -> Flags:
    """Which hours have a row, shape (hours,): the station is open, and nothing got lost."""
    hours = np.arange(calendar.hours.size)
    reported = hours >= _station(seed, station)[0]
    for month, part in calendar.months:
        generator = _generator(seed, Purpose.GAPS, station, month)
        length = part.stop - part.start
        reported[part] &= generator.random(length) >= MISSING_ROWS
        for _ in range(generator.poisson(OUTAGES_PER_MONTH)):
            begin = part.start + int(generator.integers(length))
            shortest, longest = np.log(OUTAGE_HOURS)
            reported[begin : begin + round(np.exp(generator.uniform(shortest, longest)))] = False
    return np.asarray(reported)


def _day(bumps: Bumps) -> Floats:
    """Weight of each hour of a day, shape (24,): bumps on a clock's face, over a floor that is never 0."""
    hours = np.arange(24)[:, None]
    peak, width, weight = np.array(bumps).T
    away = np.abs(hours - peak)
    away = np.minimum(away, 24 - away)
    return np.asarray(0.06 + (weight * np.exp(-0.5 * (away / width) ** 2)).sum(axis=1))


def _nearer_noon(bumps: Bumps) -> Bumps:
    """Commuting after the change of regime: half of the morning's riders stay home, the others spread the peaks."""

    def moved(peak: float, width: float, weight: float) -> tuple[float, float, float]:
        if peak < 10:
            return peak + PEAK_SHIFT_HOURS, width, weight * MORNING_AFTER_CHANGE
        return (peak - PEAK_SHIFT_HOURS if peak > 15 else peak), width, weight

    return tuple(moved(*bump) for bump in bumps)
