"""How good rollouts are, in figures: real Bentos, real Envoy, real traffic; each figure by its name."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from data.command import say
from loadtests import spoiled
from loadtests.faults import LoadtestError
from loadtests.rollouts import site
from loadtests.rollouts.site import Load, Site
from loadtests.serving import h2load, openloop
from loadtests.serving.openloop import Offered
from loadtests.serving.ratios import percentile

#: A rollout of a few seconds: what is counted here is what is lost on the way, not how sharp the judge is.
QUICK: dict[str, Any] = {
    "judgement": {
        "requests": 50,
        "slowness": {"tolerated": 3.0, "excluded": 10.0, "share": 0.2},
        "errors": {"share": 0.1},
    },
    "canary": {"steps": [{"weight": 0.5, "requests": 50, "at_most": "2min"}]},
}
#: The plan and judge as they come, without copies before: what users see of a bad version.
BARE: dict[str, Any] = {
    "canary": {
        "steps": [
            {"weight": 0.1, "requests": 500},
            {"weight": 0.25, "requests": 1_000},
            {"weight": 0.5, "requests": 2_000},
        ]
    }
}
#: The plan and judge as they come, with copies before.
WHOLE: dict[str, Any] = {}

#: A slow version's p95, as a multiple, and by how much it may miss that.
SLOWER, NEAR = 1.3, 0.04
#: Copies that are made to find one like that, and the loop of the first.
TRIES, FIRST_LOOP_SECONDS = 8, 0.002
#: Requests/s that slowness is looked for at, series in each, and the turns in which a copy is compared with what it is a copy of.
RATE, SERIES = 40, 32
TURNS, TURN_SECONDS = 8, 5.0

Row = tuple[str, str]


def moves(tag: str, params: Path, many: int) -> list[Row]:
    """Requests lost over promotions, rollbacks and scale changes, HTTP and gRPC."""
    with site.up(tag, QUICK, params) as place:
        other = spoiled.make(tag, "", "same")
        try:
            with Load.on(place, 60, "Native", "Grpc") as load:
                for number in range(many):
                    say(f"promotion and rollback {number + 1} of {many}")
                    place.must("canary", other)
                    place.must("rollback")
                for number in range(many):
                    say(f"scale change {number + 1} of {many}")
                    place.must("scale", "1" if number % 2 else "2")
        finally:
            spoiled.remove(other)
    return [
        (
            f"lost over {many} promotions, {many} rollbacks, {many} scale changes",
            f"{load.failed} of {load.requests}: {load}",
        )
    ]


def failing(tag: str, params: Path, _: int) -> list[Row]:
    """A canary with 5 % errors at 10 % weight, 200 requests/s."""
    with site.up(tag, BARE, params) as place:
        bad = spoiled.make(tag, spoiled.failing(0.05), "failing")
        try:
            with Load.on(place, 200) as load:
                time.sleep(5.0)
                done = place.run("canary", bad)
        finally:
            spoiled.remove(bad)
    took = done.when("rolled back") - done.when("weight 10%")
    return [
        ("5 % errors at 10 % weight: ended", done.last[:160]),
        ("seconds from the first look at the weight to rolled back", f"{took:.1f}"),
        ("users' failed requests", f"{load.failed} of {load.requests} ({load.failed / load.requests:.2%})"),
    ]


def slow(tag: str, params: Path, _: int) -> list[Row]:
    """A canary that is 30 % slower at p95, in every request, and in three of ten."""
    return [row for share in (1.0, 0.3) for row in _slow(tag, params, share)]


def _slow(tag: str, params: Path, share: float) -> list[Row]:
    bad, before, p95 = _slowed(tag, params, share)
    name = f"{p95 / before - 1:.0%} slower at p95, by a loop in {share:.0%} of requests"
    try:
        with site.up(tag, BARE, params) as place, _asking(place):
            time.sleep(10.0)
            done = place.run("canary", bad)
    finally:
        spoiled.remove(bad)
    steps = [line for _, line in done.lines if line.startswith("step ")]
    return [
        (f"{name}: p95, each alone", f"{before * 1e3:.1f} ms, {p95 * 1e3:.1f} ms"),
        (f"{name}: found at", steps[-1][:60] if steps else "?"),
        (f"{name}: ended", done.last[:200]),
    ]


def _slowed(tag: str, params: Path, share: float) -> tuple[str, float, float]:
    """A copy whose p95 is `SLOWER` times as long, and both p95s.

    How long its loop must be is found by trying: of a loop in some requests, p95 sees a part.

    Raises:
        LoadtestError: no loop was found.
    """
    loop = FIRST_LOOP_SECONDS
    for _ in range(TRIES):
        bad = spoiled.make(tag, spoiled.slow(loop, share), f"slow-{share * 100:.0f}")
        try:
            with site.up(tag, BARE, params) as own, site.up(bad, BARE, params) as other:
                before, p95 = _p95(own, other)
        except BaseException:
            spoiled.remove(bad)
            raise
        say(f"a loop of {loop * 1e3:.2f} ms in {share:.0%} of requests: p95 {p95 / before:.2f}x")
        if abs(p95 / before - SLOWER) <= NEAR:
            return bad, before, p95
        spoiled.remove(bad)
        loop *= min(max((SLOWER - 1) * before / max(p95 - before, 1e-9), 0.4), 2.5)
    raise LoadtestError(f"no loop in {share:.0%} of requests makes p95 {SLOWER:g} times as long, after {TRIES} tries")


@contextlib.contextmanager
def _asking(place: Site) -> Iterator[None]:
    """Users who ask for many series at once, until the block ends.

    Raises:
        LoadtestError: they stopped before, so what was seen was seen without them.
    """
    request, over = _request(place), threading.Event()

    def ask() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            _offered(place, request, turn)

    users = threading.Thread(target=ask)
    users.start()
    try:
        yield
        if not users.is_alive():
            raise LoadtestError(
                f"{place.url}: the users stopped asking before the rollout ended; see the traceback above"
            )
    finally:
        over.set()
        users.join()


def _p95(*places: Site) -> list[float]:
    """Of half a minute of requests to each, in turns, seconds, through their routers."""
    request = _request(places[0])
    took: list[list[float]] = [[] for _ in places]
    for turn in range(TURNS + 1):
        for place, times in zip(places, took, strict=True):
            offered = _offered(place, request, turn)
            if turn:  # the first warms up
                times.extend(offered.latencies.get(200, []))
    return [percentile(one, 0.95) for one in took]


def _offered(place: Site, request: bytes, seed: int) -> Offered:
    times = openloop.schedule(RATE, TURN_SECONDS, seed)
    return openloop.offer(place.port, request, times, TURN_SECONDS, connections=64)


def _request(place: Site) -> bytes:
    """A request for so many series that whole milliseconds, which the router counts in, are a small part of it."""
    examples = requests.get(f"{place.url}/v1/timeseries/examples", timeout=30).json()["examples"]
    asked = examples[0]["request"]
    asked["inputs"] = [one | {"name": f"{number}"} for number in range(SERIES) for one in asked["inputs"][:1]]
    body = json.dumps(asked).encode()
    return openloop.request("/v1/timeseries/forecast", body, ("content-type: application/json",))


def nonsense(tag: str, params: Path, _: int) -> list[Row]:
    """A canary that answers nonsense at full speed, with copies first."""
    with site.up(tag, WHOLE, params) as place:
        bad = spoiled.make(tag, spoiled.nonsense(), "nonsense")
        try:
            with Load.on(place, 60) as load:
                time.sleep(5.0)
                done = place.run("canary", bad)
        finally:
            spoiled.remove(bad)
    weighted = any("weight" in line for _, line in done.lines if line.startswith("step "))
    return [
        ("nonsense: ended", done.last[:160]),
        ("users got an answer of it", "yes" if weighted else "no: it never had a weight"),
        ("users' wrong answers", f"{load.failed} of {load.requests}"),
    ]


@dataclass
class Users:
    """Users whose requests are safe to repeat, and who do that when a connection breaks."""

    url: str
    told: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    repeated: int = 0

    def ask(self) -> None:
        """Until it is over."""
        again = Retry(total=8, backoff_factor=0.1, status_forcelist=(502, 503, 504), allowed_methods=None)
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=again))
            example = session.get(f"{self.url}/v1/timeseries/examples", timeout=30).json()["examples"][0]["request"]
            while not self.over.wait(0.02):
                try:
                    answer = self._answer(session, example)
                    self.told[str(answer.status_code)] += 1
                except requests.RequestException as err:
                    self.told[type(err).__name__] += 1

    def _answer(self, session: requests.Session, example: Any) -> requests.Response:
        """An answer; one that breaks off in the middle is asked for once more, which `Retry` does not do."""
        send = functools.partial(session.post, f"{self.url}/v1/timeseries/forecast", json=example, timeout=30)
        try:
            return send()
        except requests.exceptions.ChunkedEncodingError:
            self.repeated += 1
            return send()


def kills(tag: str, params: Path, many: int) -> list[Row]:
    """kill -9 of the command, the router or an instance at random moments of a rollout."""
    draw = random.Random(0)
    ends: Counter[str] = Counter()
    with site.up(tag, QUICK, params) as place:
        other = spoiled.make(tag, "", "same")
        users = Users(place.url)
        threads = [threading.Thread(target=users.ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(many):
                victim = ("command", "router", "instance")[number % 3]
                candidate = other if number % 2 == 0 or ends["promoted"] == 0 else tag
                ends[_killed(place, candidate, victim, draw.uniform(0.0, 14.0))] += 1
                say(f"{number + 1} of {many}: {victim} killed; so far {dict(ends)}, users {dict(users.told)}")
        finally:
            users.over.set()
            for thread in threads:
                thread.join()
            spoiled.remove(other)
    wrong = users.told.total() - users.told["200"]
    return [
        (f"rollouts with a kill -9, {many}", ", ".join(f"{count} {end}" for end, count in ends.items())),
        ("users' requests without a right answer", f"{wrong} of {users.told.total()}: {dict(users.told)}"),
        ("answers that broke off and were asked for again", str(users.repeated)),
    ]


def _killed(place: Site, candidate: str, victim: str, after: float) -> str:
    """How a rollout ended in which something was killed."""
    process = place.start("canary", candidate)
    time.sleep(after)
    if victim == "command":
        process.kill()
    else:
        kind = "router" if victim == "router" else ""
        found = [one for one in _kept(place) if (kind == "router") == ("router" in one[0])]
        if found:
            found[-1][1].send_signal(signal.SIGKILL)
    _, told = process.communicate()
    if process.returncode < 0:
        done = place.run("resume")
        code, told = done.code, "\n".join(line for _, line in done.lines)
    else:
        code = process.returncode
    if "serves already" in told:
        return "nothing to do"
    if "no rollout is under way" in told:
        return "was over, or had not begun"
    return {0: "promoted", 7: "rolled back", 8: "paused"}.get(code, f"ended with {code}: {told[-200:]}")


def _kept(place: Site) -> list[tuple[str, psutil.Process]]:
    """Router and instances, by name, the newest last."""
    mark = f"{place.folder.resolve() / 'deployment'}:"
    found = []
    for process in psutil.process_iter(["create_time"]):
        try:
            name = process.environ().get("DEPLOY_PROCESS", "")
        except psutil.Error:
            continue
        if name.startswith(mark) and not name.endswith(":keeper"):
            found.append((name.removeprefix(mark), process))
    return sorted(found, key=lambda one: one[1].info["create_time"])


def router(tag: str, params: Path, rounds: int) -> list[Row]:
    """What the router costs: the same requests to an instance and through the router, in turn, at 16 connections."""
    h2load.version()
    rates: dict[str, list[float]] = {"direct": [], "router": []}
    medians: dict[str, list[float]] = {"direct": [], "router": []}
    with site.up(tag, WHOLE, params) as place:
        body = place.folder / "request.json"
        examples = requests.get(f"{place.url}/v1/timeseries/examples", timeout=30).json()["examples"]
        body.write_text(json.dumps(examples[0]["request"]), encoding="utf-8")
        ports = {"direct": place.instance_port(), "router": place.port}
        for number in range(rounds + 1):
            for way in sorted(ports, reverse=bool(number % 2)):
                log = place.folder / "latencies"
                rate = _closed(ports[way], body, log)
                if number:  # the first round warms up
                    rates[way].append(rate)
                    medians[way].append(statistics.median(h2load.latencies(log)))
    slower = [own - other for own, other in zip(medians["router"], medians["direct"], strict=True)]
    share = [own / other for own, other in zip(rates["router"], rates["direct"], strict=True)]
    return [
        ("router: p50 more than direct, 16 connections", f"{statistics.median(slower) * 1e3:.2f} ms"),
        (
            "router: throughput over direct, 16 connections",
            f"{statistics.median(share):.2f}x (direct {statistics.median(rates['direct']):,.0f}/s)",
        ),
    ]


def _closed(port: int, body: Path, log: Path) -> float:
    log.unlink(missing_ok=True)
    how = ["h2load", "-t", "1", "-c", "16", "-m", "1", "--h1", "-D", "5", "--log-file", str(log), "-d", str(body)]
    where = f"http://127.0.0.1:{port}/v1/timeseries/forecast"
    done = subprocess.run(
        [*how, "-H", "content-type: application/json", where], capture_output=True, text=True, check=True
    )
    loaded = h2load.parse(done.stdout)
    if loaded.failed:
        raise LoadtestError(f"port {port}: {loaded.failed} of {loaded.succeeded + loaded.failed} requests failed")
    return loaded.rate


FIGURES: dict[str, Callable[[str, Path, int], list[Row]]] = {
    "moves": moves,
    "failing": failing,
    "slow": slow,
    "nonsense": nonsense,
    "kills": kills,
    "router": router,
}


def table(rows: list[Row]) -> str:
    """In Markdown."""
    return "\n".join(["| figure | measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
