"""A service whose clock is played: real answers and real metrics, read as Prometheus would read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from data.forecaster import Forecaster
from monitoring.context import Context
from monitoring.pages import Pages
from service import forecasting
from service.histories import History
from service.metrics import Metrics
from service.served import Served
from tests.data import project
from tests.service.world import World
from training import noise

HOUR, DAY = 3_600, 86_400
NOW = 1_700_000_000.0
Change = Callable[[History], History]


def with_noise(world: World) -> World:
    """The same model with training's own noise in its card, as the stage `train` leaves it there."""
    card, design = world.forecaster.card, world.forecaster.design
    known = design.origin_table(world.panel)
    found = noise.noise(design, world.panel, known, card.reference, lambda rows: world.forecaster.run(rows)[0])
    reference = card.reference.model_copy(update={"noise": found})
    forecaster = Forecaster(card.model_copy(update={"reference": reference}), world.forecaster._session)
    return replace(world, forecaster=forecaster)


@dataclass
class Service:
    """One instance, and Prometheus beside it.

    Attributes:
        world: what it serves.
        version: of the model.
        bento: its tag.
        instance: its address.
        pages: what Prometheus has.
        now: seconds since 1970.
    """

    world: World
    version: str = "7"
    bento: str = "bentocast:abc123"
    instance: str = "127.0.0.1:3001"
    pages: Pages = field(default_factory=lambda: Pages(stale=HOUR))
    now: float = NOW

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.served = Served(self.world.forecaster, "bentocast", self.version, self.bento)
        self.metrics = Metrics(self.served, self.registry)
        self.read()

    def read(self) -> None:
        self.pages.read(generate_latest(self.registry).decode(), self.instance, self.now)

    def ask(self, *histories: History) -> None:
        """One request, answered and counted."""
        question = self.world.ask(*histories)
        _, seen = forecasting.answer(self.world.forecaster, [question])
        self.metrics.model.watch(seen)
        self.metrics.tick()

    def live(self, days: float, change: Change = lambda history: history, hours: Sequence[int] = range(24)) -> None:
        """Time goes by: all series are asked for once at some hours of the panel's last days."""
        for back in range(int(days * 24), 0, -1):
            if (24 - back) % 24 in hours:
                self.ask(*(change(self.world.history(place, back=back)) for place in range(len(self.world.panel))))
            self.now += HOUR
            self.read()

    def context(self, **changes: object) -> Context:
        params = project.changed({f"monitoring.{key.replace('__', '.')}": value for key, value in changes.items()})
        return Context(params, self.now, self.pages, None)


def stuck(column: str, value: float) -> Change:
    """A covariate known ahead that says one thing for ever."""

    def change(history: History) -> History:
        future = history.future_covariates
        return replace(history, future_covariates={**future, column: np.full(future[column].size, value)})

    return change


def scaled(column: str, factor: float, offset: float = 0.0) -> Change:
    """A covariate known ahead in another unit."""

    def change(history: History) -> History:
        future = history.future_covariates
        return replace(history, future_covariates={**future, column: future[column] * factor + offset})

    return change
