"""The page at `/`: what its files may hold, and the page itself in a real browser, before a real Bento."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from prometheus_client import CollectorRegistry

from data import forecaster as files
from data.forecaster import Calibration, Example, Forecaster
from service import endpoints, keys
from service.http import Front
from service.metrics import Metrics
from service.proto import forecast_pb2, inference_pb2
from tests.ports import free_ports
from tests.service.world import World

ROOT = Path(__file__).parents[2]
PAGE = endpoints.FILES
BENTOML = str(Path(sys.executable).with_name("bentoml"))
READY_SECONDS, END_SECONDS = 60, 20
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
NOTHING = "\N{EN DASH}"
LEVELS = ["0.025", "0.1", "0.9", "0.975"]

#: Puts a folder into BentoML's store as `bentoml.mlflow.import_model` lays it out.
STORE = """
import pathlib, shutil, sys
import bentoml
labels = {"mlflow_name": "bentocast", "mlflow_version": "7", "run_id": "run-5", "git_commit": "0" * 40, "data_hash": "md5-1"}
with bentoml.models.create("bentocast", module="bentoml.mlflow", labels=labels) as model:
    shutil.copytree(sys.argv[1], pathlib.Path(model.path) / "mlflow_model")
"""

# The files


def sources(*suffixes: str) -> list[Path]:
    return [path for path in sorted(PAGE.iterdir()) if path.suffix in suffixes]


class Tags(HTMLParser):
    """Every tag of a document with its attributes, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inside += data.strip()


@pytest.fixture(scope="module")
def index() -> Tags:
    return Tags((PAGE / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sources(".html"), ids=lambda path: path.name)
def test_no_document_has_anything_inline(path: Path) -> None:
    """The policy would not let it run."""
    document = Tags(path.read_text(encoding="utf-8"))
    assert document.inside == ""
    assert not [name for _, given in document.tags for name in given if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("path", sources(".html", ".js", ".css", ".svg"), ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    named = re.findall(r"(?:https?:)?//[\w.-]+\.[\w/]+", path.read_text(encoding="utf-8"))
    assert set(named) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for


@pytest.mark.parametrize("path", sources(".js"), ids=lambda path: path.name)
def test_no_script_makes_html_or_code_out_of_data(path: Path) -> None:
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|\beval\b|Function\("
    )
    assert not re.findall(ways, path.read_text(encoding="utf-8"))


def test_every_file_that_is_named_is_there(index: Tags) -> None:
    links = [given[name] for tag, given in index.tags for name in ("src", "href") if name in given and tag != "a"]
    imports = [f"page/{name}" for path in sources(".js") for name in re.findall(r'from "\./([^"]+)"', path.read_text())]
    assert len(links) == 3
    assert len(imports) >= 8
    for link in (*links, *imports):
        assert (PAGE.parent / str(link)).is_file(), link


def test_every_control_has_a_label(index: Tags) -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert index.tags[0] == ("html", {"lang": "en"})
    inside = "".join(re.findall(r"<label.*?</label>", text, re.DOTALL))
    for tag, given in index.tags:
        if tag in ("input", "select", "textarea"):
            assert (
                f'id="{given.get("id")}"' in inside
                or f'value="{given.get("value")}"' in inside
                or (f'<label for="{given["id"]}">' in text)
            )


# What the service says to the page


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


def came(city: World, place: int) -> list[float]:
    """What really came after `city.history(place)`."""
    origin = city.origin(place)
    made: list[float] = city.panel.target[origin + 1 : origin + 13].tolist()
    return made


async def told(model: World, path: str, headers: dict[str, str] | None = None, **settings: Any) -> httpx.Response:
    async def never(*_: Any) -> None:
        raise AssertionError

    worker, metrics = model.worker(**settings), Metrics(model.served, CollectorRegistry())
    transport = httpx.ASGITransport(Front(never, lambda: worker, lambda: metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get(path, headers=headers)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", *(f"/page/{path.name}" for path in sources(".html", ".js", ".css", ".svg"))])
async def test_every_file_comes_with_a_strict_policy(city: World, path: str) -> None:
    answer = await told(city, path, {"accept": "text/html"})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert answer.status_code == 200
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_swagger_ui_alone_may_have_styles_in_its_page(city: World) -> None:
    policy = (await told(city, "/docs")).headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self' 'unsafe-inline'" in policy


@pytest.mark.anyio
async def test_examples_are_told_and_can_be_asked(city: World, shown: Path) -> None:
    model = World(Forecaster.load(shown), city.panel, shown)
    examples = (await told(model, "/v1/timeseries/examples")).json()["examples"]
    assert [example["request"]["inputs"][0]["name"] for example in examples] == ["s01", "s02"]
    assert [example["actuals"] for example in examples] == [came(city, 0), came(city, 1)]
    assert (await told(city, "/v1/timeseries/examples")).json() == {"examples": []}


@pytest.mark.anyio
async def test_examples_need_a_key_where_forecasts_do(city: World, tmp_path: Path) -> None:
    """They are values of somebody's table."""
    key, line = keys.make("tester")
    (tmp_path / "keys").write_text(line + "\n")
    for path in ("/v1/timeseries/examples", "/v1/timeseries/models"):
        assert (await told(city, path, keys_file=tmp_path / "keys")).status_code == 401
        assert (await told(city, path, {"x-api-key": key}, keys_file=tmp_path / "keys")).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("settings", "port"), [({"port": 4000}, 4001), ({"grpc_port": 9}, 9), ({"grpc": False}, None)])
async def test_models_says_where_grpc_is(city: World, settings: dict[str, Any], port: int | None) -> None:
    (model,) = (await told(city, "/v1/timeseries/models", **settings)).json()["models"]
    assert model["grpc_port"] == port


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


# In a browser


class Page:
    """A browser that shows the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address
        self.size(1280, 900)
        driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"], "origin": address})
        driver.get(address)
        self.wait(lambda: self.run("return document.fonts.status === 'loaded' && !document.activeElement.disabled"))

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def all(self, css: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", css)
        return found

    def one(self, css: str) -> Any:
        (found,) = self.all(css)
        return found

    def text(self, css: str) -> str:
        text: str = self.one(css).get_property("textContent")
        return text

    def wait(self, done: Callable[[], Any], seconds: float = 10) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: done())

    def loaded(self) -> Page:
        """Wait until the service has told what it serves."""
        self.wait(lambda: not self.one("#loaded").get_property("inert"))
        return self

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def paste(self, text: str) -> None:
        """Put text into the table as a paste does: at once."""
        self.one("#by-table").click()
        self.run(
            "const table = document.querySelector('#table'); table.value = arguments[0];"
            "table.dispatchEvent(new Event('input', { bubbles: true }))",
            text,
        )

    def forecast(self) -> None:
        self.one("#forecast").click()
        self.wait(lambda: " steps forecast in " in self.text("#said"))

    def numbers(self) -> dict[str, list[float]]:
        """The table, as the rows of an answer."""
        rows = self.run(
            "return [...document.querySelectorAll('#numbers tr')].map((row) => [...row.querySelectorAll('td')]"
            ".map((cell) => [...cell.querySelectorAll('data')].map((data) => Number(data.value))))"
        )
        mean, actual, narrow, wide = zip(*rows, strict=True)
        columns = {"mean": mean, "actual": actual, "80": narrow, "95": wide}
        flat = {name: list(itertools.chain.from_iterable(column)) for name, column in columns.items()}
        return {
            "mean": flat["mean"],
            "actual": flat["actual"],
            **dict(zip(LEVELS, (flat["95"][::2], flat["80"][::2], flat["80"][1::2], flat["95"][1::2]), strict=True)),
        }

    def snippet(self, protocol: str, language: str) -> str:
        """What the button copies."""
        (tab,) = [tab for tab in self.all("[role=tab]") if tab.text == protocol]
        tab.click()
        self.one(f"input[value={language}]").click()
        self.one("#copy").click()
        self.wait(lambda: self.text("#copied") == "Copied.")
        copied: str = self.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
        assert copied == self.text("#code")
        return copied

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


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


@contextlib.contextmanager
def serving(home: Path, folder: Path, *target: str, **settings: str) -> Iterator[str]:
    """`bentoml serve` in a process of its own; gives its address once it is ready."""
    port = free_ports()
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"BENTOML_HOME": str(home), "BENTOCAST_GRPC_PORT": str(port + 1), **settings}
    log = home / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [BENTOML, "serve", *target, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def command(home: Path, *words: str) -> str:
    environment = os.environ | {"BENTOML_HOME": str(home)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bento(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Bento, served from a folder that has nothing of the project."""
    home, elsewhere = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    command(home, sys.executable, "-c", STORE, str(shown))
    tag = command(home, BENTOML, "build", "--output", "tag").strip().removeprefix("__tag__:")
    with serving(home, elsewhere, tag) as address:
        yield address


@pytest.fixture
def page(driver: Any, bento: str) -> Iterator[Page]:
    made = Page(driver, bento).loaded()
    yield made
    assert made.console() == []


def api(address: str, document: dict[str, Any], **headers: str) -> dict[str, list[float]]:
    """The API's own answer, as the page's table has it."""
    document = document | {"options": {"horizon": 12, "quantiles": [float(level) for level in LEVELS]}}
    answer = httpx.post(f"{address}/v1/timeseries/forecast", json=document, headers=headers, trust_env=False)
    (content,) = answer.json()["outputs"][0]["content"]
    made: dict[str, list[float]] = {"mean": content["mean_forecast"], **content["quantiles"]}
    return made


def table(city: World, place: int = 0, *, ahead: bool = True) -> str:
    """A series as a table to paste, with the covariates known ahead, or with the values instead."""
    history, names = city.history(place), ("rain", "workingday", "temperature")
    origin = city.origin(place)
    rows = range(origin + 1 - history.values.size - 12, origin + 13)
    lines = ["timestamp,value,other," + ",".join(names)]
    for row in rows:
        known = row <= origin or not ahead
        value = city.panel.target[row] if known else ""
        covariates = [city.panel.covariates[name][row] if known or name != "rain" else "" for name in names]
        lines.append(",".join(map(str, [city.panel.times[row], value, "x", *covariates])))
    return "\n".join(lines)


def swapped(lines: list[str]) -> list[str]:
    return [*lines[:5], lines[6], lines[5], *lines[7:]]


def edited(place: int, old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[:place], lines[place].replace(old, new, 1), *lines[place + 1 :]]


BROKEN: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("no header", lambda lines: lines[1:], "Line 1: no column timestamp, value, rain, workingday, temperature: got 2024-"),
    ("no covariate", edited(0, "rain", "snow"), "Line 1: no column rain: got timestamp, value, other, snow,"),
    ("a bad time", edited(2, "2024-", "24-"), 'Line 3, timestamp: got "24-'),
    ("no such month", edited(2, "2024-04-", "2024-13-"), 'Line 3, timestamp: got "2024-13-'),
    ("no such day", edited(2, "2024-04-", "2024-02-3"), 'Line 3, timestamp: got "2024-02-3'),
    ("a bad number", edited(9, ",", ",1.5.2"), 'Line 10, value: got "1.5.2'),
    ("off the grid", edited(9, ":00:00", ":30:00"), "wanted whole steps of 1h after the first line."),
    ("out of order", swapped, "wanted a time after the line before it: one series, oldest first."),
    ("too short", lambda lines: [lines[0], *lines[-60:]], "The history has 48 rows, wanted 102 or more"),
    ("nothing ahead", lambda lines: lines[:-12], "temperature: got 0 values after the last value at 2024-04-30T11:00:00"),
    ("some ahead", lambda lines: lines[:-3], "wanted 12: add lines with an empty value and the covariates known ahead"),
]  # fmt: skip


@pytest.mark.services
class TestBrowser:
    """A person at the page."""

    def test_the_numbers_are_the_apis(self, page: Page, city: World, bento: str) -> None:
        assert page.text("#numbers") == "No forecast yet."
        page.one("#example option:nth-child(2)").click()
        assert page.text("#plot-title") == "rides, s02"
        page.forecast()
        assert page.numbers() == api(bento, city.document(city.history(1))) | {"actual": came(city, 1)}
        assert "trained on this series" in page.text("#numbers-note")

    def test_the_plot_shows_the_numbers(self, page: Page, city: World, bento: str) -> None:
        """Read back by the ticks of its own axis."""
        page.forecast()
        wanted = api(bento, city.document(city.history(0)))
        read = value_of(page)
        assert read(points(page, ".mean")) == pytest.approx(wanted["mean"], abs=0.1)
        assert read(points(page, ".history")) == pytest.approx(city.history(0).values[-36:], abs=0.1)
        dots = np.array(
            [[float(dot.get_attribute(name)) for name in ("cx", "cy")] for dot in page.all("#plot .actual")]
        )
        assert read(dots) == pytest.approx(came(city, 0), abs=0.1)
        for name, low, high in (("95", "0.025", "0.975"), ("80", "0.1", "0.9")):
            ends = read(points(page, f".band-{name}"))[::2]
            assert ends == pytest.approx([*wanted[high], *reversed(wanted[low])], abs=0.1)

    def test_fewer_steps_and_more_history(self, page: Page, city: World, bento: str) -> None:
        steps = page.one("#steps")
        steps.clear()
        steps.send_keys("5")
        page.one("#shown option[value=Infinity]").click()
        page.forecast()
        assert page.numbers()["mean"] == api(bento, city.document(city.history(0)))["mean"][:5]
        assert points(page, ".history").shape == (102, 2)

    def test_a_pasted_table_is_forecast(self, page: Page, city: World, bento: str) -> None:
        page.paste(table(city))
        assert "102 rows of history from " in page.text("#said")
        page.forecast()
        assert page.numbers() == api(bento, city.document(city.history(0))) | {"actual": []}

    @pytest.mark.parametrize("mark", [";", "\t"])
    def test_a_table_from_a_spreadsheet(self, page: Page, city: World, bento: str, mark: str) -> None:
        lines = ("\ufeff" + table(city)).replace(",", mark).replace("x", '"a ""b"""').splitlines()
        page.paste("\r\n".join(line.replace("T", " ", 1) for line in lines) + "\r\n\r\n")
        page.forecast()
        assert page.numbers() == api(bento, city.document(city.history(0))) | {"actual": []}

    def test_the_last_values_of_a_table_can_be_forecast_again(self, page: Page, city: World, bento: str) -> None:
        page.paste(table(city, ahead=False))
        assert page.text("#said").startswith("temperature: got 0 values after the last value")
        page.one("#again").click()
        page.forecast()
        assert page.numbers() == api(bento, city.document(city.history(0))) | {"actual": came(city, 0)}

    def test_gaps_are_sent_as_missing(self, page: Page, city: World, bento: str) -> None:
        lines = table(city).splitlines()
        lines[60] = re.sub(r",[^,]*", ",", lines[60], count=1)
        del lines[80:83]
        page.paste("\n".join(lines))
        page.forecast()
        history = city.history(0)
        for place in (60 - 13, *range(80 - 13, 83 - 13)):
            history.values[place] = np.nan
        history.past_covariates["rain"][80 - 13 : 83 - 13] = np.nan
        history.past_covariates["workingday"][80 - 13 : 83 - 13] = np.nan
        assert page.numbers() == api(bento, city.document(history)) | {"actual": []}
        assert len(re.findall("M", page.one("#plot .history").get_attribute("d"))) >= 1

    def test_the_example_can_be_taken_as_a_table(self, page: Page, city: World, bento: str) -> None:
        page.one("#by-table").click()
        page.one("#begin").click()
        page.forecast()
        assert page.numbers() == api(bento, city.document(city.history(0))) | {"actual": []}

    def test_a_file_is_opened(self, page: Page, city: World, bento: str, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text(table(city, 1))
        page.one("#by-table").click()
        page.one("#file").send_keys(str(tmp_path / "table.csv"))
        page.wait(lambda: "102 rows of history" in page.text("#said"))
        page.forecast()
        assert page.numbers()["mean"] == api(bento, city.document(city.history(1)))["mean"]

    @pytest.mark.parametrize(("damage", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
    def test_a_broken_table_is_refused(
        self, page: Page, city: World, damage: Callable[[list[str]], list[str]], message: str
    ) -> None:
        page.paste("\n".join(damage(table(city).splitlines())))
        assert message in page.text("#said")
        assert page.one("#table").get_attribute("aria-invalid") == "true"
        page.one("#forecast").click()
        assert page.text("#numbers") == "No forecast yet."
        assert page.run("return document.activeElement.id") == "table"
        assert page.text("#code") == "Nothing is picked yet."

    def test_what_the_service_refuses_is_said(self, driver: Any, bento: str, city: World) -> None:
        page = Page(driver, bento).loaded()
        lines = table(city).splitlines()
        lines[50] = re.sub(r",[^,]*", ",-1", lines[50], count=1)
        page.paste("\n".join(lines))
        page.one("#forecast").click()
        page.wait(lambda: page.text("#said").startswith("Refused: inputs[0].series["))
        assert "got -1, wanted 0 or more" in page.text("#said")
        assert len(page.console()) == 1  # the browser's own, of the status 400

    def test_names_are_text_whatever_they_are(self, page: Page, city: World) -> None:
        page.paste(table(city).replace("other", "<b>&amp;").replace("rain", "<img src=x onerror=alert(1)>"))
        assert "got timestamp, value, <b>&amp;, <img src=x onerror=alert(1)>" in page.text("#said")
        assert page.all("img, b") == []

    def test_the_pointer_reads_the_plot(self, page: Page, city: World, bento: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        page.forecast()
        dot = page.all("#plot .actual")[3]
        ActionChains(page.driver).move_to_element(dot).perform()
        mean = api(bento, city.document(city.history(0)))["mean"][3]
        assert float(page.text("#legend [data-of=mean] dd")) == pytest.approx(mean, abs=0.1)
        assert page.text("#legend [data-of=when] dd") == "Tue, 30 Apr 2024, 15:00"
        assert page.text("#legend [data-of=history] dd") == NOTHING

    def test_the_keyboard_alone(self, page: Page, city: World, bento: str) -> None:
        def press(*pressed: str) -> str:
            from selenium.webdriver.common.action_chains import ActionChains

            for key in pressed:
                ActionChains(page.driver).send_keys(key).perform()
            found: str = page.run("return document.activeElement.id || document.activeElement.className")
            assert page.run("return getComputedStyle(document.activeElement).outlineStyle") != "none", found
            return found

        tab, down, right, enter, end = "\ue004", "\ue015", "\ue014", "\ue007", "\ue010"
        assert press(tab) == ""  # the link to the API's description
        assert press(tab) == "by-example"
        assert press(tab) == "example"
        press(down)
        assert page.text("#plot-title") == "rides, s02"
        assert press(tab) == "steps"
        press(enter)
        page.wait(lambda: " steps forecast in " in page.text("#said"))
        wanted = api(bento, city.document(city.history(1)))
        assert page.numbers()["mean"] == wanted["mean"]
        assert press(tab) == "forecast"
        assert press(tab) == "shown"
        assert press(tab) == "plot"
        press(right, right)
        told = page.one("#plot").get_attribute("aria-valuetext")
        assert told.startswith("Time Tue, 30 Apr 2024, 14:00, Forecast ")
        assert "80 % interval " in told
        press(end)
        assert "23:00" in page.text("#legend [data-of=when] dd")
        assert press(tab) == "box"
        assert press(tab) == "tab-0"
        assert press(right) == "tab-1"
        assert '"FP64"' in page.text("#code")
        press(tab)
        press(right)
        assert "tritonclient" in page.text("#code")
        assert press(tab) == "copy"
        press(enter)
        page.wait(lambda: page.text("#copied") == "Copied.")

    @pytest.mark.parametrize("width", [320, 375, 768, 1280])
    def test_no_width_scrolls_sideways(self, page: Page, city: World, width: int) -> None:
        page.size(width, 700)
        page.forecast()
        page.paste(table(city))
        page.forecast()
        root = "document.documentElement"
        assert page.run(f"return {root}.scrollWidth - {root}.clientWidth") == 0
        beyond = (
            "return [...document.querySelectorAll('input, select, button, textarea, #plot, h2')]"
            ".filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth).map((one) => one.id)"
        )
        assert page.run(beyond) == []

    def test_nothing_jumps(self, page: Page) -> None:
        page.forecast()
        shifts = (
            "const done = arguments[0]; new PerformanceObserver((list) => done(list.getEntries().map((one) => one.value)))"
            ".observe({ type: 'layout-shift', buffered: true }); setTimeout(() => done([]), 300)"
        )
        assert sum(page.driver.execute_async_script(shifts)) < 0.01

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_contrast_is_good(self, page: Page, scheme: str) -> None:
        """WCAG 2.2: text 4.5 to 1, what a plot is read by 3 to 1."""
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        page.forecast()
        css = (
            "const of = (css, name) => getComputedStyle(document.querySelector(css))[name];"
            "return { text: ['body', 'header p', 'a', '.hint', '#said', '#legend dt', '[role=tab]', 'thead th'].map((css) =>"
            " of(css, 'color')), button: [of('#forecast', 'color'), of('#forecast', 'backgroundColor')],"
            " drawn: ['.mean', '.history', '.tick'].map((css) => of('#plot ' + css, 'stroke')).concat(of('#plot .actual',"
            " 'fill')), grounds: [of('body', 'backgroundColor'), of('pre', 'backgroundColor')] }"
        )
        seen = page.run(css)
        assert len(set(seen["text"])) > 2
        assert min(contrast(one, ground) for one in seen["text"] for ground in seen["grounds"]) >= 4.5
        assert min(contrast(one, ground) for one in seen["drawn"] for ground in seen["grounds"]) >= 3
        assert contrast(*seen["button"]) >= 4.5
        assert (luminance(seen["grounds"][0]) < 0.1) == (scheme == "dark")
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    @pytest.mark.parametrize(
        ("begin", "end", "step", "labels"),
        [
            ("2024-05-01T10:30", "2024-05-02T02:00", 3_600, "12:00, 18:00, 2 May"),
            ("2024-05-01", "2024-05-28", 86_400, "6 May, 13 May, 20 May, 27 May"),  # Mondays
            ("2023-11-15", "2024-05-02", 86_400, "Jan 2024, Apr 2024"),
            ("2024-05-01T00:00:10", "2024-05-01T00:00:50", 5, "00:00:15, 00:00:30, 00:00:45"),
        ],
    )
    def test_ticks_of_time_are_round(self, page: Page, begin: str, end: str, step: int, labels: str) -> None:
        script = (
            "const [begin, end, step, done] = arguments; import('/page/times.js').then(({ parseTime, timeTicks }) =>"
            "done(timeTicks(parseTime(begin), parseTime(end), step * 1000, 4).map((tick) => tick.label).join(', ')))"
        )
        assert page.driver.execute_async_script(script, begin, end, step) == labels

    def test_it_says_where_the_model_comes_from(self, page: Page, bento: str) -> None:
        told = dict(
            zip((one.text for one in page.all("#model dt")), (one.text for one in page.all("#model dd")), strict=True)
        )
        tag = httpx.get(f"{bento}/readyz", trust_env=False).headers["x-bento"]
        assert tag.startswith("bentocast:")
        assert told["Bento"] == tag
        assert told["MLflow model"] == "bentocast, version 7"
        assert (told["MLflow run"], told["Git commit"], told["Data hash"]) == ("run-5", "0" * 40, "md5-1")
        assert told["Trained until"] == "Tue, 30 Apr 2024, 23:00"
        assert told["Horizon"] == "12 steps of 1h"
        assert told["Covariates known ahead"] == "temperature, workingday"

    def test_it_asks_nobody_else(self, page: Page, bento: str) -> None:
        page.forecast()
        asked = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert len(asked) >= 8
        assert {name[: len(bento)] for name in asked} == {bento}


@pytest.mark.services
class TestSnippets:
    """The same request in code answers the same numbers."""

    @pytest.mark.parametrize("protocol", ["Time Series", "Inference V2", "Predict V1", "BentoML"])
    def test_shell_over_http(self, page: Page, city: World, bento: str, protocol: str) -> None:
        done = run(["bash", "-c", page.snippet(protocol, "shell")])
        assert numbers_of(json.loads(done)) == api(bento, city.document(city.history(0)))

    @pytest.mark.parametrize(
        ("protocol", "method", "asked", "answered"),
        [
            (
                "gRPC",
                "forecast.v1.ForecastService/Forecast",
                forecast_pb2.ForecastRequest,
                forecast_pb2.ForecastResponse,
            ),
            (
                "gRPC V2",
                "inference.GRPCInferenceService/ModelInfer",
                inference_pb2.ModelInferRequest,
                inference_pb2.ModelInferResponse,
            ),
        ],
    )
    def test_shell_over_grpc(
        self, page: Page, city: World, bento: str, protocol: str, method: str, asked: Any, answered: Any
    ) -> None:
        """By grpcurl if it is there; else what grpcurl is given is sent in its place."""
        copied = page.snippet(protocol, "shell")
        found = re.fullmatch(r"grpcurl -plaintext -d @ '([\d.:]+)' (\S+) <<'END'\n(.*)\nEND", copied, re.DOTALL)
        assert found is not None
        assert found[2] == method
        if shutil.which("grpcurl"):
            answer = json.loads(run(["bash", "-c", copied]))
        else:
            with grpc.insecure_channel(found[1]) as channel:
                call = channel.unary_unary(f"/{method}", asked.SerializeToString, answered.FromString)
                answer = json_format.MessageToDict(call(json_format.Parse(found[3], asked()), timeout=10))
        assert numbers_of(answer) == api(bento, city.document(city.history(0)))

    @pytest.mark.parametrize("protocol", ["Time Series", "Inference V2", "Predict V1", "gRPC", "gRPC V2", "BentoML"])
    def test_python(self, page: Page, city: World, bento: str, protocol: str) -> None:
        copied = page.snippet(protocol, "python")
        wanted = [name for name in re.findall(r"^(?:import|from) (\w+)", copied, re.MULTILINE) if name != "google"]
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
        if missing:
            compile(copied, "copied", "exec")
            pytest.skip(f"not installed: {', '.join(missing)}")
        printed = run([sys.executable, "-c", copied]).splitlines()
        assert numbers_of(ast.literal_eval(printed[0])) == api(bento, city.document(city.history(0)))

    def test_what_is_missing_is_missing_in_every_protocol(self, page: Page, city: World) -> None:
        lines = table(city).splitlines()
        lines[60] = re.sub(r",[^,]*", ",", lines[60], count=1)
        page.paste("\n".join(lines))
        page.forecast()
        wanted = page.numbers()["mean"]
        for protocol in ("Time Series", "Inference V2", "Predict V1", "BentoML"):
            assert numbers_of(json.loads(run(["bash", "-c", page.snippet(protocol, "shell")])))["mean"] == wanted
        for protocol in ("Predict V1", "gRPC"):
            printed = run([sys.executable, "-c", page.snippet(protocol, "python")])
            assert numbers_of(ast.literal_eval(printed))["mean"] == wanted


@pytest.fixture(scope="module")
def guarded(plain: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of the project itself with another model, without examples and gRPC; and the key that it wants."""
    home = tmp_path_factory.mktemp("guarded")
    command(home, sys.executable, "-c", STORE, str(plain.folder))
    key, line = keys.make("tester")
    (home / "keys").write_text(line + "\n")
    with serving(home, ROOT, BENTOCAST_KEYS_FILE=str(home / "keys"), BENTOCAST_GRPC="false") as address:
        yield address, key


@pytest.mark.services
class TestGuarded:
    """A service that wants a key, speaks no gRPC, and has no examples."""

    def test_a_key_opens_the_page(self, driver: Any, guarded: tuple[str, str], plain: World) -> None:
        address, key = guarded
        page = Page(driver, address)
        page.wait(lambda: page.text("#fault") == "This service wants an API key.")
        assert page.run("return document.activeElement.id") == "key"
        page.one("#key").send_keys("wrong\n")
        page.wait(lambda: page.text("#fault") == "This is not one of the service's API keys.")
        page.one("#key").clear()
        page.one("#key").send_keys(f"{key}\n")
        page.loaded()
        assert page.text("#fault") == ""
        assert not page.one("#key-form").is_displayed()
        assert not page.one("#by-example").is_enabled()
        assert "one series, oldest first, 96 rows of history or more." in page.text("#wanted").lower()
        history = plain.history(0)
        times = [str(history.start + np.timedelta64(place, "h")) for place in range(96)]
        rows = zip(times, history.values.tolist(), strict=True)
        page.paste("timestamp,value\n" + "\n".join(f"{time},{value}" for time, value in rows))
        page.forecast()
        expected = plain.expected([plain.origin(0)]).point[0]
        numbers = page.run(
            "return [...document.querySelectorAll('#numbers td:nth-child(2) data')].map((one) => one.value)"
        )
        assert np.array_equal([float(number) for number in numbers], expected)
        shell, python = page.snippet("Time Series", "shell"), page.snippet("Predict V1", "python")
        assert (
            key
            not in page.run("return document.documentElement.outerHTML + location + document.cookie") + shell + python
        )
        done = json.loads(run(["bash", "-c", shell], API_KEY=key))
        assert np.array_equal(numbers_of(done)["mean"], expected)
        printed = run([sys.executable, "-c", python], API_KEY=key)
        assert np.array_equal(numbers_of(ast.literal_eval(printed))["mean"], expected)
        assert page.snippet("gRPC", "python") == "This service does not speak gRPC."
        assert page.run("return localStorage.length + sessionStorage.length") == 0
        assert all("401" in message for message in page.console())


def run(words: list[str], **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")} | environment
    done = subprocess.run(words, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers_of(answer: Any) -> dict[str, list[float]]:
    """Mean and quantiles out of the answer of any protocol."""
    if isinstance(answer, list):  # what tritonclient gives, printed
        return {"mean": answer[0]}
    content = answer.get("predictions", [None])[0] or (answer.get("forecasts") or [None])[0]
    if content is None and isinstance(answer["outputs"][0].get("content"), list):
        (content,) = answer["outputs"][0]["content"]
    if content is None:
        return of_tensors(answer)
    if "mean_forecast" in content:
        return {"mean": content["mean_forecast"], **content["quantiles"]}
    quantiles = {str(one["level"]): one["values"]["values"] for one in content["quantiles"]}
    return {"mean": content["mean"]["values"], **quantiles}


def of_tensors(answer: Any) -> dict[str, list[float]]:
    outputs = {output["name"]: output for output in answer["outputs"]}
    flat = {
        name: output.get("data") or output["contents"].get("fp64Contents") or output["contents"]["fp64_contents"]
        for name, output in outputs.items()
        if name != "start_timestamp"
    }
    rows = np.reshape(flat["quantiles"], (len(LEVELS), -1)).tolist()
    return {"mean": flat["mean"], **dict(zip(LEVELS, rows, strict=True))}


def points(page: Page, css: str) -> np.ndarray:
    """Shape (points, 2): the points of a path of the plot."""
    path = page.one(f"#plot path{css}").get_attribute("d")
    return np.array([[float(part) for part in point.split()] for point in re.findall(r"[ML]([\d. -]+)", path)])


def value_of(page: Page) -> Callable[[np.ndarray], np.ndarray]:
    """What the heights of points mean, by the labels of the axis."""
    heights = [float(line.get_attribute("y1")) for line in page.all("#plot .grid")]
    labels = [float(label.text.replace(",", "")) for label in page.all("#plot .rise")]
    slope, rise = np.polyfit(heights, labels, 1)
    return lambda at: np.asarray(at[:, 1] * slope + rise)


def luminance(color: str) -> float:
    """Of `rgb(...)`, by WCAG's formula."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
