"""The page: what it says when all is well, when nothing can be had, and how it looks in a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import params
from data.verdict import Check, Outcome, Verdict
from monitoring import drawing, page
from monitoring.context import Context
from monitoring.drawing import Line
from monitoring.metrics import MetricsError
from monitoring.prometheus import Prometheus
from service.record import ForecastEntry, Recorder, RecordSettings
from service.record.pairs import pairs
from tests.monitoring import servers
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
CONFIG = params.load(ROOT / "params.yaml")
ODD = "<script>alert('feature')</script>"


def verdicts() -> dict[str, Verdict | None]:
    """One of each kind, and one that has not ended."""
    made: dict[str, Verdict | None] = {
        outcome.value: Verdict.of([Check(name="one", outcome=outcome, text=f"{outcome} because of 3 > 2 & <b>")])
        for outcome in Outcome
    }
    return made | {"late": None}


def source(url: str, record: str | None = None, found: Any = verdicts) -> page.Source:
    now = time.time()
    metrics = Prometheus(url, now)
    return page.Source(Context(CONFIG, now, metrics, record), metrics, found, 3600.0)


def text(document: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", document, flags=re.DOTALL))


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    def unknown() -> dict[str, Verdict | None]:
        raise MetricsError("the exporter is away")

    url = f"http://127.0.0.1:{free_ports()}"
    said = text(page.document(source(url, f"sqlite:///{tmp_path / 'none.db'}", unknown)))
    assert "UNKNOWN The seven tests" in said
    assert "the exporter is away" in said
    assert said.count(f"Prometheus does not answer at {url}") == 6
    assert "none.db: there is no such file: has the service kept a record there?" in said


def test_verdicts_are_on_top_with_their_reasons() -> None:
    said = text(page.document(source(f"http://127.0.0.1:{free_ports()}")))
    assert "ERROR The seven tests: 1 pass, 1 fail, 1 inconclusive, 1 error" in said
    assert "fail fail fail because of 3 &gt; 2 &amp; &lt;b&gt;" in said
    assert "late running has not ended yet" in said
    assert said.index("error because of") < said.index("Service")


@pytest.mark.parametrize(
    ("found", "worst"),
    [
        ({"a": Verdict.of([Check(name="", outcome=Outcome.PASS, text="")])}, "PASS"),
        ({"a": Verdict.of([Check(name="", outcome=Outcome.PASS, text="")]), "b": None}, "RUNNING"),
        ({"a": Verdict.of([Check(name="", outcome=Outcome.PASS, text="")]), "b": Verdict.of([])}, "INCONCLUSIVE"),
        ({"a": None}, "INCONCLUSIVE"),
    ],
)
def test_it_is_as_good_as_the_worst_test(found: dict[str, Verdict | None], worst: str) -> None:
    said = text(page.document(source(f"http://127.0.0.1:{free_ports()}", found=lambda: found)))
    assert f"{worst} The seven tests" in said


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.0123, "percentunit", "1.23 %"), (0.02, "s", "20 ms"), (7_200, "s", "2 h"), (1_234.5, "short", "1,234"), (0, "s", "0")],
)  # fmt: skip
def test_numbers_are_for_people(value: float, unit: str, shown: str) -> None:
    assert drawing.text(value, unit) == shown


def test_lines_are_where_their_values_are() -> None:
    made = drawing.lines([Line("one", [(0, 0), (50, 10), (100, float("nan"))])], 0, 100, "short", limit=5)
    (path,) = re.findall(r'<path class="line line0" d="([^"]+)"', made)
    bottom, top = drawing.HEIGHT - drawing.BOTTOM, drawing.TOP
    middle = (drawing.LEFT + drawing.WIDTH - drawing.RIGHT) / 2
    assert path == f"M{drawing.LEFT:.1f} {bottom:.1f}L{middle:.1f} {top:.1f}"
    assert (
        f'class="limit" x1="{drawing.LEFT}" x2="{drawing.WIDTH - drawing.RIGHT}" y1="{(top + bottom) / 2:.1f}"' in made
    )
    assert "one <b>10</b>" in made


def test_a_line_is_broken_where_values_are_missing() -> None:
    points = [(float(at), 1.0) for at in (0, 1, 2, 3, 60, 61)]
    assert drawing.lines([Line("", points)], 0, 100, "short").count("M") == 2


def test_nothing_to_draw_is_said() -> None:
    assert "Nothing was counted" in drawing.lines([Line("a", [(0, float("nan"))])], 0, 1, "short")


def test_actual_values_that_are_months_late_are_drawn_and_no_more_than_their_days_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def noted(*arguments: Any, **named: Any) -> Any:
        asked.append((*arguments[1:], named))
        return pairs(*arguments, **named)

    monkeypatch.setattr(page, "pairs", noted)
    drawn = page.document(source(f"http://127.0.0.1:{free_ports()}", recorded(tmp_path, hours_ago=24 * 60)))
    assert "what came" in drawn
    assert "<h3>s01</h3>" in drawn
    ((begin, end, named),) = asked
    assert end - begin <= np.timedelta64(14 * 24 * 3_600 + 1, "s")
    assert named == {"series": "s01"}


# With a real Prometheus, in a real browser


def recorded(folder: Path, hours_ago: int = 1) -> str:
    """A record with a day's forecast and what came of it, the last hour so long ago."""
    url = f"sqlite:///{folder / 'record.db'}"
    recorder = Recorder.open(RecordSettings(url=url))
    origin = np.datetime64(int(time.time()) // 3600 * 3600, "s") - np.timedelta64(24 + hours_ago, "h")
    mean = 20 + 10 * np.sin(np.arange(24) / 4)
    entry = ForecastEntry("r", "s01", "m", "1", "b:1", time.time(), origin, 3600, mean, {})
    recorder.put_many((entry,))
    times = origin + np.arange(1, 25) * np.timedelta64(3600, "s")
    try:
        asyncio.run(recorder.put_actuals(["s01"] * times.size, times, mean + 1))
    finally:
        recorder.close(10)
    return url


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A page of series that a Prometheus holds."""
    folder = tmp_path_factory.mktemp("page")
    shown = [f'service_version:requests:rate5m{{service_version="{name}"}} {ord(name)}' for name in "abcdefghij"]
    shown += ['service_version:request_errors:ratio_rate5m{service_version="a"} 0.002']
    shown += [
        f'feature:model_feature:psi1h{{feature="{name}"}} {psi}'
        for name, psi in (("lag_1", 0.5), ("wind", 0.03), ("few", 3))
    ]
    shown += [f'feature:model_feature:psi_noise1h{{feature="{name}"}} 0.04' for name in ("lag_1", "wind")]
    shown += [f'feature:model_feature:psi1h{{feature="{ODD}"}} 0.01']
    with servers.pages({"/metrics": ["\n".join(shown) + "\n"]}) as served:
        jobs = [{"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}]}]
        config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": jobs}
        with servers.prometheus(folder / "p", config) as running:
            servers.wait_for(lambda: bool(running.at().last("feature:model_feature:psi1h")), "nothing is scraped")
            file = folder / "page.html"
            file.write_text(page.document(source(running.url, recorded(folder))), encoding="utf-8")
            yield file


@pytest.mark.services
def test_everything_is_on_it(drawn: Path) -> None:
    document = drawn.read_text()
    said = text(document)
    assert "0.500 drifts" in said
    assert "0.030 by chance" in said
    assert "3.000 too few values" in said
    assert "and 4 more" in said
    assert "limit 0.1 %" in said
    assert "s01" in said
    assert "what came" in said
    assert "No alert fires." in said
    assert "<script" not in document
    assert not re.findall(r"(?:src|href)=", document)


@pytest.mark.services
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_fits_and_can_be_read(
    drawn: Path, width: int, scheme: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    webdriver: Any = pytest.importorskip("selenium.webdriver", reason="no selenium: make venv")
    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(drawn.as_uri())
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        back = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
        assert driver.find_elements("css selector", "svg path.line0")
        picture = drawn.with_name(f"{scheme}.png")
        driver.save_screenshot(str(picture))
        assert picture.stat().st_size > 10_000
    finally:
        driver.quit()
