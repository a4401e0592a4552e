"""The loop, and what people say to it."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from data import command, durations
from data.errors import BentocastError, ConfigError, NotFoundError
from data.params import Params
from data.verdict import Verdict
from monitoring.commands import context

if TYPE_CHECKING:
    from monitoring.context import Context
    from monitoring.ledger import Ledger, Retraining
    from monitoring.loop import Loop

#: How often a retraining that waits for somebody is looked at, and one for what is away.
WAIT_SECONDS, AWAY_SECONDS = 10, 300

#: Verdicts of the tests by name, and when the data that the model was trained on ended, in seconds since 1970, if known.
Looked = tuple[Mapping[str, Verdict], float | None]


def loop(config: Params, asked: argparse.Namespace) -> int:
    """Run the tests again and again, and make a model anew when one of them asks for it."""
    from deploy.place import Place

    turned = Place.of(os.environ).turned
    with _alone(config):
        driver = _loop(config, asked)
        look = functools.partial(_look, config, asked)
        while True:
            if asked.once:
                return _code(turn(driver, look))
            with contextlib.suppress(OSError):  # no room on the disk
                turned.touch()  # see `monitoring.retrainings`
            time.sleep(pause(tried(driver, look), config.monitoring.loop.every))


def turn(driver: Loop, look: Callable[[], Looked]) -> Retraining | None:
    """One turn; what the tests say counts only where no retraining is under way, so they are not run while one is."""
    return driver.turn(*(({}, None) if driver.ledger.under_way() else look()))


def tried(driver: Loop, look: Callable[[], Looked]) -> Retraining | None:
    """One turn of many: what cannot be done now (a database or MLflow is away) is said, and done at a later one."""
    try:
        return turn(driver, look)
    except BentocastError as err:
        command.say(f"{err.message}; the loop tries again")
        return None


def pause(state: Retraining | None, every: str) -> float:
    """Seconds to the next turn, after one that left a retraining like this."""
    from monitoring.ledger import AWAY

    if state is None or state.ended is not None:
        return durations.seconds(every)
    return min(AWAY_SECONDS if AWAY in state.about else WAIT_SECONDS, durations.seconds(every))


def _look(config: Params, asked: argparse.Namespace) -> Looked:
    from monitoring import suite

    seen = context.of(config, asked)
    return suite.run(seen, config.monitoring.loop.tests), _trained_until(seen)


def _trained_until(seen: Context) -> float | None:
    """As the service says; a Prometheus that is away says nothing, and no schedule holds."""
    from monitoring.metrics import MetricsError

    try:
        return seen.trained_until()
    except MetricsError:
        return None


def retrain(config: Params, asked: argparse.Namespace) -> int:
    """Make a model anew now, whatever the tests say, and bring it to users if it shows that it is one to ship."""
    with _alone(config):
        return _code(_loop(config, asked).begin(asked.reason))


def history(_: Params, __: argparse.Namespace) -> int:
    """All retrainings, the newest first."""
    for one in _ledger().all():
        began = dt.datetime.fromtimestamp(one.began, dt.UTC)
        print(f"{one.id:>4}  {began:%Y-%m-%d %H:%M}  {one.state:8}  {one.step:8}  {one.why or one.reason}")
    return 0


def wishing(wish: str) -> Callable[[Params, argparse.Namespace], int]:
    """The command that says `approve` or `reject` to the retraining that waits."""

    def run(_: Params, __: argparse.Namespace) -> int:
        ledger = _ledger()
        under_way = ledger.under_way()
        if under_way is None or under_way.step != "approve":
            raise NotFoundError("no retraining waits for approval: see `python -m monitoring history`")
        ledger.wish(under_way.id, wish)
        command.say(f"retraining {under_way.id}: {wish}; the loop goes on with it")
        return 0

    return run


@contextlib.contextmanager
def _alone(config: Params) -> Iterator[None]:
    from deploy.place import Place
    from monitoring.ledger import LOCK
    from monitoring.steps import APPROVAL

    if config.promote.champion != "rollout":
        raise ConfigError(
            "promote.champion: got 'gate', wanted 'rollout': with 'gate' a model that its canary takes back stays champion",
            param="promote.champion",
        )
    if config.monitoring.loop.approval == "webhook" and not os.environ.get(APPROVAL):
        raise ConfigError(
            f"monitoring.loop.approval: got 'webhook', and {APPROVAL} is not set: nobody could approve; set it to the "
            "address that decides, or approval to 'command' or 'none'",
            param="monitoring.loop.approval",
        )
    with Place.of(os.environ).held(LOCK, "another `python -m monitoring loop` or `retrain` runs for this deployment"):
        yield


def _code(state: Retraining | None) -> int:
    return 0 if state is None else {"healed": 0, "waiting": 8}.get(state.state, 7)


def _loop(config: Params, asked: argparse.Namespace) -> Loop:
    from deploy.place import Place
    from monitoring.loop import Loop
    from monitoring.steps import Commands

    place = Place.of(os.environ)
    steps = Commands(config, asked.params, place, place.logs / "loop.log", command.say)
    return Loop(config.monitoring.loop, _ledger(), steps, command.say, time.time)


def _ledger() -> Ledger:
    from deploy import journals
    from deploy.place import Place
    from monitoring.ledger import Ledger

    return Ledger(journals.url(Place.of(os.environ)))
