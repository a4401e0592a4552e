"""One contract for both sources of metrics: the same pages, scraped by a real Prometheus and read into `Pages`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from monitoring.metrics import Labels, Metrics, MetricsError, Sample
from monitoring.pages import Pages
from monitoring.prometheus import Prometheus
from tests.monitoring import servers
from tests.ports import free_ports

pytestmark = pytest.mark.services

NAMES = ("requests_total", "late_total", "odd_total", "size", "mood", "seconds_bucket", "gone_total")
#: Letters that have to be written in a certain way: quotes, backslashes, line ends, and beyond 16 bits.
ODD = 'a "b" \\c\nd é \N{GRINNING FACE}'
#: Seconds between scrapes: Prometheus takes any, and the test does not want to wait.
EVERY = 0.5


def page(requests: float, size: float, **other: float | None) -> str:
    """A page as the service's."""
    escaped = ODD.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = [
        "# HELP requests_total Requests\n# TYPE requests_total counter",
        f'requests_total{{endpoint="/v1",code="200"}} {requests}',
        f'requests_total{{endpoint="/v1",code="500"}} {requests / 4}',
        f'odd_total{{name="{escaped}"}} {requests}',
        f"# TYPE size gauge\nsize {size}",
        "# TYPE seconds histogram",
        f'seconds_bucket{{le="0.1"}} {requests / 2}\nseconds_bucket{{le="+Inf"}} {requests}',
        f"seconds_sum {requests}\nseconds_count {requests}",
    ]
    lines += [f"{name} {value}" for name, value in other.items() if value is not None]
    return "\n".join(lines) + "\n"


SCRIPT: dict[str, list[str | None]] = {
    # A counter that starts again twice, one that comes late, a gauge that goes, comes back and is NaN for a while.
    "/a": [
        page(100, 1, mood=1),
        page(110, 2, mood=2),
        page(125, 3),
        page(5, 4, mood=math.nan),
        page(9, 5, mood=3, late_total=7),
        page(2, 6, mood=4, late_total=11),
        page(30, 7, mood=5, late_total=11),
    ],
    # One that does not answer for two times, and ends.
    "/b": [page(0, -1), page(1, -1), None, None, page(3, math.inf), page(4, -2, gone_total=3), None],
    # One whose last counter never moves.
    "/c": [page(10, 0, gone_total=math.nan)] * 4,
}


class Played:
    """Both sources, after the script was played.

    Attributes:
        end: of the last scrape, seconds since 1970.
    """

    def __init__(self, running: servers.Running, times: dict[str, list[float]]) -> None:
        self._running, self._times = running, times
        self.end = max(moments[-1] for moments in times.values())

    def at(self, now: float) -> tuple[Pages, Prometheus]:
        """Both, at a moment."""
        made = Pages()
        read = sorted((at, path, number) for path, moments in self._times.items() for number, at in enumerate(moments))
        for at, path, number in read:
            if at <= now:
                script = SCRIPT[path]
                made.read(script[min(number, len(script) - 1)] or "", path, at)
        made.now = now
        return made, self._running.at(now)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Scrape until every script is over, then kill Prometheus and start it where it is told to scrape nothing."""
    folder = tmp_path_factory.mktemp("prometheus")
    with servers.pages(SCRIPT) as served:
        jobs = [
            {
                "job_name": path[1:],
                "metrics_path": path,
                "static_configs": [{"targets": [f"127.0.0.1:{served.port}"], "labels": {"instance": path}}],
            }
            for path in SCRIPT
        ]
        interval = {"scrape_interval": f"{EVERY * 1e3:.0f}ms", "scrape_timeout": f"{EVERY * 1e3:.0f}ms"}
        with servers.prometheus(folder, {"global": interval, "scrape_configs": jobs}) as running:
            longest = max(len(script) for script in SCRIPT.values())
            servers.wait_for(lambda: min(served.asked.values()) > longest, "the script is not played")
    with servers.prometheus(folder, {}) as running:
        asked = running.at(time.time())._ask("query", {"query": "up[5m]", "time": time.time()})
        times = {one["metric"]["instance"]: [float(at) for at, _ in one["values"]] for one in asked}
        yield Played(running, times)


def same(one: list[Sample], other: list[Sample]) -> None:
    """The same series with the same values (a time since 1970 is a float with 7 digits after the point), in any order."""

    def ordered(samples: list[Sample]) -> list[tuple[list[tuple[str, str]], float]]:
        return sorted((sorted(labels.items()), value) for labels, value in samples)

    assert [labels for labels, _ in ordered(one)] == [labels for labels, _ in ordered(other)]
    for (labels, left), (_, right) in zip(ordered(one), ordered(other), strict=True):
        assert left == pytest.approx(right, rel=1e-6, nan_ok=True), labels


@pytest.mark.parametrize("name", NAMES)
def test_last_is_the_same_at_every_moment(played: Played, name: str) -> None:
    found = 0
    for number in range(1, 24):
        pages, prometheus = played.at(played.end - 0.01 - number * EVERY / 2)
        same(pages.last(name), prometheus.last(name))
        found += len(pages.last(name))
    assert found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seconds", [1.2, 2.0, 3.3, 60.0])
def test_increase_is_the_same_at_every_moment(played: Played, name: str, seconds: float) -> None:
    found = 0
    for number in range(1, 12):
        pages, prometheus = played.at(played.end - 0.013 - number * EVERY / 2)
        same(pages.increase(name, seconds), prometheus.increase(name, seconds))
        found += len(pages.increase(name, seconds))
    assert found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [0.3, 1.0, 400.0])
def test_over_is_the_same(played: Played, name: str, step: float) -> None:
    pages, prometheus = played.at(played.end - 0.017)
    seconds = 4.2 if step < 300 else 800.0
    one, other = pages.over(name, seconds, step), prometheus.over(name, seconds, step)

    def flat(series: list[tuple[Labels, list[tuple[float, float]]]]) -> list[Sample]:
        return [Sample({**labels, "at": f"{at:.3f}"}, value) for labels, points in series for at, value in points]

    same(flat(one), flat(other))
    assert all(points == sorted(points) for _, points in other)


def test_values_are_stale_after_five_minutes(played: Played) -> None:
    for later, count in ((299.0, 1), (301.0, 0)):
        pages, prometheus = played.at(played.end + later)
        for source in (pages, prometheus):
            assert len(source.last("size", {"instance": "/a"})) == count, type(source)


def test_what_went_is_gone_at_once(played: Played) -> None:
    for source in played.at(played.end + 0.1):
        assert source.last("size", {"instance": "/b"}) == []
        assert source.last("late_total")[0].value == 11


@pytest.mark.parametrize(
    ("where", "count"),
    [({}, 6), ({"code": "500"}, 3), ({"code": "500", "instance": "/a"}, 1), ({"code": "404"}, 0), ({"no": "such"}, 0)],
)
def test_labels_select(played: Played, where: Labels, count: int) -> None:
    for source in played.at(played.end - 0.01 - EVERY):
        # While /b is away, its counters rose within the window nevertheless.
        found = source.increase("requests_total", 60, where)
        assert len(found) == count, type(source)
        assert all(where.items() <= sample.labels.items() for sample in found)


def test_labels_have_neither_name_nor_job_and_any_letter(played: Played) -> None:
    for source in played.at(played.end):
        (found,) = source.last("odd_total", {"name": ODD, "instance": "/a"})
        assert found == Sample({"name": ODD, "instance": "/a"}, 30)


def test_a_counter_that_starts_again_is_not_negative(played: Played) -> None:
    for source in played.at(played.end):
        (found,) = source.increase("requests_total", 60, {"instance": "/a", "code": "200"})
        # 100, 110, 125, 5, 9, 2, 30: 10 + 15 + 5 + 4 + 2 + 28, and a little for what was before the first scrape.
        assert 64 <= found.value < 64 * 1.2, type(source)


def test_nothing_is_an_empty_list(played: Played) -> None:
    for source in played.at(played.end):
        assert source.last("no_such_metric") == []
        assert source.increase("no_such_metric", 60) == []
        assert source.over("no_such_metric", 60, 1) == []


# Errors


def asked(source: Metrics) -> Any:
    return source.last("up")


def test_prometheus_is_gone() -> None:
    url = f"http://127.0.0.1:{free_ports()}"
    with pytest.raises(MetricsError) as caught:
        asked(Prometheus(url, 0.0))
    assert caught.value.message == (
        f"Prometheus does not answer at {url} (ConnectionError): start it (`make monitoring`), or set "
        "monitoring.prometheus in params.yaml to one that runs"
    )
    assert caught.value.exit_code == 4


def test_a_password_in_the_address_is_masked() -> None:
    with pytest.raises(MetricsError) as caught:
        asked(Prometheus(f"http://reader:secret@127.0.0.1:{free_ports()}", 0.0))
    assert "secret" not in str(caught.value)
    assert "http://***@127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("answer", ["<html>Welcome</html>", "[]", "{}", '{"status": "fine"}', None])
def test_another_server_is_told_from_prometheus(answer: str | None) -> None:
    with servers.pages({"/api/v1/query": [answer]}) as other:
        url = f"http://127.0.0.1:{other.port}"
        with pytest.raises(MetricsError) as caught:
            asked(Prometheus(url, 0.0))
    assert caught.value.message == (
        f"what answers at {url} is no Prometheus (HTTP status {503 if answer is None else 200}): set monitoring.prometheus "
        "in params.yaml to the address of one"
    )


def test_what_prometheus_does_not_understand_is_an_error(played: Played) -> None:
    _, prometheus = played.at(played.end)
    with pytest.raises(MetricsError, match=r"refuses 'sum\(': .*parse error"):
        prometheus.query("sum(")
    with pytest.raises(MetricsError, match="exceeded maximum resolution"):
        prometheus.over("size", 1e6, 1)


def test_a_slash_at_the_end_of_the_address_is_fine(played: Played) -> None:
    _, prometheus = played.at(played.end)
    assert replace(prometheus, url=prometheus.url + "/").last("late_total") == prometheus.last("late_total")
