"""What the service says to the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from data.forecaster import Forecaster
from service import keys
from service.http import Front
from service.metrics import Metrics
from tests.service.page.browser import came
from tests.service.page.test_files import sources
from tests.service.world import World


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
