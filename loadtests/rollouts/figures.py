"""How good rollouts are, in figures: real Bentos, real Envoy, real traffic; each figure by its name."""

from __future__ import annotations

import functools
import json
import random
import re
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Set
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
from loadtests.rollouts.plans import BARE, QUICK, WHOLE
from loadtests.rollouts.site import Load, Site
from loadtests.rollouts.slowness import slow
from loadtests.serving import h2load

#: How `deploy canary` ends, by its exit code.
PAUSED = 8
ENDS = {0: "promoted", 7: "rolled back", PAUSED: "paused"}
#: What a rollout took away has so long to end.
GONE_SECONDS = 30.0

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


def alike(tag: str, params: Path, many: int) -> list[Row]:
    """The same Bento as its own candidate, by plan and judge as they come: a rollback is a false alarm."""
    ends: Counter[str] = Counter()
    why: list[str] = []
    with site.up(tag, WHOLE, params) as place:
        other = spoiled.make(tag, "", "same")
        try:
            with Load.on(place, 60):
                for number in range(many):
                    done = place.run("canary", other)
                    ends[ENDS.get(done.code, f"ended with {done.code}")] += 1
                    say(f"{number + 1} of {many}, {dict(ends)}: {done.last[:200]}")
                    if done.code:
                        why.append(done.last[:160])
                    if done.code == PAUSED:
                        place.must("abort")
                    elif done.code == 0:
                        place.must("rollback")
        finally:
            spoiled.remove(other)
    return [
        (f"the same Bento {many} times", ", ".join(f"{count} {end}" for end, count in ends.items())),
        *(("not promoted", one) for one in why),
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
                ends[_killed(place, candidate, victim, draw)] += 1
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


def _killed(place: Site, candidate: str, victim: str, draw: random.Random) -> str:
    """How a rollout ended in which something was killed."""
    with place.start("canary", candidate) as process:
        time.sleep(draw.uniform(0.0, 14.0))
        if victim == "command":
            process.kill()
        else:
            kind = "router" if victim == "router" else ""
            found = [one for name, one in _kept(place) if (kind == "router") == ("router" in name)]
            if found:
                draw.choice(found).send_signal(signal.SIGKILL)
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
    end = ENDS.get(code, f"ended with {code}: {told[-200:]}")
    stray = "" if code == PAUSED else _settled(place)
    return f"{end}, but {stray}" if stray else end


def _settled(place: Site) -> str:
    """What is still not as it is after a rollout once all had time to end, or nothing."""
    late = time.monotonic() + GONE_SECONDS
    while (stray := astray(place.status(), {name for name, _ in _kept(place)})) and time.monotonic() < late:
        time.sleep(1.0)
    return stray


def astray(status: str, running: Set[str]) -> str:
    """What is not as it is after a rollout: one version has all requests, and nothing runs but its instances and the router.

    Args:
        status: as `deploy status` prints it.
        running: names of processes of the deployment.
    """
    shares = dict(re.findall(r"^  (\S+): ([0-9.]+%) of requests", status, re.MULTILINE))
    known = set(re.findall(r"^    (\S+) on \d+ and \d+: ready$", status, re.MULTILINE))
    if [*shares.values()] != ["100.0%"]:
        return f"versions have {shares or 'nothing'}, wanted one with 100.0% alone"
    if not known:
        return "none of its instances is ready"
    left = sorted(name for name in running - known if not name.startswith("router"))
    return f"left over: {', '.join(left)}" if left else ""


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
    "alike": alike,
    "failing": failing,
    "slow": slow,
    "nonsense": nonsense,
    "kills": kills,
    "router": router,
}


def table(rows: list[Row]) -> str:
    """In Markdown."""
    return "\n".join(["| figure | measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
