"""A browser before the page, the service behind it, and what both must agree with."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.service.live import ROOT
from tests.service.world import World

LEVELS = ["0.025", "0.1", "0.9", "0.975"]


def came(city: World, place: int) -> list[float]:
    """What really came after `city.history(place)`."""
    origin = city.origin(place)
    made: list[float] = city.panel.target[origin + 1 : origin + 13].tolist()
    return made


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


def command(home: Path, *words: str) -> str:
    environment = os.environ | {"BENTOML_HOME": str(home)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
