"""Test 3: sampled requests, from a worker's keeper through the record to the training path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest
import sqlalchemy
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from data import forecaster as files
from data.forecaster import Forecaster
from data.monitoring import Skew
from data.verdict import Outcome
from monitoring import skew
from service import forecasting
from service.histories import History
from service.keeping import Keeper
from service.record import RecordSettings
from service.record.sampled import sampled
from service.record.samples import MAX_BYTES, SampleEntry, decode, encode
from tests.monitoring.played import Service
from tests.service import world
from tests.service.world import World

SETTINGS = Skew(requests=3)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world.make(world.CITY, 0.0, tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world.make(world.PLAIN, 12.0, tmp_path_factory.mktemp("bare"))


def keep(made: World, url: str, *histories: History, steps: int | None = None, **changes: Any) -> None:
    """One worker that answers one request for each history and ends."""

    async def live() -> None:
        settings = RecordSettings(url=url, **{"sample_seconds": 1e-9, "flush_seconds": 0.01, **changes})
        keeper = Keeper(made.served, settings, CollectorRegistry())
        await keeper.open()
        for history in histories:
            question = made.ask(history, horizon=steps)
            (answer,), _ = forecasting.answer(made.forecaster, [question])
            keeper.keep(question, answer)
            await asyncio.sleep(0.02)
        await keeper.close(10)

    asyncio.run(live())


def samples(made: World, url: str) -> list[SampleEntry]:
    return sampled(url, made.served.model_version, made.served.bento, 0.0, 100)


def with_gaps(history: History) -> History:
    values = history.values.copy()
    values[[2, 3, 40, -1]] = np.nan
    past = {name: covariate.copy() for name, covariate in history.past_covariates.items()}
    for covariate in past.values():
        covariate[[5, 6, -1]] = np.nan
    return replace(history, values=values, past_covariates=past)


@pytest.mark.parametrize("steps", [None, 5])
def test_training_makes_the_same_features_to_the_last_bit(town: World, tmp_path: Path, steps: int | None) -> None:
    url, context = f"sqlite:///{tmp_path}/record.db", town.forecaster.design.context
    given = [
        town.history(0),
        town.history(1, length=context + 30, back=9),
        with_gaps(town.history(2, length=context + 9)),
    ]
    keep(town, url, *given, steps=steps)
    found = samples(town, url)
    assert {one.series for one in found} == {history.name for history in given}
    verdict = skew.judge(found, town.forecaster.design, SETTINGS)
    assert verdict.passed, str(verdict)
    assert verdict.checks[0].text == (
        f"{len(town.forecaster.design.names)} features and the scale agree to the last bit in 3 requests"
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_gaps_anywhere_are_filled_as_training_fills_them(bare: World, data: st.DataObject) -> None:
    made = bare.filling(data.draw(st.sampled_from(["zero", "forward", "interpolate"])))
    history = bare.history(0, length=bare.forecaster.design.context + 20)
    places = data.draw(st.lists(st.integers(0, history.values.size - 1), max_size=60))
    values = history.values.copy()
    values[places] = np.nan
    values[:21][np.isnan(values[:21])] = 1.0 if data.draw(st.booleans()) else values[:21][np.isnan(values[:21])]
    sent = replace(history, values=values)
    if np.isnan(values[:21]).all():
        return
    question = made.ask(sent)
    (answer,), _ = forecasting.answer(made.forecaster, [question])
    got: list[SampleEntry] = []
    keeper = Keeper(made.served, RecordSettings(url="sqlite:///unused.db"), CollectorRegistry())
    keeper._sample(_Catcher(got), question, answer, "r", 0.0)  # type: ignore[arg-type]
    assert got
    assert skew.judge(got, made.forecaster.design, Skew(requests=1)).passed


class _Catcher:
    """Takes samples in the recorder's place."""

    def __init__(self, got: list[SampleEntry]) -> None:
        self.put_sample = got.append


def test_altered_feature_code_is_found(town: World, tmp_path: Path) -> None:
    """A service whose moving averages are off by the last bit, and whose rain is a step late."""
    url, names = f"sqlite:///{tmp_path}/record.db", town.forecaster.design.names
    keep(town, url, *town.histories(3))
    altered = []
    for one in samples(town, url):
        inputs = one.inputs.reshape(-1, len(names)).copy()
        column = inputs[:, names.index("mean_1d")]
        inputs[:, names.index("mean_1d")] = np.nextafter(column, np.float32(np.inf))
        inputs[:, names.index("future_temperature")] = np.roll(inputs[:, names.index("future_temperature")], 1)
        altered.append(one._replace(inputs=inputs.ravel(), scale=np.nextafter(one.scale, 0)))
    verdict = skew.judge(altered, town.forecaster.design, SETTINGS)
    assert verdict.outcome is Outcome.FAIL
    texts = [one.text for one in verdict.checks]
    assert {text.partition(" ")[0] for text in texts} == {"mean_1d", "future_temperature", "scale"}
    assert any(
        "mean_1d differs in 3 of 3 requests: series '" in text and "step 1: the service made" in text for text in texts
    )


def test_one_differing_request_is_enough_to_fail(town: World, tmp_path: Path) -> None:
    keep(town, url := f"sqlite:///{tmp_path}/record.db", town.history())
    (one,) = samples(town, url)
    failed = skew.judge([one._replace(scale=2.0)], town.forecaster.design, SETTINGS)
    assert failed.outcome is Outcome.FAIL
    assert failed.checks[0].numbers == {"requests": 1, "value": 1, "limit": 0}
    assert skew.judge([one._replace(inputs=one.inputs[1:])], town.forecaster.design, SETTINGS).outcome is Outcome.FAIL


def test_too_few_requests_are_inconclusive(town: World, tmp_path: Path) -> None:
    assert skew.judge([], town.forecaster.design, SETTINGS).outcome is Outcome.INCONCLUSIVE
    keep(town, url := f"sqlite:///{tmp_path}/record.db", *town.histories(2))
    verdict = skew.judge(samples(town, url), town.forecaster.design, SETTINGS)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "2 sampled requests of the last 28d in the record, wanted 3 or more" in str(verdict)


# What the service keeps


def test_sample_is_taken_once_in_a_while_and_not_at_all_when_off(town: World, tmp_path: Path) -> None:
    keep(town, url := f"sqlite:///{tmp_path}/seldom.db", *town.histories(5), sample_seconds=3_600)
    assert len(samples(town, url)) == 1
    keep(town, url := f"sqlite:///{tmp_path}/off.db", *town.histories(5), sample_seconds=None)
    assert samples(town, url) == []


def test_large_request_is_not_kept_whole(town: World, tmp_path: Path) -> None:
    long = town.history(0, length=1_200, back=20)
    keep(town, url := f"sqlite:///{tmp_path}/long.db", long)
    (one,) = samples(town, url)
    assert one.values.size == town.forecaster.design.context
    assert one.size_bytes < MAX_BYTES


def test_record_of_an_earlier_version_gets_the_table_and_goes_on(town: World, tmp_path: Path) -> None:
    keep(town, url := f"sqlite:///{tmp_path}/record.db", town.history())
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE samples")
        before = connection.exec_driver_sql("SELECT count(*) FROM forecasts").scalar()
    assert samples(town, url) == []
    keep(town, url, town.history(1))
    assert len(samples(town, url)) == 1
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM forecasts").scalar() == (before or 0) + 1
        assert connection.exec_driver_sql("SELECT max(version) FROM record_version").scalar() == 1


NUMBERS = st.floats(width=64)


@given(
    st.lists(NUMBERS, min_size=1, max_size=5), st.lists(st.floats(width=32), min_size=1, max_size=5), st.integers(0, 2)
)
def test_numbers_come_back_bit_for_bit(values: list[float], inputs: list[float], covariates: int) -> None:
    def floats(numbers: list[float]) -> NDArray[np.float64]:
        return np.array(numbers, np.float64)

    entry = SampleEntry(
        request_id="r",
        series="s",
        model_name="m",
        model_version="1",
        bento="b:1",
        created_at=1.5,
        origin=np.datetime64("2024-05-01T13:00:00", "s"),
        step_seconds=60,
        values=floats(values),
        past={str(place): floats(values[::-1]) for place in range(covariates)},
        future={str(place): floats(values) for place in range(2 - covariates)},
        inputs=np.array(inputs, np.float32),
        scale=values[0],
    )
    back = decode(type("Row", (), encode(entry)))
    assert repr(entry.scale) == repr(back.scale)
    assert entry.values.tobytes() == back.values.tobytes()
    assert entry.inputs.tobytes() == back.inputs.tobytes()
    for which in ("past", "future"):
        theirs, ours = getattr(back, which), getattr(entry, which)
        assert {name: part.tobytes() for name, part in theirs.items()} == {k: v.tobytes() for k, v in ours.items()}
    assert (back.origin, back.step_seconds, back.series) == (entry.origin, 60, "s")


# The whole test


@pytest.fixture
def store(tmp_path: Path, town: World) -> Iterator[None]:
    """BentoML's store with the town's model in it."""
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    with bentoml.models.create("bentocast", labels={"mlflow_version": "7", "run_id": "unknown"}) as made:
        files.save(Path(made.path) / "mlflow_model", town.forecaster.card, (town.folder / files.ONNX_FILE).read_bytes())
    yield
    BentoMLContainer.model_store.reset()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.usefixtures("store")
def test_from_the_service_to_the_verdict(town: World, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/record.db"
    service = Service(town)
    context = replace(service.context(skew__requests=2), record=url)
    served = replace(town, forecaster=Forecaster(town.forecaster.card, town.forecaster._session))
    served.__dict__["served"] = service.served
    keep(served, url, *town.histories(3))
    assert skew.check(context).passed, str(skew.check(context))
    other = replace(context, params=service.context(skew__requests=4).params)
    assert skew.check(other).outcome is Outcome.INCONCLUSIVE
    assert "there is no record" in str(skew.check(replace(context, record=None)))
    newer = Service(town, version="8")
    verdict = skew.check(replace(newer.context(), record=url))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "BentoML's store holds no model 'bentocast' of version 8" in str(verdict)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
@pytest.mark.usefixtures("store")
def test_samples_of_long_ago_are_no_pass(town: World, tmp_path: Path) -> None:
    """Sampling was switched off, or the record broke, a week ago."""
    url = f"sqlite:///{tmp_path}/record.db"
    keep(town, url, *town.histories(3))
    service = Service(town, town.served.model_version, town.served.bento)
    for days, outcome in ((6, Outcome.PASS), (8, Outcome.INCONCLUSIVE)):
        service.now = time.time() + days * 86_400
        service.read()
        verdict = skew.check(replace(service.context(skew__window="7d", skew__requests=3), record=url))
        assert verdict.outcome is outcome, str(verdict)
    assert str(verdict).startswith("INCONCLUSIVE: 0 sampled requests of the last 7d in the record, wanted 3 or more")
