"""The table of all paths, and the small answers that need no protocol of their own."""

from __future__ import annotations

import asyncio
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
HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
PROMETHEUS = b"text/plain; version=1.0.0; charset=utf-8"
FILES = Path(__file__).parent / "page"
#: Nothing but this service's own files, no frames, no forms that lead elsewhere.
POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
MEDIA_TYPES = {".html": HTML, ".js": b"text/javascript; charset=utf-8", ".css": b"text/css; charset=utf-8"}


class NotReadyError(BentocastError):
    """The worker has not started, or is about to end."""

    status = 503
    code = "not_ready"
    retry_after_seconds = 1


def table(worker: Worker, metrics: Metrics) -> list[Endpoint]:
    """Every path that is served."""
    served = worker.served
    ready = partial(_ready, worker)

    def asks(door: Door) -> Handler:
        return partial(_forecast, worker, door)

    return [
        *_probes(ready),
        _get("/", _file("index.html"), "docs"),
        _get("/docs", _file("docs.html"), "docs"),
        _get("/page/{file}", _any_file, "docs"),
        _get("/static/{file}", _swagger, "docs"),
        _get("/openapi.json", partial(_json, partial(openapi.describe, served)), "docs"),
        _get("/metrics", partial(_metrics, metrics), "metrics"),
        _get("/v1/timeseries/models", partial(_json, partial(timeseries.models, served))),
        Endpoint("/v1/timeseries/forecast", {"POST": asks(TIMESERIES)}, TIMESERIES),
        Endpoint("/v1/timeseries/actuals", {"POST": Actuals(worker)}, TIMESERIES, wants_json=True),
        _get("/v1/models/{model}", partial(_status, worker), door=PREDICT),
        _matching("/v1/models/{model}:predict", {"POST": asks(PREDICT)}, PREDICT),
        _get("/v2", partial(_json, partial(_server, worker)), door=INFER),
        _get("/v2/health/live", partial(_json, lambda: {"live": True}), "probe", INFER),
        _get("/v2/health/ready", ready, "probe", INFER),
        _get("/v2/models/{model}", partial(_metadata, worker), door=INFER),
        _get("/v2/models/{model}/ready", partial(_model_ready, worker), door=INFER),
        _matching("/v2/models/{model}/infer", {"POST": asks(INFER)}, INFER),
        # BentoML's own clients: the names of its APIs, and the one there is.
        _get("/schema.json", partial(_json, worker.schema)),
        Endpoint("/forecast", {"POST": asks(TIMESERIES)}, TIMESERIES),
    ]


def _probes(ready: Handler) -> list[Endpoint]:
    alive = partial(_text, "\n")
    return [_get("/livez", alive, "probe"), _get("/healthz", alive, "probe"), _get("/readyz", ready, "probe")]


def _get(template: str, handler: Handler, group: Group = "api", door: Door = TIMESERIES) -> Endpoint:
    return _matching(template, {"GET": handler}, door, group)


def _matching(template: str, methods: dict[str, Handler], door: Door, group: Group = "api") -> Endpoint:
    return Endpoint(template, methods, door, group, pattern(template) if "{" in template else None)


async def _forecast(worker: Worker, door: Door, call: Call) -> Reply:
    wanted = call.header(TIMEOUT)
    # One of many digits is as good as none.
    seconds = int(wanted) / 1_000 if wanted is not None and wanted.isdigit() and len(wanted) < 12 else None
    return await worker.forecast(
        lambda: door.read(call, worker.served),
        lambda asked, answer: door.write(asked, answer, worker.served),
        len(call.body),
        worker.deadline(seconds),
    )


async def _text(text: str, _: Call) -> Reply:
    return Reply(text.encode(), media_type=TEXT)


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


def _file(name: str) -> Handler:
    return partial(_shown, FILES / name)


async def _any_file(call: Call) -> Reply:
    return await _shown(FILES / str(call.model), call)


async def _swagger(call: Call) -> Reply:
    """Swagger UI as BentoML ships it."""
    from bentoml._internal import server

    return await _shown(Path(server.__file__).parent / "static_content" / str(call.model), call)


async def _shown(path: Path, _: Call) -> Reply:
    """A file of the page; the pattern lets no path through, only a name."""
    media_type = MEDIA_TYPES.get(path.suffix)
    if media_type is None or not path.is_file():
        raise NotFoundError("not found: see /docs for what is served here")
    return Reply(path.read_bytes(), media_type=media_type, headers=(POLICY,))
