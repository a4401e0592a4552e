"""Rules of a gate that need no service: all in one process of its own, since locust puts gevent into this one's place."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.loadtests.store import ROOT

#: Sides that answer at once; `told` may be changed.
FAKES = """
import numpy as np
from data.loadtest import LoadGate
from loadtests.arrivals import Told
from loadtests.faults import LoadtestError
from loadtests.gate import contest, rounds
from loadtests.gate.rounds import Contest, Measured
from loadtests.processes import Memory

class Server:
    spent = 0.0
    def family(self): return frozenset()
    def check_alive(self, since): pass
    def memory(self): return Memory(10**8, 2 * 10**8)
    def processor_seconds(self):
        Server.spent += 0.01
        return Server.spent
    class command: name = "fake"

class Source:
    class connection: messages = list(range(50))
    def __init__(self, told): self.told = told
    def offer(self, times, picks):
        self.times = times.tolist()
        self.picks = picks.tolist()
        return self.told
    def saturate(self, connections, seconds, picks): return self.told

def told(generator=0.1, late=0.0001, right=100, wrong=0):
    made = Told([0.002 + place * 1e-5 for place in range(right)], [late] * (right + wrong), seconds=1.0, spent=generator)
    if wrong: made.faults["StatusError: 500: on purpose"] = wrong
    return made

def sides(baseline=None, candidate=None, clock=None, **plan):
    servers = {side: Server() for side in rounds.SIDES}
    sources = {"baseline": Source(baseline or told()), "candidate": Source(candidate or told())}
    more = {} if clock is None else {"clock": clock}
    families = {side: frozenset() for side in rounds.SIDES}
    return Contest(servers, families, sources, LoadGate(**plan), 0.1, np.random.default_rng(0), **more)
"""

#: Runs each case by itself, and says what it printed, or its traceback.
RUN = """
import contextlib, io, json, linecache, sys, traceback
fakes, cases = json.load(sys.stdin)
told = {}
for name, code in cases.items():
    whole = fakes + code
    linecache.cache[name] = (len(whole), None, whole.splitlines(keepends=True), name)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(compile(whole, name, "exec"), {"__name__": name})
        except Exception:
            traceback.print_exc(file=out)
    told[name] = out.getvalue().strip()
print(json.dumps(told))
"""


class Case(NamedTuple):
    """Some code, and what it prints."""

    code: str
    prints: str


CASES = {
    "both_sides_get_the_same_requests_at_the_same_times_in_random_order": Case(
        """
order = []
asked = Source.offer
def offer(self, times, picks):
    order.append(self)
    return asked(self, times, picks)
Source.offer = offer
contest_ = sides(rounds=60)
measured = Measured(rate=100.0)
def clear(measured):
    one, other = (contest_.sources[side] for side in rounds.SIDES)
    assert one.times == other.times and one.picks == other.picks and len(one.picks) == len(one.times)
    return False
rounds.run(contest_, measured, clear)
first = [one is contest_.sources["baseline"] for one in order[::2]]
rounds_ = [first[start:start + rounds.PIECES] for start in range(0, len(first), rounds.PIECES)]
turns = all(one != other for each in rounds_ for one, other in zip(each, each[1:]))
print(len(measured.rounds), turns, 15 < sum(each[0] for each in rounds_) < 45)
""",
        "60 True True",
    ),
    "it_ends_as_soon_as_the_verdict_is_clear": Case(
        """
measured = Measured(rate=100.0)
rounds.run(sides(rounds=60), measured, lambda measured: len(measured.rounds) == 7)
print(len(measured.rounds))
""",
        "7",
    ),
    "a_clock_that_jumps": Case(
        """
import time
times = iter([0.0, 0.0, 0.0, 3600.0])
try:
    rounds.run(sides(rounds=9, clock=lambda: time.monotonic() + next(times)), Measured(rate=50.0), lambda _: False)
except LoadtestError as err:
    print(err.exit_code, err.message)
""",
        "9 the clock jumped by +3600.0 s in round 3 (set by hand, or the machine slept): run the gate again",
    ),
    "a_round_without_a_right_answer": Case(
        """
try:
    rounds.run(sides(candidate=told(right=0, wrong=30)), Measured(rate=50.0), lambda _: False)
except LoadtestError as err:
    print(err.message)
""",
        "round 1: candidate answers none of 90 requests right: StatusError: 500: on purpose",
    ),
    "a_round_in_which_nothing_is_due": Case(
        """
try:
    rounds.run(sides(told(right=0)), Measured(rate=1e-9), lambda _: False)
except LoadtestError as err:
    print(err.message)
""",
        "round 1: no request is due in 1 s at 0.3 of the baseline's throughput: raise loadtest.gate.load or "
        "loadtest.gate.seconds",
    ),
    "a_busy_generator_is_named_and_nothing_passes": Case(
        """
measured = Measured(rate=50.0)
rounds.run(sides(baseline=told(generator=0.97), rounds=3), measured, lambda _: False)
check = contest.generator(measured)
print(check.outcome, check.text)
""",
        "inconclusive generator: 97% of a core, late by 0.10 ms (p50), 0.10 ms (p99): the generator, not the "
        "service, is the limit of the throughput; lower loadtest.gate.connections",
    ),
    "a_late_generator_is_named": Case(
        """
measured = Measured(rate=50.0)
rounds.run(sides(candidate=told(late=0.002), rounds=3), measured, lambda _: False)
check = contest.generator(measured)
print(check.outcome, check.text)
""",
        "inconclusive generator: 10% of a core, late by 2.00 ms (p50), 2.00 ms (p99): the generator, not the "
        "service, makes the p50 of 2.49 ms; give it a core of its own, or lower loadtest.gate.load",
    ),
    "a_generator_with_time_to_spare": Case(
        """
measured = Measured(rate=50.0)
rounds.run(sides(rounds=3), measured, lambda _: False)
print(contest.generator(measured).outcome)
""",
        "pass",
    ),
    "picks_have_the_mix_of_the_deck": Case(
        """
from loadtests.arrivals import picks, poisson
draw = np.random.default_rng(0)
whole = picks(500, 50, draw)
print(np.bincount(whole).tolist() == [10] * 50, len(picks(7, 50, draw)), picks(0, 50, draw).size)
times = poisson(100.0, 50.0, draw)
gaps = np.diff(times)
print(4600 < times.size < 5400, 0.9 < gaps.std() / gaps.mean() < 1.1, bool((gaps >= 0).all()))
""",
        "True 7 0\nTrue True True",
    ),
    "models_that_want_other_requests_are_not_compared": Case(
        """
import types
from unittest import mock
from data.loadtest import Loadtest
from loadtests.asks import Wanted
from loadtests.gate.bentos import Bento
given = []
def source(server, side, settings, seed, same):
    given.append(same)
    horizon = 24 if side == "baseline" else 12
    wanted = Wanted("m", "1h", horizon, 100, (), (), "b:" + side, None)
    connection = types.SimpleNamespace(wanted=wanted, asks=["made for " + side])
    return types.SimpleNamespace(connection=connection, close=lambda: print("closed", side))
bentos = {side: Bento("b:" + side, {}) for side in rounds.SIDES}
try:
    with mock.patch.object(contest, "_source", source):
        with contest._sources(dict.fromkeys(rounds.SIDES), bentos, Loadtest(), 0):
            print("compared")
except LoadtestError as err:
    print(err.message)
print(given)
""",
        "closed candidate\n"
        "closed baseline\n"
        "baseline and candidate cannot be compared, their models want horizon 24 and 12: the same requests would be "
        "other work; compare Bentos of models with the same features\n"
        "[None, ['made for baseline']]",
    ),
}


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What each case printed."""
    asked = json.dumps([FAKES, {name: case.code for name, case in CASES.items()}])
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=ROOT, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed: dict[str, str] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize("name", CASES)
def test_rules(told: dict[str, str], name: str) -> None:
    assert told[name] == CASES[name].prints
