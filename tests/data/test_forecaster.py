"""The exported forecaster: files that belong together, the same bits in any batch, quantiles in order."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from data import forecaster
from data.declaration import Declaration
from data.errors import ModelError, RequestError
from data.features import Design
from data.forecaster import (
    CARD_FILE,
    EXAMPLES_FILE,
    EXTRA,
    ONNX_FILE,
    SPREAD_FLOOR,
    Bins,
    Calibration,
    Card,
    Example,
    Forecaster,
    Reference,
)
from data.panel import Panel
from tests.data import drawn
from training.export import export

MANY = settings(max_examples=50, deadline=None)
LEVELS = (0.1, 0.5, 0.9)
QUANTILES = ((-1.5, 0.0, 1.0), (-2.0, 0.1, 2.5), (-4.0, -0.5, 4.0))


def declared(*, nonnegative: bool = False) -> Design:
    """Forecasts of three steps from a history of eight."""
    series = {
        "timestamp": "hour",
        "target": "sales",
        "frequency": "1h",
        "nonnegative": nonnegative,
        "covariates": {"future": ["holiday"], "past": ["price"]},
    }
    features = {
        "horizon": 3,
        "scale": "8h",
        "lags": [1, 2],
        "seasonal_lags": ["4h"],
        "moving_averages": ["3h"],
        "calendar": ["hour"],
        "matched_means": {"match": "holiday", "season": "3h", "lookback": "6h", "counts": [2], "ratios": ["2h"]},
    }
    declaration = Declaration.model_validate({"series": series, "features": features})
    return Design(declaration, drawn.FLOOR)


def card(design: Design, onnx_sha256: str) -> Card:
    bins = Bins(edges=(0.0,), shares=(0.5, 0.5))
    return Card(
        onnx_sha256=onnx_sha256,
        declaration=design.declaration,
        columns=tuple(design.names),
        scale_floor=design.floor,
        calibration=Calibration(levels=LEVELS, quantiles=QUANTILES),
        reference=Reference(features=dict.fromkeys(design.names, bins), forecast=bins),
        trained_from="2024-01-01T00:00:00",
        trained_until="2024-03-01T00:00:00",
        training_rows=600,
    )


@pytest.fixture(scope="module")
def panel() -> Panel:
    generator = np.random.default_rng(0)
    values = [generator.normal(size=size) * scale for size, scale in ((200, 1.0), (60, 1e6), (90, 1e-4))]
    return drawn.panel(declared(), values, generator)


@pytest.fixture(scope="module")
def onnx(panel: Panel) -> bytes:
    """Trees of real size: more of them than ONNX Runtime adds up on one thread."""
    design = declared()
    origins = design.origins(panel)
    rows = design.rows(panel, origins, design.origin_rows(panel, origins))
    target = rows.inputs[:, 1] - rows.inputs[:, 3] + np.random.default_rng(1).normal(size=len(rows.inputs))
    point, spread = (
        HistGradientBoostingRegressor(max_iter=trees, max_leaf_nodes=8, min_samples_leaf=5).fit(rows.inputs, values)
        for trees, values in ((120, target), (20, SPREAD_FLOOR * np.abs(target)))
    )
    with warnings.catch_warnings():  # skl2onnx 1.20 writes booleans where ONNX has integers
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints", DeprecationWarning)
        return export(point, spread)


@pytest.fixture
def folder(tmp_path: Path, onnx: bytes) -> Path:
    """A model as training saves it."""
    return saved(tmp_path / "model", onnx)


def saved(folder: Path, onnx: bytes, *, nonnegative: bool = False, examples: tuple[Example, ...] = ()) -> Path:
    digest = hashlib.sha256(onnx).hexdigest()
    forecaster.save(folder, card(declared(nonnegative=nonnegative), digest), onnx, examples)
    return folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, onnx: bytes) -> Forecaster:
    return Forecaster.load(saved(tmp_path_factory.mktemp("forecaster") / "model", onnx))


# Files


def test_saved_model_is_loaded(folder: Path, onnx: bytes) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CARD_FILE, ONNX_FILE]
    made = Forecaster.load(folder)
    assert made.card == card(declared(), forecaster.sha256(folder / ONNX_FILE))
    assert made.design.names == declared().names
    assert (folder / ONNX_FILE).read_bytes() == onnx


def test_model_is_loaded_as_mlflow_lays_it_out(folder: Path) -> None:
    (folder / EXTRA).mkdir()
    (folder / CARD_FILE).rename(folder / EXTRA / CARD_FILE)
    assert Forecaster.load(folder).card.training_rows == 600


def test_examples_are_saved_with_the_model_and_loaded_wherever_mlflow_puts_them(tmp_path: Path, onnx: bytes) -> None:
    examples = (Example(request={"inputs": [{"series": [1.5, 2.0]}]}, actuals=(3.25, None)),)
    folder = saved(tmp_path / "model", onnx, examples=examples)
    assert Forecaster.load(folder).examples == examples
    (folder / EXTRA).mkdir()
    for name in (CARD_FILE, EXAMPLES_FILE):
        (folder / name).rename(folder / EXTRA / name)
    assert Forecaster.load(folder).examples == examples


def test_a_model_without_examples_is_loaded(loaded: Forecaster) -> None:
    assert loaded.examples == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [('[{"request": {}}]', "0.actuals: Field required"), ("[", "the file: Invalid JSON")],
)
def test_damaged_examples_are_refused_with_the_place(folder: Path, text: str, place: str) -> None:
    (folder / EXAMPLES_FILE).write_text(text)
    with pytest.raises(ModelError) as caught:
        forecaster.verify(folder)
    assert caught.value.message.startswith(f"{folder / EXAMPLES_FILE}: {place}")
    assert caught.value.message.endswith("; import the model again")


def test_saving_fails_without_touching_the_last_model(folder: Path) -> None:
    with pytest.raises(TypeError):
        forecaster.save(folder, card(declared(), "0" * 64), None)  # type: ignore[arg-type]
    assert Forecaster.load(folder).card.training_rows == 600
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", [ONNX_FILE, CARD_FILE])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder) == f"{folder / name} not found: import the model again"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "model") == f"{tmp_path / 'model' / CARD_FILE} not found: import the model again"


def test_onnx_of_another_model_is_refused_with_both_hashes(folder: Path) -> None:
    wanted = forecaster.sha256(folder / ONNX_FILE)
    (folder / ONNX_FILE).write_bytes((folder / ONNX_FILE).read_bytes() + b"\0")
    found = forecaster.sha256(folder / ONNX_FILE)
    assert found != wanted
    assert refused(folder) == (
        f"{folder / ONNX_FILE} does not belong to {CARD_FILE}: sha256 is {found}, wanted {wanted}; import the model again"
    )


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda text: text[:100], "the file: Invalid JSON"),
        (lambda _: "", "the file: Invalid JSON"),
        (lambda text: "\0" + text, "the file: Invalid JSON"),
        (lambda text: text.replace('"scale_floor"', '"floor"'), "scale_floor: Field required"),
        (lambda text: text.replace('"1h"', '"soon"'), "declaration.series.frequency: "),
        (lambda text: text.replace("{", '{"new": 1,', 1), "new: Extra inputs are not permitted"),
    ],
)
def test_damaged_card_is_refused_with_the_place(folder: Path, damage: Callable[[str], str], place: str) -> None:
    path = folder / CARD_FILE
    path.write_text(damage(path.read_text()))
    message = refused(folder)
    assert message.startswith(f"{path}: {place}")
    assert message.endswith("; import the model again")


@pytest.mark.parametrize(
    ("change", "place", "theirs", "ours"),
    [
        (lambda names: ["day", *names[1:]], 0, "day", "step"),
        (lambda names: names[:-1], 9, "nothing", "future_holiday"),
        (lambda names: [*names, "extra"], 10, "extra", "nothing"),
        (lambda names: [*names[:7], names[8], names[7], *names[9:]], 7, "hour", "matched_mean_2"),
    ],
)
def test_model_of_other_columns_is_refused_with_the_first_one(
    folder: Path, change: Callable[[list[str]], list[str]], place: int, theirs: str, ours: str
) -> None:
    edit(folder, lambda whole: whole.update(columns=change(whole["columns"])))
    assert refused(folder) == (
        f"{folder / CARD_FILE}: column {place} is {theirs!r} in the model, and {ours!r} in this code; "
        "serve the model with the code it was built with, or train it again"
    )


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    whole = json.loads((folder / CARD_FILE).read_text())
    change(whole)
    (folder / CARD_FILE).write_text(json.dumps(whole))


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        Forecaster.load(folder)
    assert (caught.value.exit_code, caught.value.status) == (5, 503)
    return caught.value.message


# Forecasts


def test_forecast_is_the_model_times_the_scale(loaded: Forecaster, panel: Panel) -> None:
    origins = loaded.design.origins(panel)[::7]
    made = loaded.forecast(panel, origins)
    rows = loaded.design.rows(panel, origins, loaded.design.origin_table(panel)[:, origins])
    point, spread = loaded.run(rows.inputs)
    assert made.point.shape == made.spread.shape == (origins.size, 3)
    for place in range(origins.size):
        steps = slice(3 * place, 3 * place + 3)
        assert made.point[place].tolist() == (point[steps] * rows.scale[place]).tolist()
        assert made.spread[place].tolist() == (spread[steps] * rows.scale[place]).tolist()


def test_forecast_takes_a_table_that_was_made_already(loaded: Forecaster, panel: Panel) -> None:
    origins = loaded.design.origins(panel)[::7]
    made = loaded.forecast(panel, origins, loaded.design.origin_table(panel)[:, origins])
    assert drawn.same_bits(made.point, loaded.forecast(panel, origins).point)


@pytest.mark.parametrize("threads", [1, 2])
def test_forecasts_of_a_batch_are_those_made_one_at_a_time(folder: Path, panel: Panel, threads: int) -> None:
    loaded = Forecaster.load(folder, threads=threads)
    origins = loaded.design.origins(panel)
    batch, ends = drawn.asked(loaded.design, panel, origins)
    together = loaded.forecast(batch, ends)
    for place, origin in enumerate(origins):
        single, end = drawn.asked(loaded.design, panel, np.array([origin]))
        alone = loaded.forecast(single, end)
        assert drawn.same_bits(alone.point[0], together.point[place])
        assert drawn.same_bits(alone.spread[0], together.spread[place])


@MANY
@given(power=st.integers(-12, 60), data=st.data())
def test_forecast_grows_with_the_series(loaded: Forecaster, panel: Panel, power: int, data: st.DataObject) -> None:
    origin = np.array([data.draw(st.sampled_from(loaded.design.origins(panel)[:150].tolist()))])
    grown = replace(panel, target=panel.target * 2.0**power)
    got, wanted = loaded.forecast(grown, origin), loaded.forecast(panel, origin)
    assert drawn.same_bits(got.point, wanted.point * 2.0**power)
    assert drawn.same_bits(got.spread, wanted.spread * 2.0**power)


def test_spread_has_a_floor(loaded: Forecaster, panel: Panel) -> None:
    origins = loaded.design.origins(panel)
    inputs = loaded.design.rows(panel, origins, loaded.design.origin_rows(panel, origins)).inputs
    spread = loaded.run(inputs)[1]
    assert spread.min() == SPREAD_FLOOR
    assert spread.max() > SPREAD_FLOOR


def test_forecast_of_a_nonnegative_target_is_never_negative(tmp_path: Path, onnx: bytes, panel: Panel) -> None:
    free = Forecaster.load(saved(tmp_path / "free", onnx))
    clipped = Forecaster.load(saved(tmp_path / "clipped", onnx, nonnegative=True))
    origins = free.design.origins(panel)
    before, after = free.forecast(panel, origins), clipped.forecast(panel, origins)
    assert before.point.min() < 0
    assert drawn.same_bits(after.point, np.maximum(before.point, 0.0))
    assert drawn.same_bits(after.spread, before.spread)
    assert free.quantile(before, 0.1).min() < 0
    assert clipped.quantile(after, 0.1).min() == 0


# Quantiles


@MANY
@given(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=5))
def test_quantiles_rise_with_the_level(loaded: Forecaster, panel: Panel, levels: list[float]) -> None:
    made = loaded.forecast(panel, loaded.design.origins(panel)[:20])
    values = [loaded.quantile(made, level) for level in sorted(levels)]
    assert (np.diff(values, axis=0) >= 0).all()


@pytest.mark.parametrize(("column", "level"), list(enumerate(LEVELS)))
def test_quantile_is_the_calibrated_one_at_its_level(
    loaded: Forecaster, panel: Panel, column: int, level: float
) -> None:
    made = loaded.forecast(panel, loaded.design.origins(panel)[:20])
    wanted = made.point + made.spread * np.array(QUANTILES)[:, column]
    assert drawn.same_bits(loaded.quantile(made, level), wanted)


@given(st.lists(st.floats(0.1, 0.9), max_size=5))
def test_quantiles_are_each_levels_in_the_order_asked_for(
    loaded: Forecaster, panel: Panel, levels: list[float]
) -> None:
    made = loaded.forecast(panel, loaded.design.origins(panel)[:3])
    wanted = np.array([loaded.quantile(made, level) for level in levels]).reshape(len(levels), *made.point.shape)
    for _ in range(2):
        assert drawn.same_bits(loaded.quantiles(made, levels), wanted)


@given(st.floats(0.1, 0.9))
def test_calibration_lies_on_the_line_that_numpy_draws(level: float) -> None:
    calibration = Calibration(levels=LEVELS, quantiles=QUANTILES)
    wanted = np.array([np.interp(level, LEVELS, row) for row in QUANTILES])
    np.testing.assert_allclose(calibration.at(level), wanted, rtol=1e-14)


def test_calibration_of_one_level_knows_that_level() -> None:
    calibration = Calibration(levels=(0.5,), quantiles=((1.0,), (2.0,)))
    assert calibration.at(0.5).tolist() == [1.0, 2.0]
    with pytest.raises(RequestError, match=r"wanted 0\.5 to 0\.5"):
        calibration.at(0.6)


def test_quantile_between_two_levels_is_on_the_line() -> None:
    calibration = Calibration(levels=LEVELS, quantiles=QUANTILES)
    assert calibration.at(0.3).tolist() == pytest.approx([-0.75, -0.95, -2.25])


@pytest.mark.parametrize("level", [0.0, 0.0999, 0.9001, 1.0, -1.0, float("nan"), float("inf")])
def test_level_outside_the_calibration_is_refused(loaded: Forecaster, panel: Panel, level: float) -> None:
    made = loaded.forecast(panel, loaded.design.origins(panel)[:1])
    message = f"quantile {level} is outside what was calibrated, wanted 0.1 to 0.9"
    with pytest.raises(RequestError, match=f"^{re.escape(message)}$") as caught:
        loaded.quantile(made, level)
    assert (caught.value.param, caught.value.status) == ("options.quantiles", 400)
