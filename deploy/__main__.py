"""`python -m deploy`: what can be done with a Bento."""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data import command, configuration, validation
from data.deployment import Plan
from data.errors import ConfigError
from data.params import PARAMS, Params

if TYPE_CHECKING:
    from deploy.fleet import Fleet
    from deploy.rollouts.driver import Driver

#: Where Prometheus is.
PROMETHEUS = "DEPLOY_PROMETHEUS"
AUTO = "auto"
#: How a rollout ended.
CODES = {"promoted": 0, "ended": 0, "rolled back": 7, "paused": 8}
EXIT_CODES = (
    "Exit codes: 0 promoted (shadow: it passed), 7 rolled back, 8 paused, 10 it could not be done, 2 usage or another "
    "rollout under way. Plans: deploy in params.yaml."
)
#: How commands are listed, each in one place.
GROUPS = {
    "Strategies: bring a new Bento to users, or only try it": ("canary", "blue-green", "rolling", "shadow", "ab"),
    "Steering: from another terminal, while one is under way": ("pause", "resume", "promote", "abort", "rollback"),
    "Looking": ("status", "verdict", "history", "report", "lineage", "sbom", "simulate"),
    "The machine": ("up", "scale", "down", "restore"),
    "A cluster": ("render",),
}
DESCRIPTION = """\
Brings Bentos to users on this machine, behind a router, and judges each on the way.

  python -m deploy up                      the newest Bento serves on http://127.0.0.1:8080
  python -m deploy canary bentocast:TAG    another one, step by step: promoted on a pass, else taken back
  python -m deploy status --follow         watch it
  python -m deploy rollback                the version before, without a judge
"""
TEACHING = """\
`python -m deploy COMMAND --help` says more; every strategy takes --dry-run. docs/rollouts.md explains it all."""
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


def sbom(_: Params, asked: argparse.Namespace) -> int:
    """Print what a Bento is made of, in CycloneDX: packages with licences, the model, files with hashes."""
    from deploy import sbom as bill

    if asked.check is None:
        print(bill.make(asked.bento), end="")
        return 0
    found = bill.differences(asked.bento, asked.check)
    for line in found or [f"{asked.bento} is what {asked.check} says"]:
        print(line)
    return 7 if found else 0


def render(config: Params, asked: argparse.Namespace) -> int:
    """Write manifests of a Bento for Kubernetes with Argo Rollouts, which asks the same judge: for `kubectl apply -k`."""
    from deploy import lineage as chain
    from deploy.kubernetes import render as manifests

    tag = str(chain.carried(asked.bento)[0].tag)
    for path in manifests.write(asked.to, config.deploy, tag):
        print(asked.to / path)
    command.say(f"{tag}; nothing is applied: `kubectl diff -k {asked.to / 'production'}` says what would change")
    return 0


def up(config: Params, asked: argparse.Namespace) -> int:
    """Serve a Bento behind the router on this machine; it goes on when this command has ended."""
    _serve(config, asked.bento)
    return 0


def restore(config: Params, _: argparse.Namespace) -> int:
    """Bring the champion's service back from git, DVC's remote and MLflow's server, with every file compared with its hash."""
    from deploy import restore

    restore.run(config, functools.partial(_serve, config), command.say)
    return 0


def _serve(config: Params, bento: str) -> None:
    from deploy import autoscale

    fleet = _fleet(config)
    first = not fleet.journal.state()
    fleet.up(bento)
    if first and config.deploy.autoscale:
        autoscale.start(fleet)
    command.say(f"serving on {fleet.address}, HTTP and gRPC; end it with `python -m deploy down`")


def down(config: Params, _: argparse.Namespace) -> int:
    """End the router, all instances and the keeper; requests under way are answered first."""
    _driver(config).down()
    return 0


def _rolling_out(strategy: str) -> Callable[[Params, argparse.Namespace], int]:
    def run(config: Params, asked: argparse.Namespace) -> int:
        plan = _plan(config, strategy, asked.plan)
        if asked.dry_run:
            from deploy import status as shown

            print(shown.plan(strategy, asked.bento, plan))  # also where it cannot begin
            print(shown.begins(plan, *_driver(config).look(asked.bento)))
            return 0
        return CODES[_driver(config).begin(strategy, asked.bento, plan)]

    return run


def _plan(config: Params, strategy: str, file: Path | None) -> Plan:
    """The plan that a rollout goes by, with the judgement, checked whole.

    Raises:
        ConfigError: the file cannot be followed.
    """
    if file is None:
        chosen: Plan = getattr(config.deploy, strategy.replace("-", "_"))
        return config.deploy.judged(chosen)
    read = validation.load(file, Plan, "--plan wants a YAML file with steps, as deploy.canary in params.yaml has them")
    try:
        return config.deploy.judged(read)
    except ValueError as err:
        raise ConfigError(f"{file}: {err}") from err


def rollback(config: Params, asked: argparse.Namespace) -> int:
    """Go back to a version that served here, without a judge (default: the one before the one that serves)."""
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
        driver.scale(asked.many)
    return 0


def status(config: Params, asked: argparse.Namespace) -> int:
    """What is up, where requests go, and which rollout is under way; `--follow` watches it to its end."""
    from deploy import status as shown
    from deploy.rollouts import live

    fleet = _fleet(config)
    under_way = fleet.journal.under_way() if asked.follow else None
    if under_way is None:
        print(shown.text(fleet))
    else:
        live.Follower(fleet.journal, fleet.place, sys.stdout).follow(under_way.id)
    return 0


def history(config: Params, _: argparse.Namespace) -> int:
    """All rollouts, the newest first."""
    from deploy import status as shown

    print(shown.history(_fleet(config).journal.rollouts()))
    return 0


def report(config: Params, asked: argparse.Namespace) -> int:
    """Write the report of a rollout (default: the newest) and print where it is."""
    from deploy.faults import RolloutError
    from deploy.rollouts import report as page

    fleet = _fleet(config)
    found = fleet.journal.rollout(asked.number) if asked.number else next(iter(fleet.journal.rollouts()), None)
    if found is None:
        which = f"there is no rollout {asked.number}" if asked.number else "there is no rollout yet"
        raise RolloutError(f"{which}: see `python -m deploy history`")
    print(page.write(page.Story.of(fleet.journal, found), fleet.place.reports))
    return 0


def verdict(config: Params, asked: argparse.Namespace) -> int:
    """The verdict of the rollout that is under way, or an answer to every program that asks for one over HTTP."""
    from deploy.verdicts import given, journaled

    if asked.serve:
        from deploy import ports
        from deploy.faults import RolloutError
        from deploy.verdicts import server
        from deploy.verdicts.prometheus import Prometheus

        url = asked.prometheus or os.environ.get(PROMETHEUS)
        source = Prometheus(url) if url else None
        why = ports.refusal(asked.host, asked.port)
        if why:
            raise RolloutError(
                f"verdicts cannot be served on {asked.host}:{asked.port} ({why}): end what listens there, or give another "
                "--port or --host"
            )
        command.say(f"verdicts on http://{asked.host}:{asked.port}/verdict (Ctrl-C ends it)")
        server.serve(server.Judge(config.deploy.judgement, source, journaled.last), asked.host, asked.port)
        return 0
    rollout, found = journaled.last(asked.rollout)
    if asked.json:
        print(json.dumps(given.document(found, rollout), indent=1))
    else:
        print(f"{rollout.strategy} {rollout.id} of {rollout.candidate}: {rollout.state}\n{given.text(found)}")
    return found.outcome.exit_code


def simulate(config: Params, asked: argparse.Namespace) -> int:
    """Simulate rollouts: how often the judge errs with your deploy.judgement, how soon it finds harm, and at which weight."""
    import signal
    from concurrent.futures import ProcessPoolExecutor

    from deploy.simulation import judged, plans

    judgement, rollouts = config.deploy.judgement, asked.rollouts
    found, ended = [], []
    at_ctrl_c = (signal.SIGINT, signal.SIG_DFL)  # of those that work: it is told once
    pool = ProcessPoolExecutor(initializer=signal.signal, initargs=at_ctrl_c)
    try:
        for one in judged.proof(judgement, rollouts, each=pool.map):
            found.append(one)
            command.say(f"{one.truth.name}: {one.failing:.1%} of {rollouts:,} rollouts failed")
        for row in plans.proof(judgement, max(1, rollouts // 5), each=pool.map):
            ended.append(row)
            command.say(
                f"{row.truth.name}: {len(row.ended):,} rollouts by plan, steps {'wait' if row.waits else 'do not wait'}"
            )
    finally:
        pool.shutdown(cancel_futures=True)
    print(f"{judged.table(found)}\n\n{plans.table(ended)}")
    return 0


def _fleet(config: Params) -> Fleet:
    from deploy import journals
    from deploy.fleet import Fleet
    from deploy.place import Place

    place = Place.of(os.environ)
    return Fleet(place, journals.of(place), config.deploy)


def _driver(config: Params) -> Driver:
    from deploy.rollouts.driver import Driver

    return Driver(_fleet(config))


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        usage="python -m deploy [--params FILE] COMMAND ...",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--params", type=Path, default=PARAMS, metavar="FILE", help="configuration (default: %(default)s)"
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="python -m deploy"
    )
    runs: dict[str, Callable[[Params, argparse.Namespace], int]] = {
        "up": up,
        "rollback": rollback,
        "resume": resume,
        "scale": scale,
        "status": status,
        "history": history,
        "report": report,
        "verdict": verdict,
        "simulate": simulate,
        "lineage": lineage,
        "sbom": sbom,
        "render": render,
        "down": down,
        "restore": restore,
    }
    made = {name: commands.add_parser(name, description=run.__doc__) for name, run in runs.items()}
    for wish, text in (
        ("pause", "Hold the rollout that is under way where it is."),
        ("promote", "Promote the candidate now, whatever the verdict."),
        ("abort", "Roll the candidate back now."),
    ):
        runs[wish] = _asking(wish)
        made[wish] = commands.add_parser(wish, description=text)
    for name in ("up", "lineage", "sbom"):
        made[name].add_argument("bento", nargs="?", default="bentocast", help="tag (default: the newest bentocast)")
    for strategy, text in STRATEGIES.items():
        runs[strategy] = _rolling_out(strategy)
        parser_of = made[strategy] = commands.add_parser(strategy, description=text, epilog=EXIT_CODES)
        parser_of.add_argument("bento", help="tag of the candidate")
        parser_of.add_argument("--plan", type=Path, metavar="FILE", help="instead of the one in params.yaml, in YAML")
        parser_of.add_argument(
            "--dry-run", action="store_true", help="print what would happen and whether it can begin, and do nothing"
        )
    made["sbom"].epilog = "Exit codes: 0 done, or nothing differs; 7 something does."
    made["sbom"].add_argument(
        "--check", type=Path, metavar="FILE", help="compare the Bento's files with an earlier bill"
    )
    made["render"].add_argument("what", choices=["kubernetes"], help="manifests of what")
    made["render"].add_argument("bento", nargs="?", default="bentocast", help="tag (default: the newest bentocast)")
    made["render"].add_argument(
        "--to", type=Path, default=Path("kubernetes"), metavar="FOLDER", help="of its own (default: %(default)s)"
    )
    made["resume"].epilog = EXIT_CODES
    made["rollback"].add_argument("bento", nargs="?", help="tag (default: the version before)")
    made["simulate"].add_argument(
        "--rollouts", type=_many, default=1_000, help="of each kind; by plan a fifth of them (default: %(default)s)"
    )
    made["report"].add_argument("number", nargs="?", type=int, help="of the rollout")
    _verdict_arguments(made["verdict"])
    made["status"].add_argument("--follow", action="store_true", help="until the rollout under way has ended")
    made["scale"].add_argument(
        "many", type=_many_or_auto, help="instances, or auto: see deploy.autoscale in params.yaml"
    )
    parser.epilog = f"{_listed({name: str(one.description) for name, one in made.items()})}\n\n{TEACHING}"
    asked = parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # a rollout that is interrupted pauses
        signal.signal(number, signal.default_int_handler)
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


def _listed(texts: Mapping[str, str]) -> str:
    """All commands by group, with what each does."""
    lines = []
    for title, names in GROUPS.items():
        lines += ["", f"{title}:"]
        for name in names:
            lines += textwrap.wrap(texts[name], 100, initial_indent=f"  {name:12}", subsequent_indent=" " * 14)
    return "\n".join(lines[1:])


def _verdict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit codes: 0 pass, 7 fail, 8 inconclusive, 9 error, 10 there is no such rollout."
    parser.add_argument("--rollout", type=_many, metavar="NUMBER", help="(default: the one under way)")
    parser.add_argument("--json", action="store_true", help="print all numbers")
    parser.add_argument("--serve", action="store_true", help="answer over HTTP, also on the traffic of other programs")
    parser.add_argument("--host", default="127.0.0.1", help="to serve on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9109, help="to serve on (default: %(default)s)")
    parser.add_argument("--prometheus", metavar="URL", help=f"where it is (default: {PROMETHEUS} in the environment)")


def _many_or_auto(text: str) -> int | str:
    return AUTO if text == AUTO else _many(text)


def _many(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, wanted 1 or more")
    return value


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
