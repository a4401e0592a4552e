"""The whole configuration: params.yaml, one section a stage, typed, frozen and checked before anything starts.

Windows are durations (`3h`, `7d`), lags and the horizon are counted in steps of the series.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from data import durations, validation
from data.deployment import Deploy
from data.loadtest import Loadtest
from data.monitoring import Monitoring
from data.section import Duration, Section, Share

PARAMS = Path("params.yaml")


def _iso(moment: object) -> object:
    """YAML turns an unquoted date into a date; give its text back."""
    return moment.isoformat() if isinstance(moment, dt.date) else moment


Moment = Annotated[str, BeforeValidator(_iso)]
Gap = Literal["zero", "forward", "interpolate"]
CalendarName = Literal[
    "hour",
    "minute_of_day",
    "day_of_week",
    "hour_of_week",
    "day_of_month",
    "day_of_year",
    "week_of_year",
    "month",
    "is_weekend",
]
#: Names that the series frame and the calendar keep for themselves.
RESERVED = frozenset({"series_id", "timestamp", "target", "observed", *get_args(CalendarName)})


class Covariates(Section):
    """Columns besides the target: `future` are known at the target's own time, `past` only up to now."""

    future: tuple[str, ...] = ()
    past: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All covariates, in the frame's column order."""
        return self.future + self.past


class Gaps(Section):
    """How a missing value is filled, the same in training and serving (see `data.gaps`).

    Covariates are never interpolated: the far side of a gap is not known while it lasts.
    """

    target: Gap = "zero"
    covariates: Literal["zero", "forward"] = "forward"


class ColumnLimits(Section):
    """What the values of one column may be (see `data.invariants`); a limit that is left out holds always."""

    low: float | None = None
    high: float | None = None
    #: Largest share of a series' values that may be missing between its first and its last.
    missing: float | None = Field(default=None, ge=0, lt=1)
    #: Longest that one value may stay: a sensor that is stuck says the same for ever.
    constant: Duration | None = None

    @model_validator(mode="after")
    def _low_lies_below_high(self) -> Self:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"got low {self.low:g} and high {self.high:g}, wanted low below high")
        return self


class Series(Section):
    """The shape of the table: which columns it has, how far apart its rows are, and what its values may be."""

    id: str | None = None
    timestamp: str
    target: str
    frequency: Duration
    nonnegative: bool = False
    covariates: Covariates = Covariates()
    gaps: Gaps = Gaps()
    #: By column: the target or a covariate.
    limits: dict[str, ColumnLimits] = Field(default_factory=dict)

    @property
    def step_seconds(self) -> int:
        """Seconds between two rows of a series."""
        return durations.seconds(self.frequency)

    @property
    def columns(self) -> dict[str, str]:
        """The numeric columns by the names that the series frame gives them: the target, then the covariates."""
        return {"target": self.target, **{name: name for name in self.covariates.names}}

    def limits_of(self, column: str) -> ColumnLimits:
        """What the values of a column (as the user calls it) may be."""
        return self.limits.get(column, ColumnLimits())

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> Self:
        columns = [c for c in (self.id, self.timestamp, self.target, *self.covariates.names) if c]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice, wanted each column in one role")
        kept = sorted(RESERVED & set(self.covariates.names))
        if kept:
            raise ValueError(
                f"covariate {kept[0]!r} has a name that is kept for the series frame or the calendar, rename the column"
            )
        return self

    @model_validator(mode="after")
    def _limits_are_of_columns(self) -> Self:
        for column, limits in self.limits.items():
            if column not in self.columns.values():
                known = ", ".join(self.columns.values())
                raise ValueError(
                    f"got limits of {column!r}, wanted limits of the target or a covariate ({known}) alone"
                )
            if limits.constant is not None and durations.seconds(limits.constant) <= self.step_seconds:
                raise ValueError(
                    f"got limits.{column}.constant {limits.constant!r}, wanted longer than one step ({self.frequency!r})"
                )
        return self


class Sample(Section):
    """The built-in city of bike-share stations (see `data.sources.sample`)."""

    stations: int = Field(default=12, ge=1, le=1_000)
    start: Moment = "2023-01-01"
    end: Moment = "2024-12-31T23:00"
    seed: int = Field(default=7, ge=0)
    regime_change: Moment | None = None


class UciBikeSharing(Section):
    """Where the UCI bike-sharing data is downloaded from and what it must hash to."""

    url: str = "https://archive.ics.uci.edu/static/public/275/bike+sharing+dataset.zip"
    sha256: str = Field(
        default="e2041d15e576593a53a605868995ff6c97a7f1b83ceb318483be3f090480e48f", pattern="^[0-9a-f]{64}$"
    )
    cache: Path = Path("out/downloads")


#: Built-in sources are code: a change of that code is what re-runs `ingest`.
BUILT_IN = {"sample": "data/sources/sample.py", "uci-bike-sharing": "data/sources/uci_bike_sharing.py"}


class Ingest(Section):
    """Where the table comes from. `path` is what DVC watches: your file, folder or address."""

    source: Literal["sample", "csv", "parquet", "uci-bike-sharing"]
    path: str
    sample: Sample = Sample()
    uci_bike_sharing: UciBikeSharing = UciBikeSharing()

    @model_validator(mode="after")
    def _built_in_sources_are_watched_by_their_code(self) -> Self:
        wanted = BUILT_IN.get(self.source)
        if wanted and self.path != wanted:
            raise ValueError(
                f"source {self.source!r} is made by {wanted}, got path {self.path!r}: "
                f"write 'path: {wanted}', or 'source: csv' to read {self.path!r}"
            )
        if not wanted and self.path in BUILT_IN.values():
            raise ValueError(f"source {self.source!r} reads a table, got path {self.path!r}: write your file's path")
        return self


class MatchedMeans(Section):
    """Means over the last `counts` values a `season` apart at which `match` was what it is at the target.

    `match` names a covariate known ahead, or a calendar feature. With `match: workingday` and
    `season: 1d`, a Monday that is a holiday looks back to Sundays, at the same hour.
    """

    match: str
    season: Duration
    lookback: Duration
    counts: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(min_length=1)
    #: Windows over which the level is compared with what the mean of `ratio_count` matches expected.
    ratios: tuple[Duration, ...] = ()
    ratio_count: Annotated[int, Field(ge=1, le=100)] = 5


class Features(Section):
    """What the model sees of a series at an origin, for each step ahead (see `data.features`)."""

    horizon: int = Field(ge=1, le=10_000)
    scale: Duration
    lags: tuple[Annotated[int, Field(ge=1)], ...] = ()
    seasonal_lags: tuple[Duration, ...] = ()
    seasonal_means: dict[Duration, Annotated[int, Field(ge=2, le=52)]] = Field(default_factory=dict)
    matched_means: MatchedMeans | None = None
    moving_averages: tuple[Duration, ...] = ()
    rolling_spread: tuple[Duration, ...] = ()
    calendar: tuple[CalendarName, ...] = ()
    covariates: Literal["use", "ignore"] = "use"

    @model_validator(mode="after")
    def _no_feature_twice(self) -> Self:
        for name in ("lags", "seasonal_lags", "moving_averages", "rolling_spread", "calendar"):
            values = getattr(self, name)
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"{name}: {twice[0]!r} is named twice, wanted each feature once")
        return self


#: The first fold has no earlier one to learn a spread from, the second none whose spreads could be calibrated.
FEWEST_FOLDS = 3


def _give_a_coverage(folds: int) -> int:
    if folds < FEWEST_FOLDS:
        raise ValueError(
            f"wanted {FEWEST_FOLDS} or more: a fold's intervals need two folds before it, "
            "and no model passes the gate without them"
        )
    return folds


#: Ends of the range of quantiles that intervals are calibrated for.
LOWEST_QUANTILE, HIGHEST_QUANTILE = 0.005, 0.995


def _lie_within_the_calibration(level: float) -> float:
    if (1 - level) / 2 < LOWEST_QUANTILE or (1 + level) / 2 > HIGHEST_QUANTILE:
        raise ValueError(
            f"wanted {HIGHEST_QUANTILE - LOWEST_QUANTILE:g} or less: quantiles are calibrated from {LOWEST_QUANTILE} "
            f"to {HIGHEST_QUANTILE}"
        )
    return level


def _are_some(levels: tuple[float, ...]) -> tuple[float, ...]:
    if not levels:
        raise ValueError("wanted one level or more: the gate judges the intervals by them")
    return levels


Level = Annotated[float, Field(gt=0), AfterValidator(_lie_within_the_calibration)]


class Backtest(Section):
    """Rolling-origin evaluation: `folds` cuts, each scored over `fold` with forecasts every `stride` steps."""

    folds: Annotated[int, Field(le=52), AfterValidator(_give_a_coverage)]
    fold: Duration
    every: Duration
    stride: int = Field(ge=1)
    season: Duration
    levels: Annotated[tuple[Level, ...], AfterValidator(_are_some)] = (0.8, 0.95)


class Trees(Section):
    """Hyper-parameters of scikit-learn's HistGradientBoostingRegressor."""

    loss: Literal["absolute_error", "squared_error"] = "absolute_error"
    max_iter: int = Field(default=200, ge=1, le=10_000)
    learning_rate: float = Field(default=0.09, gt=0, le=1)
    max_leaf_nodes: int = Field(default=31, ge=2, le=1_024)
    min_samples_leaf: int = Field(default=40, ge=1)
    l2_regularization: float = Field(default=1.0, ge=0)
    max_features: float = Field(default=0.5, gt=0, le=1)


class Train(Section):
    """The estimators and how many rows they are fitted on; used in every fold of `backtest` too.

    `point` forecasts the target, `spread` the size of the point's error, from which intervals are made.
    """

    max_rows: int = Field(ge=1_000)
    #: Age at which a row counts half when the forecast is fitted; null: all rows count the same.
    recency: Duration | None = None
    #: Age at which an error of the backtest counts half in the calibration of the intervals.
    half_life: Duration = "56d"
    seed: int = Field(default=0, ge=0)
    #: Series whose last values go with the model, and so into the Bento, for its page; none unless asked for.
    examples: int = Field(default=0, ge=0, le=20)
    point: Trees = Trees()
    spread: Trees = Trees(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=100)


class Gate(Section):
    """What a challenger must show before it becomes champion (see `training.gate`)."""

    max_ratio_to_naive: float = Field(default=1.0, gt=0)
    max_ratio_to_champion: float = Field(default=1.02, gt=0)
    confidence: Share = 0.95
    min_days: int = Field(default=30, ge=10)
    coverage_tolerance: Share = 0.05


class Promote(Section):
    """The name in MLflow's registry and BentoML's store, and the gate to its champion alias."""

    experiment: str = Field(default="bentocast", pattern=r"^[\w.-]+$")
    #: What makes a challenger champion: a pass of the gate, or its rollout after that (`monitoring.loop`).
    champion: Literal["gate", "rollout"] = "gate"
    gate: Gate = Gate()


class Params(Section):
    """params.yaml."""

    series: Series
    ingest: Ingest
    features: Features
    backtest: Backtest
    train: Train
    promote: Promote
    loadtest: Loadtest = Loadtest()
    deploy: Deploy = Deploy()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _can_be_rolled_out(self) -> Self:
        """Or a retraining would find it out hours later."""
        try:
            self.deploy.judged(self.monitoring.loop.rollout)
        except ValueError as err:
            raise ValueError(f"{err} (of monitoring.loop.rollout)") from err
        return self


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml whole.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown key or a wrong value.
    """
    return validation.load(path, Params, "run the command in the project's folder")


def parse(raw: object, where: str = "params.yaml") -> Params:
    """Check a configuration that is already in memory.

    Raises:
        ConfigError: one message that lists every value at fault.
    """
    return validation.parse(raw, Params, where)
