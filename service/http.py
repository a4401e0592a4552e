"""The HTTP face: routes, headers, limits and error shapes around the protocols. Built anew for each worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from data.errors import BentocastError, RequestError
from data.forecaster import Forecaster
from service import openapi, timeseries

#: The worst body of this size takes 1.4 GB and three seconds to read.
MAX_BODY_BYTES = 32 * 1024 * 1024
#: Requests that are read and answered at the same time; the others wait, so that memory is bounded.
MAX_AT_ONCE = 2

logger = logging.getLogger("bentocast.service")


class TooLargeError(RequestError):
    """A body over the limit."""

    status = 413
    code = "request_too_large"


@dataclass(frozen=True)
class Served:
    """What is served, and under which names.

    Attributes:
        forecaster: the model.
        model: its name.
        model_version: its version in MLflow's registry.
        bento: tag of the Bento, or of the service when it is served from the project.
    """

    forecaster: Forecaster
    model: str
    model_version: str
    bento: str

    @property
    def headers(self) -> dict[str, str]:
        """Sent with every answer, so that it can be traced to the model and the code that made it."""
        return {"x-bento": self.bento, "x-model-name": self.model, "x-model-version": self.model_version}


class Elsewhere(BaseRoute):
    """Any other path, so that its 404 has the API's shape."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Never a full match: every other route comes first, those of BentoML behind this application too.

        A path that ends with a slash is left to the router, which redirects it to the one without.
        """
        taken = scope["type"] == "http" and not scope["path"].endswith("/")
        return (Match.PARTIAL if taken else Match.NONE), {}

    async def handle(self, *_: object, **__: object) -> None:
        """Refuse.

        Raises:
            HTTPException: always, with status 404.
        """
        raise HTTPException(404)


def build(served: Callable[[], Served]) -> Starlette:
    """The application.

    Args:
        served: gives what is served, once the worker has loaded it.
    """
    limiter = anyio.CapacityLimiter(MAX_AT_ONCE)
    routes: list[BaseRoute] = [
        Route("/", partial(_index, served), methods=["GET"]),
        Route("/docs", partial(_docs, served), methods=["GET"]),
        Route("/openapi.json", partial(_openapi, served), methods=["GET"]),
        Route("/v1/timeseries/models", partial(_models, served), methods=["GET"]),
        Route("/v1/timeseries/forecast", partial(_forecast, served, limiter), methods=["POST"]),
        Elsewhere(),
    ]
    handlers: Mapping[type[Exception], Callable[..., Response]] = {
        BentocastError: partial(_refused, served),
        HTTPException: partial(_not_here, served),
        ClientDisconnect: _gone,
        Exception: partial(_crashed, served),
    }
    return Starlette(routes=routes, exception_handlers=dict(handlers))


async def _forecast(served: Callable[[], Served], limiter: anyio.CapacityLimiter, request: Request) -> Response:
    now = served()
    made = await anyio.to_thread.run_sync(_answer, await _body(request), now, limiter=limiter)
    return Response(made, media_type="application/json", headers=now.headers)


def _answer(body: bytes, now: Served) -> bytes:
    """Away from the event loop, which must stay free for probes; `to_json` takes a tenth of `json.dumps`' time."""
    return to_json(timeseries.answer(timeseries.parse(body), now.forecaster, now.model))


async def _models(served: Callable[[], Served], _: Request) -> Response:
    now = served()
    return JSONResponse(timeseries.models(now.forecaster, now.model, now.model_version), headers=now.headers)


async def _openapi(served: Callable[[], Served], _: Request) -> Response:
    now = served()
    return JSONResponse(openapi.describe(now.bento), headers=now.headers)


async def _docs(served: Callable[[], Served], _: Request) -> Response:
    return HTMLResponse(openapi.PAGE, headers=served().headers)


async def _index(served: Callable[[], Served], _: Request) -> Response:
    return RedirectResponse("/docs", headers=served().headers)


async def _body(request: Request) -> bytes:
    """The body, read no further than the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise TooLargeError(f"the body is over {MAX_BODY_BYTES} bytes: send several requests")
        parts.append(part)
    return b"".join(parts)


def _refused(served: Callable[[], Served], _: Request, err: BentocastError) -> Response:
    return JSONResponse(timeseries.error(err), status_code=err.status, headers=served().headers)


def _not_here(served: Callable[[], Served], _: Request, err: HTTPException) -> Response:
    fault = BentocastError(f"{err.detail}: see /docs for what is served here")
    fault.status, fault.code = err.status_code, err.detail.lower().replace(" ", "_")
    return JSONResponse(
        timeseries.error(fault), status_code=err.status_code, headers={**(err.headers or {}), **served().headers}
    )


def _gone(_: Request, __: Exception) -> Response:
    """The client left before it had sent its whole body; nobody reads this, the metrics count it."""
    return Response(status_code=499)


def _crashed(served: Callable[[], Served], request: Request, err: Exception) -> Response:
    """A fault of ours: the client learns no more than that, the log has the rest."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=err)
    fault = BentocastError("the server failed, see its log")
    return JSONResponse(timeseries.error(fault), status_code=500, headers=served().headers)
