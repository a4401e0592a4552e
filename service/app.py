"""The BentoML service: what `bentoml serve` finds, and the life of a worker.

`bentoml serve` in the project takes the newest imported model; a Bento has its own inside. The process
that starts the workers imports this module too, so what only a worker needs is imported where it is used.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import click
from _bentoml_sdk import Service

from data.errors import BentocastError
from service import settings as configuration
from service.image import IMAGE

if TYPE_CHECKING:
    from service.life import Life
    from service.record import RecordSettings

MODEL = "bentocast"

logger = logging.getLogger("bentocast.service")


class RefusedError(click.ClickException):
    """The service does not start; the message says why."""

    def __init__(self, err: BentocastError) -> None:
        super().__init__(err.message)
        self.exit_code = err.exit_code  # type: ignore[misc] # click looks it up on the instance too


def _settings() -> configuration.Settings:
    try:
        return configuration.load(os.environ)
    except BentocastError as err:
        raise RefusedError(err) from err


SETTINGS = _settings()


class Fronted(Service[Any]):  # type: ignore[misc] # BentoML has no types
    """BentoML's service with our own application in front of it."""

    def to_asgi(self, is_main: bool = True) -> Any:  # noqa: FBT001, FBT002 - BentoML's signature
        """The application that the worker's server runs."""
        from service.http import Front

        logging.getLogger("uvicorn.access").propagate = False
        return Front(super().to_asgi(is_main=is_main), lambda: _life().worker, lambda: _life().metrics)


def _life() -> Life:
    """This worker's; requests are routed here only after it has started."""
    life: Life = bentoml.get_current_service().life
    return life


@bentoml.service(
    name=MODEL,
    service_class=Fronted,
    image=IMAGE,
    workers=SETTINGS.workers,
    traffic={"timeout": SETTINGS.deadline_seconds},
    metrics={"enabled": False},  # counted in front, with labels that cannot grow
    logging={"access": {"enabled": False}},
    http={"host": SETTINGS.host, "port": SETTINGS.port},
    **configuration.tls(SETTINGS),
)
class Bentocast:
    """Forecasts of many time series at once."""

    def __init__(self) -> None:
        from service.life import Life

        service: Any = Bentocast
        self.life = Life.of(SETTINGS, *_model(service.bento), service.schema, _record(SETTINGS))

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    def check() -> None:
        """Refuse to start with settings or a model that cannot be served, before any worker is there."""
        from data import forecaster
        from service import bill

        context = click.get_current_context(silent=True)
        given = {} if context is None else context.params
        chosen = {"HOST": given.get("host"), "PORT": given.get("port")}
        os.environ.update({configuration.PREFIX + key: str(value) for key, value in chosen.items() if value})
        service: Any = Bentocast
        try:
            checked = configuration.load(os.environ)
            _record(checked)
            configuration.check_ports(checked)
            model, _, bento = _model(service.bento)
            if checked.bill is not None:
                bill.check(checked.bill, bento, Path(__file__).parents[1], model.parent)
            forecaster.verify(model)
        except BentocastError as err:
            raise RefusedError(err) from err

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Open gRPC, begin to count, and be ready."""
        await self.life.start()
        signal.signal(signal.SIGTERM, self._ending(asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)))
        # What is there now stays: nothing of it is looked through again.
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Write down what is still in memory."""
        await self.life.stop()

    @bentoml.api(route="/forecast")  # type: ignore[untyped-decorator]
    def forecast(
        self, inputs: list[dict[str, Any]], options: dict[str, Any] | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """Forecast one or many series (the Time Series API, for BentoML's own clients)."""
        return self.life.answer({"inputs": inputs, "options": options or {}, "model": model})

    def _ending(self, loop: asyncio.AbstractEventLoop, ended_by: Any) -> Any:
        """Handles SIGTERM: not ready at once, ended when balancers have had the time to see it."""

        def drained(number: int) -> None:
            loop.call_later(SETTINGS.drain_seconds, ended_by, number, None)

        def told(number: int, _: Any) -> None:
            loop.call_soon_threadsafe(lambda: loop.create_task(self.life.drain()))
            loop.call_soon_threadsafe(drained, number)

        return told


def _record(settings: configuration.Settings) -> RecordSettings | None:
    """Where the record is kept, if there is one; all services of one BentoML home share it unless told otherwise."""
    from service.record import settings as record

    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    return (
        record.of(settings.record_url, home, settings.record_retention, settings.record_sample)
        if settings.record
        else None
    )


def _model(bento: Any) -> tuple[Path, dict[str, str], str]:
    """Folder and labels of the model that a Bento was built with, and the Bento's tag.

    Without a Bento, the newest model in the store. `BentoModel("bentocast:latest")` would be the newest in the
    store for a Bento too: after the next import, an old Bento would answer with the new model.
    """
    tags = [] if bento is None else [str(model.tag) for model in bento.info.all_models if model.tag.name == MODEL]
    stored = bentoml.models.get(tags[0] if tags else f"{MODEL}:latest")
    labels = {"mlflow_version": str(stored.tag.version), **stored.info.labels}
    return Path(stored.path) / "mlflow_model", labels, MODEL if bento is None else str(bento.tag)
