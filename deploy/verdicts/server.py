"""Verdicts over HTTP: of the rollout here, and on the traffic of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from data.errors import BentocastError, RequestError
from data.rollout import Judgement
from data.verdict import Outcome, Verdict
from deploy.faults import RolloutError
from deploy.journal import Rollout
from deploy.verdicts import asked, given
from deploy.verdicts.prometheus import Prometheus, PrometheusError

MOST_BYTES = 64 * 1024
#: A body that is not there by then is not waited for.
BODY_SECONDS = 10.0
#: Connections at once; more get 503.
MOST_CONNECTIONS = 64
#: If the verdict is none of those that were hoped for.
OTHERWISE = 409


class TooLargeError(RequestError):
    """A body over the limit."""

    status = 413


class SlowError(RequestError):
    """A body that does not come."""

    status = 408


@dataclass(frozen=True)
class Judge:
    """What answers are made of.

    Attributes:
        judgement: limits, unless others are asked for.
        prometheus: where counts are, or None.
        journaled: the rollout with a number, or the one under way, and its last verdict; RolloutError if there is none.
        now: seconds since 1970.
    """

    judgement: Judgement
    prometheus: Prometheus | None
    journaled: Callable[[int | None], tuple[Rollout, Verdict]]
    now: Callable[[], float] = time.time


def application(judge: Judge) -> Starlette:
    """`GET /verdict`, `POST /verdict`, `GET /healthz`.

    A verdict is answered with 200, whatever it is; with `?expect=pass` (or `fail,error`) only if it is one of these, and
    with 409 otherwise. What cannot be judged is answered with another status, and an `outcome` of `error`.
    """

    async def of_rollout(request: Request) -> Response:
        number = request.query_params.get("rollout")
        if number is not None and not (number.isascii() and number.isdigit() and len(number) < 10):
            raise RequestError(f"rollout: got {number[:40]!r}, wanted its number")
        rollout, verdict = await run_in_threadpool(judge.journaled, int(number) if number else None)
        return _told(request, verdict, rollout)

    async def on_traffic(request: Request) -> Response:
        wanted = asked.read(await _body(request))
        return _told(request, await run_in_threadpool(given.on, wanted, judge.judgement, judge.prometheus, judge.now()))

    async def alive(_: Request) -> Response:
        return PlainTextResponse("\n")

    return Starlette(
        routes=[
            Route("/verdict", of_rollout, methods=["GET"]),
            Route("/verdict", on_traffic, methods=["POST"]),
            Route("/healthz", alive, methods=["GET"]),
        ],
        exception_handlers={BentocastError: _refused},
    )


def settings(judge: Judge, host: str, port: int) -> uvicorn.Config:
    """How it is served."""
    return uvicorn.Config(
        application(judge),
        host=host,
        port=port,
        log_level="warning",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        server_header=False,
        lifespan="off",
        ws="none",
    )


def serve(judge: Judge, host: str, port: int) -> None:
    """Answer until somebody ends it."""
    uvicorn.Server(settings(judge, host, port)).run()


async def _body(request: Request) -> bytes:
    """The body, if it is not too large and comes in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise TooLargeError(f"the body: got more than {MOST_BYTES:,} bytes, wanted less")
    except TimeoutError as err:
        raise SlowError(f"the body: did not come within {BODY_SECONDS:g} s") from err
    except ClientDisconnect as err:
        raise RequestError("the client is gone") from err
    return bytes(body)


def _told(request: Request, verdict: Verdict, rollout: Rollout | None = None) -> Response:
    expected = request.query_params.get("expect")
    outcomes = [outcome.value for outcome in Outcome]
    wanted = outcomes if expected is None else expected.split(",")
    if not set(wanted) <= set(outcomes):
        raise RequestError(f"expect: got {str(expected)[:40]!r}, wanted one or more of {', '.join(outcomes)}")
    status = 200 if verdict.outcome in wanted else OTHERWISE
    return JSONResponse(given.document(verdict, rollout), status)


async def _refused(_: Request, err: Exception) -> Response:
    assert isinstance(err, BentocastError), "it is registered for these"
    status = 500
    if isinstance(err, RequestError):
        status = err.status
    elif isinstance(err, PrometheusError):
        status = 502
    elif isinstance(err, RolloutError):
        status = 404
    told = {
        "outcome": Outcome.ERROR.value,
        "value": given.VALUES[Outcome.ERROR],
        "requests": 0,
        "checks": [],
        "text": err.message,
    }
    return JSONResponse(told, status)
