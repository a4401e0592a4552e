"""Test 5: numbers of the service, of training and of the model's file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import onnx
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import given
from hypothesis import strategies as st

from data import forecaster as files
from data.errors import ModelError
from data.forecaster import Forecast, sha256
from data.verdict import Outcome, Verdict
from monitoring import numerics
from monitoring.numerics import Counted
from service import forecasting
from tests.data import project
from tests.monitoring.played import Service
from tests.service import world
from tests.service.world import World

SETTINGS = project.changed().monitoring.numerics
QUIET = Counted(rows=10_000, nonfinite=0, extreme=10, infinite=0)
PARITY = {"export.parity": 1e-7, "backtest.mae": 3.0, "backtest.rmse": 4.0, "backtest.bias": 0.1}


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world.make(world.PLAIN, 0.0, tmp_path_factory.mktemp("town"))


def outcome(counted: Counted) -> Outcome:
    return Verdict.of(numerics.served(counted, SETTINGS)).outcome


def test_numbers_of_a_possible_size_pass() -> None:
    assert outcome(QUIET) is Outcome.PASS


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"nonfinite": 1},
            "1 forecasts and spreads are NaN or infinite (model_output_nonfinite_total), at most 0 (limit)",
        ),
        ({"extreme": 11}, "11 forecasts and spreads exceed ten times the largest value of training"),
        ({"infinite": 1}, "1 features are infinite (model_input_infinite_total)"),
    ],
)
def test_any_number_that_is_none_fails(changes: dict[str, float], text: str) -> None:
    checks = numerics.served(QUIET._replace(**changes), SETTINGS)
    assert [one.text.startswith(text) for one in checks if one.outcome is Outcome.FAIL] == [True]


@given(
    st.builds(
        Counted,
        rows=st.none() | st.just(0.0) | st.floats(1, 1e9),
        nonfinite=st.none() | st.floats(0, 1e9) | st.just(float("nan")),
        extreme=st.none() | st.floats(0, 1e9) | st.just(float("nan")),
        infinite=st.none() | st.floats(0, 1e9) | st.just(float("nan")),
    )
)
def test_passes_only_with_forecasts_and_every_count(counted: Counted) -> None:
    clean = counted.nonfinite == 0 and counted.infinite == 0 and counted.extreme is not None
    enough = bool(counted.rows) and clean and counted.extreme <= SETTINGS.extreme * counted.rows  # type: ignore[operator]
    assert (outcome(counted) is Outcome.PASS) == enough


@pytest.mark.parametrize(
    "changes", [{"rows": 0}, {"rows": None}, {"nonfinite": None}, {"extreme": None}, {"infinite": None}]
)
def test_no_data_is_inconclusive(changes: dict[str, Any]) -> None:
    assert outcome(QUIET._replace(**changes)) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("figures", "wanted", "text"),
    [
        (PARITY, Outcome.PASS, "relative difference between the export and scikit-learn 1e-07 <= 1e-05"),
        (PARITY | {"export.parity": 1e-3}, Outcome.FAIL, "0.001 > 1e-05"),
        (PARITY | {"backtest.mae": float("nan")}, Outcome.FAIL, "backtest.mae is nan"),
        ({"export.parity": 1e-7}, Outcome.FAIL, "backtest.mae, backtest.rmse, backtest.bias of the run was no number"),
        (PARITY | {"export.parity": float("inf")}, Outcome.FAIL, "export.parity is inf"),
        ({"backtest.mae": 3.0}, Outcome.INCONCLUSIVE, "the run has 1 figures and none of the export (export.parity)"),
        ({}, Outcome.INCONCLUSIVE, "the run has 0 figures"),
    ],
)
def test_figures_of_training(figures: dict[str, float], wanted: Outcome, text: str) -> None:
    found = numerics.trained(figures, SETTINGS)
    assert found.outcome is wanted
    assert text in found.text


# The model's file


def spoiled(folder: Path, made: World, attribute: str) -> Path:
    """The model with a NaN among its numbers, and a card that takes it for its own."""
    whole = onnx.load(str(made.folder / files.ONNX_FILE))
    (found,) = [one for one in whole.graph.node[1].attribute if one.name == attribute]
    values = np.array(onnx.numpy_helper.to_array(found.t))
    values[3] = np.nan
    found.t.CopyFrom(onnx.numpy_helper.from_array(values, found.t.name))
    content = whole.SerializeToString()
    files.save(folder, made.forecaster.card, content)
    card = made.forecaster.card.model_copy(update={"onnx_sha256": sha256(folder / files.ONNX_FILE)})
    files.save(folder, card, content)
    return folder


def test_models_own_numbers_are_finite(town: World) -> None:
    found = numerics.numbers(town.folder)
    assert {"point.nodes_values_as_tensor", "spread.target_weights_as_tensor", "calibration", "reference"} <= set(found)
    assert numerics.own(found).outcome is Outcome.PASS


@pytest.mark.parametrize("attribute", ["nodes_values_as_tensor", "target_weights_as_tensor"])
def test_threshold_or_leaf_that_is_no_number_fails(town: World, tmp_path: Path, attribute: str) -> None:
    found = numerics.own(numerics.numbers(spoiled(tmp_path / "model", town, attribute)))
    assert found.outcome is Outcome.FAIL
    assert found.text == f"numbers of the model's file that are NaN or infinite: point.{attribute} has 1"


def test_damaged_file_is_an_error(town: World, tmp_path: Path) -> None:
    files.save(tmp_path / "model", town.forecaster.card, b"nothing")
    with pytest.raises(ModelError, match="does not belong to"):
        numerics.numbers(tmp_path / "model")


def test_file_without_numbers_is_inconclusive() -> None:
    assert numerics.own({}).outcome is Outcome.INCONCLUSIVE


# From a service on


@pytest.fixture
def store(tmp_path: Path, town: World) -> Iterator[None]:
    """BentoML's store with the town's model in it."""
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    with bentoml.models.create("bentocast", labels={"mlflow_version": "7", "run_id": "unknown"}) as made:
        files.save(Path(made.path) / "mlflow_model", town.forecaster.card, (town.folder / files.ONNX_FILE).read_bytes())
    yield
    BentoMLContainer.model_store.reset()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, unused_tcp_port_number: int) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_tcp_port_number}")


@pytest.fixture
def unused_tcp_port_number() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def by_name(service: Service) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for one in numerics.check(service.context()).checks:
        found.setdefault(one.name, []).append(one.outcome)
    return found


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.usefixtures("store", "offline")
def test_quiet_service_passes_but_for_what_cannot_be_read(town: World) -> None:
    service = Service(town)
    service.live(0.1)
    found = by_name(service)
    assert found.pop("training") == [Outcome.INCONCLUSIVE]
    assert found == {
        name: [Outcome.PASS] for name in ("finite outputs", "possible outputs", "finite features", "model file")
    }


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.usefixtures("store", "offline")
def test_nan_among_forecasts_is_found(town: World) -> None:
    service = Service(town)
    service.live(0.1)
    _, seen = forecasting.answer(town.forecaster, [town.ask(town.history())])
    point = seen.forecast.point.copy()
    point[0, 3] = np.nan
    service.metrics.model.watch(replace(seen, forecast=Forecast(point, seen.forecast.spread)))
    service.metrics.tick()
    service.read()
    assert by_name(service)["finite outputs"] == [Outcome.FAIL]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.usefixtures("store", "offline")
def test_forecasts_beyond_all_of_training_and_infinite_features_are_found(town: World) -> None:
    reference = town.forecaster.card.reference.model_copy(update={"largest": float(town.panel.size.max())})
    card = town.forecaster.card.model_copy(update={"reference": reference})
    service = Service(replace(town, forecaster=type(town.forecaster)(card, town.forecaster._session)))
    service.live(0.1, lambda history: replace(history, values=history.values * 1_000))
    found = by_name(service)
    assert found["possible outputs"] == [Outcome.FAIL]
    assert found["finite outputs"] == found["finite features"] == [Outcome.PASS]
    values = np.full(town.history().values.size, 1e-9)
    values[-50] = 1e99  # in the mean of four days, not in the scale
    wild = replace(town.history(), values=values)
    service.live(0.1, lambda _: wild)
    assert by_name(service)["finite features"] == [Outcome.FAIL]


def test_nothing_served_is_inconclusive(town: World) -> None:
    service = Service(town)
    service.pages.now += 7_200
    assert numerics.check(replace(service.context(), now=service.pages.now)).outcome is Outcome.INCONCLUSIVE
