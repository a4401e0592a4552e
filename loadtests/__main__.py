"""`python -m loadtests`: load on Bentos, and what it says about them."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from data import command, configuration
from data.params import PARAMS, Params
from loadtests import signals

#: Figures of rollouts (`loadtests.rollouts.figures`).
ROLLOUTS = ("moves", "alike", "failing", "slow", "nonsense", "kills", "router")
OUT = Path("out/loadtest")
EXIT_CODES = (
    "Exit codes: 0 pass, 7 fail, 8 inconclusive, 9 it could not be run or its numbers cannot be trusted, 2 usage."
)


def gate(config: Params, asked: argparse.Namespace) -> int:
    """Compare a candidate with the Bento that serves now, side by side under load: pass, fail or inconclusive."""
    from loadtests.gate import contest, report, tracked

    for name in (report.PAGE, report.NUMBERS):  # what an earlier run found must not stand for one that fails
        (asked.out / name).unlink(missing_ok=True)
    if asked.log:
        tracked.connect()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    found = contest.run(
        asked.baseline, asked.candidate, config.loadtest, seed=seed, port=asked.port, logs=asked.out / "logs"
    )
    report.write(found, asked.out)
    print(json.dumps(report.document(found), indent=1) if asked.json else report.text(found), flush=True)
    command.say(f"report: {asked.out / report.PAGE}")
    if asked.log:
        command.say(f"logged to MLflow: run {tracked.log(found, config.promote.experiment, asked.out)}")
    return found.verdict.outcome.exit_code


def knee(config: Params, asked: argparse.Namespace) -> int:
    """Find the highest rate at which a Bento, or a service that runs, keeps the objective (loadtest.objective)."""
    from loadtests.knee import climb, report

    found = climb.run(asked.bento, asked.host, config.loadtest, seconds=asked.seconds, logs=asked.out / "logs")
    report.write(found, asked.out)
    print(report.text(found), flush=True)
    command.say(f"report: {asked.out / report.PAGE}")
    return 0


def history(config: Params, asked: argparse.Namespace) -> int:
    """Draw the figures of all gates (by loadtest.protocol) to the newest Bento; judge whether they crept beyond a limit."""
    from loadtests.gate import tracked
    from loadtests.history import report

    found = report.Found.of(tracked.gates(config.promote.experiment), config.loadtest)
    report.write(found, asked.out)
    print(report.text(found), flush=True)
    command.say(f"report: {asked.out / report.PAGE}")
    return found.verdict.outcome.exit_code if asked.strict else 0


def proof(_: Params, asked: argparse.Namespace) -> int:
    """Count how often the gate is right: a Bento against itself, and against copies with a busy loop added."""
    from loadtests.gate import proof

    slower = {0.1: asked.slower, 0.3: asked.much_slower}
    found = proof.run(asked.bento, asked.same, slower, asked.numbers, asked.params)
    print(proof.table(found))
    return 0


def demo(_: Params, asked: argparse.Namespace) -> int:
    """Roll out a good version and three bad ones under load, and watch what happens to them (four minutes)."""
    from loadtests.rollouts import demo

    ended = demo.run(asked.bento, asked.params, asked.out)
    print("\n".join(f"{name:10} {how}" for name, how in ended.items()))
    return 0


def rollouts(_: Params, asked: argparse.Namespace) -> int:
    """Measure rollouts: what is lost on the way, how soon bad versions are found, what kill -9 does."""
    from loadtests.rollouts import figures

    many = {"moves": asked.moves, "kills": asked.kills, "alike": asked.alike, "router": asked.rounds}
    rows = [
        row for name in asked.figures for row in figures.FIGURES[name](asked.bento, asked.params, many.get(name, 0))
    ]
    print(figures.table(rows))
    return 0


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Load on Bentos, and what it says about them. For load on a service that runs, use `locust`.",
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = {"gate": gate, "knee": knee, "history": history, "proof": proof, "demo": demo, "rollouts": rollouts}
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    _gate_arguments(made["gate"])
    made["knee"].add_argument(
        "--bento", metavar="TAG", default="bentocast:latest", help="started here (default: the newest)"
    )
    made["knee"].add_argument("--host", metavar="URL", help="a service that runs, instead")
    made["knee"].add_argument("--seconds", type=_positive, default=3.0, help="of a probe (default: %(default)s)")
    made["history"].add_argument("--strict", action="store_true", help="exit with the verdict's code, as gate does")
    made["proof"].add_argument("--bento", metavar="TAG", default="bentocast:latest", help="(default: the newest)")
    made["proof"].add_argument("--same", type=_count, default=20, help="gates against itself (default: %(default)s)")
    made["proof"].add_argument(
        "--slower", type=_count, default=10, help="gates against 10 %% slower (default: %(default)s)"
    )
    made["proof"].add_argument("--much-slower", type=_count, default=10, help="against 30 %% (default: %(default)s)")
    made["proof"].add_argument("--numbers", type=Path, help="file that the numbers of each gate are added to, as JSON")
    made["demo"].add_argument("--bento", metavar="TAG", default="bentocast:latest", help="(default: the newest)")
    made["demo"].add_argument("--out", type=Path, default=Path("out/demo"), help="folder of the reports")
    made["rollouts"].add_argument(
        "figures",
        nargs="*",
        default=ROLLOUTS,
        type=_figure,
        metavar="FIGURE",
        help=f"which of {', '.join(ROLLOUTS)} (default: all)",
    )
    made["rollouts"].add_argument("--bento", metavar="TAG", default="bentocast:latest", help="(default: the newest)")
    made["rollouts"].add_argument("--moves", type=_count, default=20, help="of each kind (default: %(default)s)")
    made["rollouts"].add_argument("--kills", type=_count, default=50, help="(default: %(default)s)")
    made["rollouts"].add_argument("--alike", type=_count, default=10, help="(default: %(default)s)")
    made["rollouts"].add_argument("--rounds", type=_count, default=8, help="of the router (default: %(default)s)")
    for name in ("gate", "knee", "history"):
        made[name].add_argument(
            "--out", type=Path, default=OUT, help="folder of report, numbers and logs (default: %(default)s)"
        )
    asked = parser.parse_args(argv)
    signals.heed()
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, wanted a number above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"got {text}, wanted 0 or more")
    return value


def _figure(text: str) -> str:
    if text not in ROLLOUTS:
        raise argparse.ArgumentTypeError(f"got {text}, wanted one of {', '.join(ROLLOUTS)}")
    return text


def _gate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{EXIT_CODES} Limits: loadtest.gate in params.yaml."
    parser.add_argument("--baseline", required=True, metavar="TAG", help="Bento that serves now")
    parser.add_argument("--candidate", required=True, metavar="TAG", help="Bento that wants to")
    parser.add_argument("--seed", type=int, help="of order, schedules and requests (default: another each time)")
    parser.add_argument("--port", type=int, help="first of six ports in a row on 127.0.0.1 (default: free ones)")
    parser.add_argument("--json", action="store_true", help="print all numbers instead of the verdict's text")
    parser.add_argument("--no-log", dest="log", action="store_false", help="do not log to MLflow")


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
