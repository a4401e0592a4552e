"""Which path is answered by what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service import endpoints
from service.metrics import Metrics
from service.routes import MAX_KEPT, Routes, pattern
from tests.service.world import World


@pytest.fixture(scope="session")
def routes(plain: World) -> Routes:
    return Routes(endpoints.table(plain.worker(), Metrics(plain.served, CollectorRegistry())))


FOUND = [
    ("/", "/", None, None),
    ("/metrics", "/metrics", None, None),
    ("/v1/timeseries/forecast", "/v1/timeseries/forecast", None, None),
    ("/v1/models/bentocast", "/v1/models/{model}", "bentocast", None),
    ("/v1/models/bentocast:predict", "/v1/models/{model}:predict", "bentocast", None),
    ("/v1/models/m/versions/3", "/v1/models/{model}", "m", "3"),
    ("/v1/models/m/versions/3:predict", "/v1/models/{model}:predict", "m", "3"),
    ("/v2/models/m", "/v2/models/{model}", "m", None),
    ("/v2/models/m/versions/12/infer", "/v2/models/{model}/infer", "m", "12"),
    ("/v2/models/m/ready", "/v2/models/{model}/ready", "m", None),
    ("/v2/models/m/versions/1/ready", "/v2/models/{model}/ready", "m", "1"),
    ("/v2/models/\u96ea bike/infer", "/v2/models/{model}/infer", "\u96ea bike", None),
    ("/v2/models/versions/versions/versions/infer", "/v2/models/{model}/infer", "versions", "versions"),
    ("/static/swagger-ui.css", "/static/{file}", "swagger-ui.css", None),
    ("/page/docs.js", "/page/{file}", "docs.js", None),
]
NOWHERE = [
    "",
    "//",
    "/v1",
    "/v1/timeseries",
    "/v1/models/",
    "/v1/models/m:explain",
    "/v1/models/:predict",
    "/v1/models/a/b:predict",
    "/v1/models/m/versions/",
    "/v1/models/" + "m" * 257,
    "/v2/models/m/versions/" + "1" * 65 + "/infer",
    "/v2/models//infer",
    "/v2/models/m/infer/",
    "/v2/models/m/infer/x",
    "/v2/models/m/metadata",
    "/static/",
    "/static/a/b.js",
    "/page/../app.py",
    "/page/a\nb.js",
    "/page/a\0.js",
    "/page/\u96ea.js",
    "/page/" + "x" * 129,
    "/METRICS",
    "/metrics\n",
]


@pytest.mark.parametrize(("path", "template", "model", "version"), FOUND)
def test_found(routes: Routes, path: str, template: str, model: str | None, version: str | None) -> None:
    found = routes.find(path)
    assert found is not None
    assert (found[0].template, found[1], found[2]) == (template, model, version)


@pytest.mark.parametrize("path", NOWHERE)
def test_nowhere(routes: Routes, path: str) -> None:
    assert routes.find(path) is None


PARTS = [
    "v1", "v2", "models", "versions", "m", "infer", "ready", ":predict", "timeseries", "forecast", "page", "static",
    "..", ".", "", "%2e", "\0", "\n", "\u96ea", "\ud800", "a:b", "x" * 300, "health", "live",
]  # fmt: skip


@given(
    path=st.text(max_size=80) | st.lists(st.sampled_from(PARTS), max_size=7).map(lambda parts: "/" + "/".join(parts))
)
@example(path="/v1/models/" + "m/versions/" * 1_000)
@example(path="/v2/models/" + "/" * 10_000)
def test_any_path_is_one_of_the_templates_or_nowhere(routes: Routes, path: str) -> None:
    found = routes.find(path)
    if found is None:
        return
    endpoint, model, version = found
    made = endpoint.template if model is None else re.sub(r"\{\w+\}", lambda _: model, endpoint.template)
    if version is None:
        assert path == made
    else:
        assert path.replace(f"/versions/{version}", "", 1) == made or "versions" in (model, version)


def test_long_paths_are_not_remembered(routes: Routes) -> None:
    """A stranger would fill the memory with them; the longest that is served is remembered."""
    routes._remembered.cache_clear()
    for turn in range(3):
        assert routes.find(f"/{turn}" + "x" * MAX_KEPT) is None
    assert routes._remembered.cache_info().currsize == 0
    longest = "/v2/models/" + "m" * 256 + "/versions/" + "1" * 64 + "/infer"
    assert routes.find(longest) is routes.find(longest) is not None


def test_every_template_finds_itself(routes: Routes, plain: World) -> None:
    table = endpoints.table(plain.worker(), Metrics(plain.served, CollectorRegistry()))
    for endpoint in table:
        found = routes.find(endpoint.template.replace("{model}", "m").replace("{file}", "f.js"))
        assert found is not None
        assert found[0].template == endpoint.template
    assert len({endpoint.template for endpoint in table}) == len(table)


def test_methods_that_are_allowed(routes: Routes) -> None:
    told = {}
    for path in ("/metrics", "/v1/timeseries/forecast"):
        found = routes.find(path)
        assert found is not None
        told[path] = found[0].allow, [method for method in ("GET", "HEAD", "POST") if found[0].handler(method)]
    assert told["/metrics"] == ("GET, HEAD", ["GET", "HEAD"])
    assert told["/v1/timeseries/forecast"] == ("POST", ["POST"])


def test_files_of_the_page_have_names_that_are_served() -> None:
    names = pattern("/page/{file}")
    for path in (Path(endpoints.__file__).parent / "page").iterdir():
        assert names.fullmatch(f"/page/{path.name}")
        assert path.suffix in endpoints.MEDIA_TYPES
