"""Plays time: requests and actual values through the deployment of a project, the seven tests each evening, and the loop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import numpy as np
import requests

from data.declaration import Declaration
from data.example import QUANTILES
from data.features import Design
from data.verdict import Outcome, Verdict
from deploy import journals
from deploy.place import Place
from deploy.running import instances
from loadtests import spoiled
from monitoring import suite
from monitoring.context import Context
from monitoring.ledger import Ledger, Retraining
from monitoring.loop import Loop
from monitoring.pages import Pages
from monitoring.simulation.city import City
from monitoring.simulation.faults import Fault
from monitoring.simulation.project import Project
from monitoring.steps import Commands

#: Metrics are kept for so long.
KEPT_SECONDS = 40 * 86_400.0
#: From one evening, when they are read, to the next.
READ_SECONDS = 86_400.0
#: The service writes its record and its counters a few times a second.
SETTLE_SECONDS = 0.4
#: Sent beyond what the model needs: a history that begins with missing values is too short otherwise.
SPARE_HOURS = 5 * 24
#: Requests a second of the users that a canary is judged by.
CROWD = 40
TIMEOUT_SECONDS = 60.0
JSON = {"content-type": "application/json"}


@dataclass
class Alarm:
    """A test that began to fail, or could not be run.

    Attributes:
        day: since the first simulated one.
        test: its name.
        outcome: `fail` or `error`.
        text: what it said.
    """

    day: float
    test: str
    outcome: Outcome
    text: str


@dataclass
class Told:
    """What a simulation saw.

    Attributes:
        alarms: in their order.
        retrainings: as they ended.
        requests: that were answered.
        failed: of them, not with 200.
        verdicts: of the last evening.
    """

    alarms: list[Alarm] = field(default_factory=list)
    retrainings: list[Retraining] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)


@dataclass
class Player:
    """A deployment that time passes in.

    Attributes:
        project: whose it is; its commands run in the project's folder, and so must this process.
        city: what happens.
        tag: of the Bento that serves first.
        every: hours between requests.
        say: tells a person what goes on.
        with_loop: whether the loop runs.
    """

    project: Project
    city: City
    tag: str
    every: int
    say: Callable[[str], None]
    with_loop: bool = False
    told: Told = field(default_factory=Told, init=False)

    def __post_init__(self) -> None:
        self._params = self.project.config()
        declaration = Declaration(series=self._params.series, features=self._params.features)
        self._design = Design(declaration, 1.0)
        self._place = Place(self.project.folder.parent / "deployment")
        self._pages = Pages(KEPT_SECONDS, READ_SECONDS)
        self._session = requests.Session()
        self._url = f"http://{self._params.deploy.router.host}:{self._params.deploy.router.port}"
        self._instances: set[str] = set()
        self._wrong: set[tuple[str, Outcome]] = set()
        self.record = ""
        #: Place of the hour at which the table of the newest model ended.
        self.trained = 0
        self._stopped = False
        self._hour = 0

    @contextmanager
    def up(self, begin: int) -> Iterator[None]:
        """The deployment, from an hour on.

        Args:
            begin: place of the hour in the city.
        """
        self._hour = self._first = begin
        self.trained = self._hour
        self.project.deploy("up", self.tag)
        try:
            self._journal = journals.of(self._place)
            self._ledger = Ledger(journals.url(self._place))
            self._read()
            self.record = f"sqlite:///{self._place.folder / 'record.db'}"
            yield
        finally:
            self.project.deploy("down")

    def play(self, until: int, fault: Fault | None = None, wanted: Callable[[Told], bool] = lambda _: False) -> None:
        """Let time pass.

        Args:
            until: place of the hour.
            fault: that there is all the while.
            wanted: asked each evening: whether enough was seen.
        """
        late = fault.late if fault else 0
        self._stopped = bool(fault and fault.stopped)
        if fault and fault.code:
            self.tag = spoiled.make(self.tag, fault.code, "fault")
            self.project.deploy("down")  # nobody goes back to what never served, and a judge would find it
            self.project.deploy("up", self.tag)
            self._read()
        known = max(self._hour - late, self._first)
        while self._hour < until:
            self._hour += 1
            if self._hour % self.every == 0:
                self._ask(self._body(range(len(self.city.names))))
            arrived = self._hour - late
            if self._hour % 24 == 0 and arrived > known:
                self._actuals(known, arrived)
                known = arrived
            if self._hour % 24 == 0:
                self._evening()
                if wanted(self.told):
                    return

    @property
    def _now(self) -> float:
        """Seconds since 1970, in the simulated time: the hour that just ended."""
        return self._at(self._hour)

    def _at(self, hour: int) -> float:
        return float(self.city.hours[hour].astype("datetime64[s]").astype(np.int64))

    def days(self, moment: float) -> float:
        """Simulated days from the first to a moment, seconds since 1970."""
        return (moment - self._at(self._first)) / 86_400

    @property
    def day(self) -> float:
        """Simulated days since the first."""
        return (self._hour - self._first) / 24

    def _body(self, stations: range | list[int]) -> bytes:
        """A request of some stations at this hour: what is known is before it."""
        design, hour = self._design, self._hour
        past, ahead = slice(hour - design.context - SPARE_HOURS, hour), slice(hour, hour + design.horizon)
        city = self.city
        inputs = [
            {
                "name": city.names[station],
                "series": city.target[station, past].tolist(),
                "frequency": self._params.series.frequency,
                "start_timestamp": str(city.hours[past.start].astype("datetime64[s]")),
                "past_covariates": {name: city.covariates[name][past].tolist() for name in design.past},
                "future_covariates": {name: city.covariates[name][ahead].tolist() for name in design.future},
            }
            for station in stations
        ]
        return msgspec.json.encode({"inputs": inputs, "options": {"quantiles": QUANTILES}})  # NaN becomes null

    def _ask(self, body: bytes) -> None:
        answer = self._session.post(
            f"{self._url}/v1/timeseries/forecast", data=body, headers=JSON, timeout=TIMEOUT_SECONDS
        )
        self.told.requests += 1
        if answer.status_code != 200:
            self.told.failed += 1
            self.say(f"day {self.day:.1f}: a forecast was answered with {answer.status_code}: {answer.text[:200]}")

    def _actuals(self, first: int, until: int) -> None:
        """What really came in some hours."""
        city = self.city
        times = [str(hour.astype("datetime64[s]")) for hour in city.hours[first:until]]
        came = [
            {"series": name, "timestamp": moment, "value": value}
            for name, values in zip(city.names, city.target[:, first:until].tolist(), strict=True)
            for moment, value in zip(times, values, strict=True)
            if not math.isnan(value)
        ]
        answer = self._session.post(
            f"{self._url}/v1/timeseries/actuals",
            data=msgspec.json.encode({"actuals": came}),
            headers=JSON,
            timeout=TIMEOUT_SECONDS,
        )
        answer.raise_for_status()

    def _evening(self) -> None:
        """The seven tests, and what the loop makes of them."""
        time.sleep(SETTLE_SECONDS)
        self._read()
        verdicts = self.told.verdicts = suite.run(Context(self._params, self._now, self._pages, self.record))
        wrong = {
            (name, outcome): "; ".join(check.text for check in verdict.checks if check.outcome is outcome)
            for name, verdict in verdicts.items()
            for outcome in (Outcome.FAIL, Outcome.ERROR)
            if any(check.outcome is outcome for check in verdict.checks)
        }
        for (name, outcome), text in wrong.items():
            if (name, outcome) not in self._wrong:
                self.told.alarms.append(Alarm(self.day, name, outcome, text))
                self.say(f"day {self.day:.0f}: {name} {outcome}: {text}")
        self._wrong = set(wrong)
        if self.with_loop:
            self._turn(verdicts)

    def _read(self) -> None:
        """Pages of all instances, and of the pipeline's stages."""
        known = {one.name: one.endpoint.http for one in instances.known(self._journal)}
        for name, port in known.items():
            page = self._session.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS)
            page.raise_for_status()
            self._pages.read(page.text, name, self._now)
        for name in self._instances - known.keys():
            self._pages.read("", name, self._now)
        self._instances = set(known)
        stages = "".join(
            f'pipeline_stage_last_success_timestamp_seconds{{stage="{stage}"}} {self._at(self.trained)!r}\n'
            for stage in ("ingest", "features", "backtest", "train", "promote")
        )
        self._pages.read(
            f"# TYPE pipeline_stage_last_success_timestamp_seconds gauge\n{stages}", "pushgateway", self._now
        )

    def _turn(self, verdicts: dict[str, Verdict]) -> None:
        settings = self._params.monitoring.loop
        if self._stopped:
            settings = settings.model_copy(update={"schedule": None})
        steps = Commands(self._params, self.project.params, self._place, self._place.logs / "loop.log", self.say)
        loop = Loop(settings, self._ledger, steps, self.say, lambda: self._now)
        if self._ledger.under_way() or (loop.reason(verdicts, self._at(self.trained)) and not loop.cooling()):
            self.project.write(self.city.table(self._params, self._hour))
            with self._crowd():
                ended = loop.turn(verdicts, self._at(self.trained))
            if ended:
                self.told.retrainings.append(ended)
                self.say(f"day {self.day:.0f}: retraining {ended.id} {ended.state}: {ended.why}")
                if ended.state == "healed":
                    self.trained = self._hour
                    self._read()  # what the new instances count from
                    self.tag = ended.about["bento"]

    @contextmanager
    def _crowd(self) -> Iterator[None]:
        """Users who ask at this hour all the while: a canary is judged by them."""
        bodies = [self._body([station]) for station in range(len(self.city.names))]
        over = threading.Event()

        def ask() -> None:
            with requests.Session() as session:
                for number in range(1 << 30):
                    if over.wait(1 / CROWD):
                        return
                    answer = session.post(
                        f"{self._url}/v1/timeseries/forecast",
                        data=bodies[number % len(bodies)],
                        headers=JSON,
                        timeout=TIMEOUT_SECONDS,
                    )
                    self.told.requests += 1
                    self.told.failed += answer.status_code != 200

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
