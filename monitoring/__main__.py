"""`python -m monitoring`: the seven tests, and what is built on them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from data import command, configuration
from data.params import PARAMS, Params
from monitoring.commands import looking, retraining, servers

EXIT_CODES = "Exit codes: 0 all pass, 7 one fails, 8 one is inconclusive, 9 one could not be run, 2 usage."


def simulate(config: Params, asked: argparse.Namespace) -> int:
    """Play months through the real service in minutes: quiet ones, and one fault after another; a table of what was seen."""
    from monitoring.simulation import proof

    names = asked.names or proof.NAMES
    proof.check(names)
    results = proof.run(config, asked.params, names, asked.months, command.say, asked.keep)
    print(proof.table(results))
    return 0 if all(one.good for one in results) else 7


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring", description="Whether the model that serves is still one that you would ship."
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs: dict[str, Callable[[Params, argparse.Namespace], int]] = {
        "check": looking.check,
        "serve": looking.serve,
        "page": looking.page,
        "loop": retraining.loop,
        "retrain": retraining.retrain,
        "history": retraining.history,
        "up": servers.up,
        "config": servers.config,
        "dashboards": servers.dashboards,
        "simulate": simulate,
    }
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    for wish, text in (
        ("approve", "Let users get the model that waits."),
        ("reject", "Stop the retraining that waits."),
    ):
        runs[wish] = retraining.wishing(wish)
        commands.add_parser(wish, help=text, description=text)
    for name in ("check", "serve", "page", "loop"):
        made[name].add_argument("--prometheus", help="its address (default: monitoring.prometheus of params.yaml)")
        made[name].add_argument("--record", help="URL of the record (default: the deployment's)")
    made["check"].epilog = EXIT_CODES
    made["check"].add_argument("tests", nargs="*", metavar="TEST", help="which (default: all seven)")
    made["check"].add_argument("--json", action="store_true", help="for programs")
    made["simulate"].add_argument("names", nargs="*", metavar="NAME", help="a fault, or quiet (default: all, an hour)")
    made["simulate"].add_argument("--months", type=int, default=6, help="quiet ones (default: %(default)s)")
    made["simulate"].add_argument(
        "--keep", type=Path, metavar="DIR", help="where the first model stays for the next time"
    )
    made["retrain"].add_argument("--reason", required=True, help="why; kept with it")
    made["loop"].add_argument("--once", action="store_true", help="one turn")
    made["loop"].epilog = made["retrain"].epilog = (
        "Exit codes: 0 well, 7 stopped, 8 waits for somebody or for what is away, 10 it cannot be done."
    )
    made["page"].add_argument("--out", type=Path, default=Path("monitoring.html"), help="file (default: %(default)s)")
    made["page"].add_argument("--last", default="6h", help="so much time (default: %(default)s)")
    made["page"].add_argument("--exporter", default="http://127.0.0.1:9108", help="its address (default: %(default)s)")
    made["serve"].add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    made["serve"].add_argument("--port", type=int, default=9108, help="to listen on (default: %(default)s)")
    for one in (made["config"], made["dashboards"]):
        one.add_argument("--out", type=Path, required=True, help="folder")
    made["up"].add_argument("--home", type=Path, default=Path(".monitoring"), help="folder (default: %(default)s)")
    made["up"].add_argument(
        "--ports",
        type=_port,
        nargs="*",
        default=[],
        metavar="SERVER=PORT",
        help="of prometheus, alertmanager, pushgateway, exporter (default: the usual one, or one that is free)",
    )
    where = made["config"].add_mutually_exclusive_group()
    where.add_argument("--stack", action="store_true", help="for the containers of compose.yaml (see `make stack`)")
    where.add_argument(
        "--kubernetes",
        action="store_true",
        help="the rules alone, for the Prometheus operator (kubectl apply -k FOLDER)",
    )
    for one in (made["config"], made["up"]):
        one.add_argument(
            "--target",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help="a service to watch besides the deployment's instances, such as one of `make run`; may be repeated",
        )
    asked = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


def _port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    if name not in ("prometheus", "alertmanager", "pushgateway", "exporter") or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a server and its port, such as prometheus=9090")
    return name, int(port)


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
