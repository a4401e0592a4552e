"""The front application without a socket: asked by httpx, or message by message."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import httpx
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from data.forecaster import Forecaster
from service.http import Front
from service.metrics import Metrics
from service.worker import Worker
from tests.service.world import World

FORECAST = "/v1/timeseries/forecast"
MODELS, ACTUALS = "/v1/timeseries/models", "/v1/timeseries/actuals"
INFER, PREDICT = "/v2/models/bentocast/infer", "/v1/models/bentocast:predict"


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """BentoML's application, which is not asked."""
    raise AssertionError(scope)


class Client:
    """Talks to the application; a fault of it is an answer, as behind a server."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.registry = CollectorRegistry()
        self.metrics = Metrics(worker.served, self.registry)
        self.app = Front(nobody, lambda: self.worker, lambda: self.metrics)

    @classmethod
    def of(cls, world: World, **settings: Any) -> Client:
        """A client of a worker with some settings."""
        return cls(world.worker(**settings))

    @classmethod
    def of_broken(cls, world: World, fault: Exception, **settings: Any) -> Client:
        """A client of a worker whose model fails."""

        class Broken(Forecaster):
            def scaled(self, *_: object, **__: object) -> Any:
                raise fault

        broken = Broken(world.forecaster.card, world.forecaster._session)
        worker = world.worker(**settings)
        return cls(Worker.of(replace(worker.served, forecaster=broken), worker.settings))

    def talk(self, conversation: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        """Have a conversation of several requests."""

        async def have() -> Any:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                return await conversation(client)

        return anyio.run(have)

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """One request."""
        answer: httpx.Response = self.talk(lambda client: client.request(method, path, **sent))
        return answer

    def get(self, path: str, **sent: Any) -> httpx.Response:
        """Ask for a page."""
        return self.request("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        """Send a body."""
        return self.request("POST", path, **sent)

    def endpoints(self) -> set[str]:
        """What the metrics are labelled with."""
        (found,) = (family for family in self.registry.collect() if family.name == "bentoml_service_request")
        return {sample.labels["endpoint"] for sample in found.samples}


class Wire:
    """A connection that sends what it is told to, and waits for ever after that."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """The next message."""
        if not self.messages:
            await anyio.sleep_forever()
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        self.sent.append(message)

    def ask(self, client: Client, path: str = FORECAST, method: str = "POST", **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer; 0 if there was none."""
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope: Scope = {"type": "http", "method": method, "path": path, "headers": named, "query_string": b""}
        anyio.run(client.app, scope, self.receive, self.send)
        if not self.sent:
            return 0, None
        body = b"".join(message.get("body", b"") for message in self.sent)
        is_json = dict(self.sent[0]["headers"])[b"content-type"] == b"application/json"
        return self.sent[0]["status"], json.loads(body) if body and is_json else None


def chunk(body: bytes, *, more: bool = True) -> Message:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


class Talk(Wire):
    """A connection that notes what waits, and what room there is, when it is answered."""

    def __init__(self, client: Client, *messages: Message) -> None:
        super().__init__(*messages)
        self.client, self.waiting_bytes, self.room_bytes = client, list[int](), list[int]()

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        admission = self.client.worker.admission
        self.waiting_bytes.append(admission._loop.waiting_bytes)
        self.room_bytes.append(admission._room_bytes)
        await super().send(message)


def is_an_error(answer: httpx.Response) -> bool:
    """In the shape of the Time Series API, or that of KServe's V1 and V2 on their paths."""
    error = answer.json()["error"]
    if re.match(r"/v2|/v1/models", answer.request.url.path) and isinstance(error, str):
        return list(answer.json()) == ["error"]
    texts = all(isinstance(error[key], str) for key in ("code", "message", "type"))
    return texts and list(error) == ["code", "message", "param", "type"]
