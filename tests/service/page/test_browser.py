"""The page in a real browser, before a real Bento."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.page.browser import Page, api, came, table
from tests.service.world import World

NOTHING = "\N{EN DASH}"


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
