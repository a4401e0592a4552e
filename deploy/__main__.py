"""`python -m deploy`: what can be done with a Bento."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data import command, configuration
from data.errors import NotFoundError
from data.params import PARAMS, Params

if TYPE_CHECKING:
    from deploy.fleet import Fleet
    from deploy.rollout import Driver

AUTO = "auto"
#: How a rollout ended.
CODES = {"promoted": 0, "ended": 0, "rolled back": 7, "paused": 8}
EXIT_CODES = (
    "Exit codes: 0 promoted (shadow: it passed), 7 rolled back, 8 paused, 10 it could not be done, 2 usage or another "
    "rollout under way. Plans: deploy in params.yaml."
)
#: Strategies by name, each a plan in params.yaml.
STRATEGIES = {
    "canary": "Bring a new Bento to users step by step, judge it on the way, and promote it or roll it back.",
    "blue-green": "Try a new Bento on copies of requests, then bring it to all users at once; the old one is kept warm.",
    "rolling": "Replace the version that serves instance by instance, while the new one is judged.",
    "shadow": "Try a new Bento on copies of requests alone: no user sees it, and it is taken away in the end.",
    "ab": "Give a new Bento to those who send a header, until you say `promote` or `abort`.",
}


def lineage(_: Params, asked: argparse.Namespace) -> int:
    """Print the chain from a Bento back to its data."""
    from deploy import lineage as chain

    for name, value in chain.of(asked.bento):
        print(f"{name:14} {value}")
    return 0


def up(config: Params, asked: argparse.Namespace) -> int:
    """Serve a Bento behind the router on this machine; it goes on when this command has ended."""
    from deploy import autoscale

    fleet = _fleet(config)
    first = not fleet.journal.state()
    fleet.up(asked.bento)
    if first and config.deploy.autoscale:
        autoscale.start(fleet)
    command.say(f"serving on {fleet.address}, HTTP and gRPC; end it with `python -m deploy down`")
    return 0


def down(config: Params, _: argparse.Namespace) -> int:
    """End the router, all instances and the keeper; requests under way are answered first."""
    from deploy import autoscale

    driver = _driver(config)
    driver.end_with_the_deployment()
    autoscale.stop(driver.fleet)
    driver.fleet.down()
    return 0


def _rolling_out(strategy: str) -> Callable[[Params, argparse.Namespace], int]:
    def run(config: Params, asked: argparse.Namespace) -> int:
        plan = getattr(config.deploy, strategy.replace("-", "_"))
        if asked.dry_run:
            from deploy import status as shown

            print(shown.plan(strategy, asked.bento, plan))
            return 0
        return CODES[_driver(config).begin(strategy, asked.bento, plan)]

    return run


def rollback(config: Params, asked: argparse.Namespace) -> int:
    """Go back to an earlier version at once (default: the one before the one that serves)."""
    return CODES[_driver(config).back(asked.bento)]


def resume(config: Params, _: argparse.Namespace) -> int:
    """Go on with a rollout that was paused, or whose command was killed."""
    return CODES[_driver(config).resume()]


def _asking(wish: str) -> Callable[[Params, argparse.Namespace], int]:
    def run(config: Params, _: argparse.Namespace) -> int:
        command.say(_driver(config).ask(wish))
        return 0

    return run


def scale(config: Params, asked: argparse.Namespace) -> int:
    """Have so many instances of the version that serves, or (auto) as many as their work asks for."""
    from deploy import autoscale

    driver = _driver(config)
    if asked.many == AUTO:
        driver.fleet.traffic()
        autoscale.start(driver.fleet)
    else:
        autoscale.stop(driver.fleet)
        driver.scale(asked.many)
    return 0


def status(config: Params, _: argparse.Namespace) -> int:
    """What is up, where requests go, and which rollout is under way."""
    from deploy import status as shown

    print(shown.text(_fleet(config)))
    return 0


def history(config: Params, _: argparse.Namespace) -> int:
    """All rollouts, the newest first."""
    from deploy import status as shown

    print(shown.history(_fleet(config).journal.rollouts()))
    return 0


def report(config: Params, asked: argparse.Namespace) -> int:
    """Write the report of a rollout (default: the newest) and print where it is."""
    from deploy import report as page

    fleet = _fleet(config)
    found = fleet.journal.rollout(asked.number) if asked.number else next(iter(fleet.journal.rollouts()), None)
    if found is None:
        raise NotFoundError("there is no such rollout: see `python -m deploy history`")
    print(page.write(page.Story.of(fleet.journal, found), fleet.place.reports))
    return 0


def simulate(config: Params, asked: argparse.Namespace) -> int:
    """Simulate rollouts: how often the judge errs with your deploy.judgement, and how soon it finds harm."""
    from deploy import simulation

    found = []
    for result in simulation.proof(config.deploy.judgement, asked.rollouts):
        found.append(result)
        command.say(f"{result.truth.name}: {result.failing:.1%} of {asked.rollouts:,} rollouts failed")
    print(simulation.table(found))
    return 0


def _fleet(config: Params) -> Fleet:
    from deploy import journals
    from deploy.fleet import Fleet
    from deploy.place import Place

    place = Place.of(os.environ)
    return Fleet(place, journals.of(place), config.deploy)


def _driver(config: Params) -> Driver:
    from deploy.rollout import Driver

    return Driver(_fleet(config))


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m deploy", description="What happens to a Bento after it is built.")
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs: dict[str, Callable[[Params, argparse.Namespace], int]] = {
        "up": up,
        "rollback": rollback,
        "resume": resume,
        "scale": scale,
        "status": status,
        "history": history,
        "report": report,
        "simulate": simulate,
        "lineage": lineage,
        "down": down,
    }
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    for wish, text in (
        ("pause", "Hold the rollout that is under way where it is."),
        ("promote", "Promote the candidate now, whatever the verdict."),
        ("abort", "Roll the candidate back now."),
    ):
        runs[wish] = _asking(wish)
        commands.add_parser(wish, help=text, description=text)
    for name in ("up", "lineage"):
        made[name].add_argument("bento", nargs="?", default="bentocast", help="tag (default: the newest bentocast)")
    for strategy, text in STRATEGIES.items():
        runs[strategy] = _rolling_out(strategy)
        parser_of = commands.add_parser(strategy, help=text, description=text, epilog=EXIT_CODES)
        parser_of.add_argument("bento", help="tag of the candidate")
        parser_of.add_argument("--dry-run", action="store_true", help="print what would happen, and do nothing")
    made["resume"].epilog = EXIT_CODES
    made["rollback"].add_argument("bento", nargs="?", help="tag (default: the version before)")
    made["simulate"].add_argument("--rollouts", type=_many, default=1_000, help="of each kind (default: %(default)s)")
    made["report"].add_argument("number", nargs="?", type=int, help="of the rollout")
    made["scale"].add_argument(
        "many", type=_many_or_auto, help="instances, or auto: see deploy.autoscale in params.yaml"
    )
    asked = parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # a rollout that is interrupted pauses
        signal.signal(number, signal.default_int_handler)
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


def _many_or_auto(text: str) -> int | str:
    return AUTO if text == AUTO else _many(text)


def _many(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, wanted 1 or more")
    return value


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
