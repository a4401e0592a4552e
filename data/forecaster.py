"""The exported forecaster: `model.onnx` and `forecaster.json` in one folder, and how they give numbers.

Training writes it and tests what it wrote; the service answers with it. Neither pickle nor
scikit-learn is needed to load it. `examples.json` may lie beside them: requests to try the model with.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, RootModel, ValidationError, model_validator

from data import atomic
from data.accuracy import Accuracy
from data.declaration import Declaration
from data.errors import ConfigError, ModelError, RequestError
from data.features import Design, Rows
from data.panel import Panel
from data.section import Section

if TYPE_CHECKING:
    import onnxruntime as ort

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Document = TypeVar("Document", bound=BaseModel)

ONNX_FILE = "model.onnx"
CARD_FILE = "forecaster.json"
EXAMPLES_FILE = "examples.json"
#: Where MLflow puts files that it keeps next to a model.
EXTRA = "extra_files"
#: How many choices of levels have their quantiles kept ready: clients make the choice, so there is a bound.
LEVELS_KEPT = 256
#: Smallest spread, in units of the scale: an error is never taken to be impossible.
SPREAD_FLOOR = 0.01


class Calibration(Section):
    """Quantiles of the normalised residual (actual - point) / spread, by step.

    Attributes:
        levels: rising, each in (0, 1).
        quantiles: one row a step, one column a level.
    """

    levels: tuple[float, ...] = Field(min_length=1)
    quantiles: tuple[tuple[float, ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        rising = all(low < high for low, high in itertools.pairwise((0.0, *self.levels, 1.0)))
        if not rising or any(len(row) != len(self.levels) for row in self.quantiles):
            raise ValueError("wanted rising levels between 0 and 1, and one quantile a level in every row")
        return self

    def at(self, level: float) -> Floats:
        """Shape (steps,): the quantile of each step at one level, between the tabulated ones on a line.

        Raises:
            RequestError: the level lies outside the calibrated range.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            raise RequestError(
                f"quantile {level} is outside what was calibrated, wanted {self.levels[0]} to {self.levels[-1]}",
                param="options.quantiles",
            )
        low = bisect.bisect_right(self.levels, level) - 1
        over = level - self.levels[low]
        if over == 0:
            return np.asarray(self._columns[low])
        slope = (self._columns[low + 1] - self._columns[low]) / (self.levels[low + 1] - self.levels[low])
        return np.asarray(slope * over + self._columns[low])

    def rows(self, levels: tuple[float, ...]) -> Floats:
        """Shape (levels, steps): the quantile of each step at some levels, see `at`."""
        return np.array([self.at(level) for level in levels]).reshape(len(levels), len(self.quantiles))

    @functools.cached_property
    def _columns(self) -> Floats:
        """Shape (levels, steps), read-only, since `at` gives its rows away."""
        columns = np.array(self.quantiles).T
        columns.flags.writeable = False
        return columns


class Bins(Section):
    """A reference distribution: shares of the training values between edges (one more than the edges)."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    #: Smallest and largest value seen.
    low: float | None = None
    high: float | None = None
    #: Share of all training values that were missing; not known of a model of an earlier version.
    missing: float | None = None


class Reference(Section):
    """What the model's inputs and forecasts looked like in training, to tell drift by."""

    features: dict[str, Bins]
    forecast: Bins
    #: By length of a stretch of the training data and by feature (or `forecast`), the largest PSI of any such stretch
    #: against the whole (see `training.noise`); none in a model of an earlier version.
    noise: dict[str, dict[str, float]] = Field(default_factory=dict)
    #: Largest size of the target, in its unit; not known of a model of an earlier version.
    largest: float | None = None


class Card(Section):
    """`forecaster.json`: all that turns the ONNX model's numbers into a forecast, and what it must match."""

    format: int = 1
    onnx_sha256: str
    declaration: Declaration
    columns: tuple[str, ...]
    scale_floor: float
    calibration: Calibration
    reference: Reference
    trained_from: str
    trained_until: str
    training_rows: int
    #: What the backtest said; models that were trained before this was kept have none.
    accuracy: Accuracy | None = None
    #: Versions of Python and of the packages that decide what the model computes; none in a model of an earlier version.
    packages: dict[str, str] = Field(default_factory=dict)


class Example(Section):
    """A request to try the model with, and what really came.

    Attributes:
        request: body of `POST /v1/timeseries/forecast`, of one series.
        actuals: one value a step; null where there was none.
    """

    request: dict[str, Any]
    actuals: tuple[float | None, ...]


class Examples(RootModel[tuple[Example, ...]]):
    """`examples.json`."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts of all steps from some origins.

    Attributes:
        point: shape (origins, horizon), in the target's unit.
        spread: shape (origins, horizon), the unit of the calibration's quantiles.
    """

    point: Floats
    spread: Floats


class Forecaster:
    """A loaded model.

    Args:
        card: what `forecaster.json` says.
        session: the ONNX model.
        examples: what `examples.json` says, if it is there.
    """

    def __init__(self, card: Card, session: ort.InferenceSession, examples: Sequence[Example] = ()) -> None:
        self.card = card
        self.examples = examples
        self.design = Design(card.declaration, card.scale_floor)
        self._session = session
        self._rows = functools.lru_cache(maxsize=LEVELS_KEPT)(card.calibration.rows)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Forecaster:
        """Load and check a model's folder, as `save` or MLflow laid it out.

        Raises:
            ModelError: a file is missing or damaged, or the two do not belong together.
        """
        card = verify(folder)
        return cls(card, _session(folder / ONNX_FILE, threads), _read_examples(folder))

    @classmethod
    def of(cls, card: str, onnx: bytes) -> Forecaster:
        """Load a model whose files were read and checked elsewhere (see `verify`), for one thread.

        Args:
            card: text of `forecaster.json`.
            onnx: content of `model.onnx`.
        """
        return cls(Card.model_validate_json(card), _session(onnx, 1))

    def forecast(self, panel: Panel, origins: Integers, known: Floats | None = None) -> Forecast:
        """Forecast all steps from chosen origins in one batch.

        Args:
            panel: histories, with the covariates known ahead reaching past each origin.
            origins: shape (origins,), rows of the panel (see `Design.rows`).
            known: what is known at the origins, if there is a table of it (see `Design.origin_table`).
        """
        return self.scaled(self.design.rows(panel, origins, known))

    def scaled(self, rows: Rows) -> Forecast:
        """The forecast of input rows, in the target's unit."""
        point, spread = self.run(rows.inputs)
        shape, scale = (rows.scale.size, self.design.horizon), rows.scale[:, None]
        return Forecast(self._clipped(point.reshape(shape) * scale), spread.reshape(shape) * scale)

    def run(self, inputs: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """The ONNX model alone: scaled point and spread for each input row."""
        point, spread = self.trees(inputs, ("point", "spread"))
        return point, spread

    def trees(self, inputs: NDArray[np.float32], outputs: Sequence[str]) -> list[Floats]:
        """Some outputs of the ONNX model (`point`, `spread`), each of shape (rows,); a spread is never nothing."""
        made = [values[:, 0].astype(np.float64) for values in self._session.run(list(outputs), {"features": inputs})]
        return [
            np.maximum(values, SPREAD_FLOOR) if name == "spread" else values
            for name, values in zip(outputs, made, strict=True)
        ]

    def quantile(self, forecast: Forecast, level: float) -> Floats:
        """Shape (origins, horizon): one quantile of a forecast.

        Raises:
            RequestError: the level lies outside the calibrated range.
        """
        return np.asarray(self.quantiles(forecast, (level,))[0])

    def quantiles(self, forecast: Forecast, levels: Sequence[float]) -> Floats:
        """Shape (levels, origins, horizon): quantiles of a forecast, in the order asked for.

        Raises:
            RequestError: a level lies outside the calibrated range.
        """
        return self._clipped(forecast.point + forecast.spread * self._rows(tuple(levels))[:, None])

    def _clipped(self, values: Floats) -> Floats:
        return np.maximum(values, 0.0) if self.card.declaration.series.nonnegative else values


def _session(model: Path | bytes, threads: int) -> ort.InferenceSession:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def verify(folder: Path) -> Card:
    """Check a model's folder, as `save` or MLflow laid it out, without loading the model.

    Raises:
        ModelError: a file is missing or damaged, the two do not belong together, or not to this code.
    """
    path = beside(folder, CARD_FILE)
    card = _read(path, Card)
    _read_examples(folder)
    found = sha256(folder / ONNX_FILE)
    if found != card.onnx_sha256:
        raise ModelError(
            f"{folder / ONNX_FILE} does not belong to {CARD_FILE}: sha256 is {found}, wanted {card.onnx_sha256}; "
            "import the model again"
        )
    try:
        design = Design(card.declaration, card.scale_floor)
    except ConfigError as err:
        raise ModelError(f"{path}: {err.message}; import the model again") from err
    if len(card.calibration.quantiles) != design.horizon:
        raise ModelError(
            f"{path}: calibrated for {len(card.calibration.quantiles)} steps, wanted {design.horizon}, the horizon; "
            "import the model again"
        )
    for place, (ours, theirs) in enumerate(itertools.zip_longest(design.names, card.columns, fillvalue="nothing")):
        if ours != theirs:
            raise ModelError(
                f"{path}: column {place} is {theirs!r} in the model, and {ours!r} in this code; "
                "serve the model with the code it was built with, or train it again"
            )
    return card


def save(folder: Path, card: Card, onnx: bytes, examples: Sequence[Example] = ()) -> None:
    """Write a model's folder atomically; without examples there is no file of them."""
    with atomic.replacing(folder) as scratch:
        scratch.mkdir()
        (scratch / ONNX_FILE).write_bytes(onnx)
        (scratch / CARD_FILE).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if examples:
            text = Examples(tuple(examples)).model_dump_json()
            (scratch / EXAMPLES_FILE).write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hash of a file.

    Raises:
        ModelError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as err:
        raise ModelError(f"{path} not found: import the model again") from err


def beside(folder: Path, name: str) -> Path:
    """Where a file lies that belongs to the model: MLflow moves it."""
    extra = folder / EXTRA / name
    return extra if extra.exists() else folder / name


def _read_examples(folder: Path) -> tuple[Example, ...]:
    path = beside(folder, EXAMPLES_FILE)
    return _read(path, Examples).root if path.exists() else ()


def _read(path: Path, kind: type[Document]) -> Document:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise ModelError(f"{path} not found: import the model again") from err
    except ValidationError as err:
        fault = err.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise ModelError(f"{path}: {place}: {fault['msg']}; import the model again") from err
