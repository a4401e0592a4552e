"""The table of all paths, and the small answers that need no protocol of their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from data.errors import BentocastError, NotFoundError
from service import metrics as pages_of_metrics
from service import openapi
from service.call import Call, Door, Reply
from service.metrics import Metrics
from service.protocols import inference, predict, timeseries
from service.protocols.actuals import Actuals
from service.protocols.inference_http import Infer
from service.protocols.predict import Predict
from service.protocols.timeseries import Timeseries
from service.routes import Endpoint, Group, Handler, pattern
from service.worker import Worker

TIMESERIES, PREDICT, INFER = Timeseries(), Predict(), Infer()
EXTENSIONS = ["binary_tensor_data"]
#: A client may say how long it waits, in the header that Envoy sends.
TIMEOUT = b"x-envoy-expected-rq-timeout-ms"
TIMEOUT_DIGITS = 12
HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
PROMETHEUS = b"text/plain; version=1.0.0; charset=utf-8"
FILES = Path(__file__).parent / "page"
#: Nothing but this service's own files, no frames, no forms that lead elsewhere.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
)
#: Swagger UI writes styles and pictures into its page.
SWAGGER_POLICY = POLICY.replace(b"style-src 'self'", b"style-src 'self' 'unsafe-inline'").replace(
    b"img-src 'self'", b"img-src 'self' data:"
)
MEDIA_TYPES = {
    ".html": HTML,
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class NotReadyError(BentocastError):
    """The worker has not started, or is about to end."""

    status = 503
    code = "not_ready"
    retry_after_seconds = 1


def table(worker: Worker, metrics: Metrics) -> list[Endpoint]:
    """Every path that is served."""
    served, settings = worker.served, worker.settings
    grpc_port = settings.grpc_at if settings.grpc else None
    ready = partial(_ready, worker)

    def work(template: str, door: Door) -> Endpoint:
        endpoint = _matching(template, {"POST": partial(_forecast, worker, door)}, door)
        return replace(endpoint, is_work=True)

    return [
        *_probes(ready),
        _get("/", partial(_index, _file("index.html")), "docs"),
        _get("/docs", _file("docs.html", SWAGGER_POLICY), "docs"),
        _get("/page/{file}", _any_file, "docs"),
        _get("/static/{file}", _swagger, "docs"),
        _get("/openapi.json", partial(_json, partial(openapi.describe, served)), "docs"),
        _get("/metrics", partial(_metrics, metrics), "metrics"),
        _get("/v1/timeseries/models", partial(_json, partial(timeseries.models, served, grpc_port))),
        # Values of the table that the model was trained on: for those who may ask for forecasts.
        _get("/v1/timeseries/examples", partial(_json, partial(timeseries.examples, served))),
        work("/v1/timeseries/forecast", TIMESERIES),
        Endpoint("/v1/timeseries/actuals", {"POST": Actuals(worker)}, TIMESERIES, wants_json=True),
        _get("/v1/models/{model}", partial(_status, worker), door=PREDICT),
        work("/v1/models/{model}:predict", PREDICT),
        _get("/v2", partial(_json, partial(_server, worker)), door=INFER),
        _get("/v2/health/live", partial(_json, lambda: {"live": True}), "probe", INFER),
        _get("/v2/health/ready", ready, "probe", INFER),
        _get("/v2/models/{model}", partial(_metadata, worker), door=INFER),
        _get("/v2/models/{model}/ready", partial(_model_ready, worker), door=INFER),
        work("/v2/models/{model}/infer", INFER),
        # BentoML's own clients: the names of its APIs, and the one there is.
        _get("/schema.json", partial(_json, worker.schema)),
        work("/forecast", TIMESERIES),
    ]


def _probes(ready: Handler) -> list[Endpoint]:
    alive = partial(_text, "\n")
    return [_get("/livez", alive, "probe"), _get("/healthz", alive, "probe"), _get("/readyz", ready, "probe")]


def _get(template: str, handler: Handler, group: Group = "api", door: Door = TIMESERIES) -> Endpoint:
    return _matching(template, {"GET": handler}, door, group)


def _matching(template: str, methods: dict[str, Handler], door: Door, group: Group = "api") -> Endpoint:
    return Endpoint(template, methods, door, group, pattern(template) if "{" in template else None)


async def _forecast(worker: Worker, door: Door, call: Call) -> Reply:
    wanted = call.header(TIMEOUT) or b""
    # A longer number is further away than any deadline.
    seconds = int(wanted) / 1_000 if wanted.isdigit() and len(wanted) <= TIMEOUT_DIGITS else None
    return await worker.forecast(
        lambda: door.read(call, worker.served),
        lambda asked, answer: door.write(asked, answer, worker.served),
        len(call.body),
        worker.deadline(seconds),
    )


async def _text(text: str, _: Call) -> Reply:
    return Reply(text.encode(), media_type=TEXT)


async def _index(page: Handler, call: Call) -> Reply:
    """The page for a browser; for others, and so for KServe's V1 clients, that the process is alive."""
    return await page(call) if b"text/html" in (call.header(b"accept") or b"") else Reply(b'{"status":"alive"}')


async def _json(made: Any, _: Call) -> Reply:
    return Reply(msgspec.json.encode(made()))


async def _ready(worker: Worker, _: Call) -> Reply:
    if not worker.ready:
        raise NotReadyError("this worker is about to end: ask another one")
    return Reply(b'{"ready":true}')


async def _metrics(metrics: Metrics, _: Call) -> Reply:
    metrics.tick()
    body = await asyncio.get_running_loop().run_in_executor(None, pages_of_metrics.page)
    return Reply(body, media_type=PROMETHEUS)


async def _status(worker: Worker, call: Call) -> Reply:
    model = worker.served.named(call.model, call.version)
    return Reply(msgspec.json.encode(predict.status(worker.served, model, ready=worker.ready)))


def _server(worker: Worker) -> dict[str, Any]:
    return {"name": worker.served.bento.partition(":")[0], "version": worker.served.bento, "extensions": EXTENSIONS}


async def _metadata(worker: Worker, call: Call) -> Reply:
    model = worker.served.named(call.model, call.version)
    return Reply(msgspec.json.encode(inference.metadata(worker.served, model)))


async def _model_ready(worker: Worker, call: Call) -> Reply:
    model = worker.served.named(call.model, call.version)
    return Reply(msgspec.json.encode({"name": model, "ready": worker.ready}), 200 if worker.ready else 503)


def _file(name: str, policy: bytes = POLICY) -> Handler:
    return partial(_shown, FILES / name, policy)


async def _any_file(call: Call) -> Reply:
    return await _shown(FILES / str(call.model), POLICY, call)


async def _swagger(call: Call) -> Reply:
    """Swagger UI as BentoML ships it."""
    from bentoml._internal import server

    return await _shown(Path(server.__file__).parent / "static_content" / str(call.model), SWAGGER_POLICY, call)


async def _shown(path: Path, policy: bytes, _: Call) -> Reply:
    """A file of the page; the pattern lets no path through, only a name."""
    media_type = MEDIA_TYPES.get(path.suffix)
    if media_type is None or not path.is_file():
        raise NotFoundError("not found: see /docs for what is served here")
    return Reply(path.read_bytes(), media_type=media_type, headers=((b"content-security-policy", policy),))
