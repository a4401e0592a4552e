"""A browser, and a Bento whose page it opens."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data import forecaster as files
from data.forecaster import Calibration, Example
from tests.service.live import BENTOML, STORE, serving
from tests.service.page.browser import Page, came, command
from tests.service.world import World

CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def shown(city: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with two examples, calibrated for the intervals that the page shows."""
    card = city.forecaster.card
    levels = (0.02, *card.calibration.levels[1:-1], 0.98)
    calibration = Calibration(levels=levels, quantiles=card.calibration.quantiles)
    examples = [
        Example(
            request=city.document(city.history(place)) | {"options": {"horizon": 12}}, actuals=(*came(city, place),)
        )
        for place in (0, 1)
    ]
    folder = tmp_path_factory.mktemp("shown") / "model"
    onnx = (city.folder / files.ONNX_FILE).read_bytes()
    files.save(folder, card.model_copy(update={"calibration": calibration}), onnx, examples)
    return folder


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    webdriver: Any = pytest.importorskip("selenium.webdriver", reason="no selenium: make venv")
    options = webdriver.ChromeOptions()
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def bento(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Bento, served from a folder that has nothing of the project."""
    home, elsewhere = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    command(home, sys.executable, "-c", STORE, str(shown))
    tag = command(home, BENTOML, "build", "--output", "tag").strip().removeprefix("__tag__:")
    with serving(home, dict(os.environ), elsewhere, tag) as server:
        yield server.url


@pytest.fixture
def page(driver: Any, bento: str) -> Iterator[Page]:
    made = Page(driver, bento).loaded()
    yield made
    assert made.console() == []
