"""`python -m monitoring`: the seven tests, and what is built on them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from data import command, configuration
from data.params import PARAMS, Params
from data.verdict import Outcome, Verdict

#: By the worst verdict.
CODES = {Outcome.PASS: 0, Outcome.FAIL: 7, Outcome.INCONCLUSIVE: 8, Outcome.ERROR: 10}
EXIT_CODES = "Exit codes: 0 all pass, 7 one fails, 8 one is inconclusive, 10 one could not be run, 2 usage."


def check(config: Params, asked: argparse.Namespace) -> int:
    """Run the seven monitoring tests once, and say what each found."""
    from deploy import settings
    from deploy.place import Place
    from monitoring import suite
    from monitoring.context import Context
    from monitoring.prometheus import Prometheus

    now = time.time()
    metrics = Prometheus(asked.prometheus or config.monitoring.prometheus, now)
    kept = Place.of(os.environ).environment
    record = asked.record or (settings.record_url(json.loads(kept.read_text("utf-8"))) if kept.exists() else None)
    verdicts = suite.run(Context(config, now, metrics, record), asked.tests or suite.TESTS)
    if asked.json:
        print(json.dumps({name: verdict.model_dump(mode="json") for name, verdict in verdicts.items()}, indent=2))
    else:
        print(table(verdicts))
    return CODES[Verdict.of([one for verdict in verdicts.values() for one in verdict.checks]).outcome]


def table(verdicts: dict[str, Verdict]) -> str:
    """A line a check, under its test."""
    lines = []
    for name, verdict in verdicts.items():
        lines.append(f"{name:12}  {verdict.outcome}")
        lines += [f"    {check.outcome:12}  {check.text}" for check in verdict.checks]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring", description="Whether the model that serves is still one that you would ship."
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = {"check": check}
    made = {
        name: commands.add_parser(name, help=run.__doc__, description=run.__doc__, epilog=EXIT_CODES)
        for name, run in runs.items()
    }
    made["check"].add_argument("tests", nargs="*", metavar="TEST", help="which (default: all seven)")
    made["check"].add_argument("--json", action="store_true", help="for programs")
    made["check"].add_argument("--prometheus", help="its address (default: monitoring.prometheus of params.yaml)")
    made["check"].add_argument("--record", help="URL of the record (default: the deployment's)")
    asked = parser.parse_args(argv)
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
