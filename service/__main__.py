"""`python -m service`: forecasts of a whole table without a server, and API keys for one."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from data import cluster, command
from data.errors import ConfigError
from service import keys


def main(argv: list[str]) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    key = actions.add_parser(
        "key",
        help="make an API key",
        description="Print a new key once, and add its hash to the file that BENTOCAST_KEYS_FILE names. Running services "
        "take it up within seconds. To withdraw a key, delete its line.",
    )
    key.add_argument("name", help="whose key it is: by it you find the line again")
    key.add_argument("--file", type=Path, default=Path(os.environ.get("BENTOCAST_KEYS_FILE", "keys.txt")))
    _add_batch(actions)
    asked = parser.parse_args(argv)
    if asked.action == "key":
        _add(asked.name, asked.file)
    else:
        _batch(asked)


def _add_batch(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    batch = actions.add_parser(
        "batch",
        help="forecast all series of a table",
        description="Forecast every series of a table from its last target value on, with the numbers that the service would "
        "answer. A run that was killed goes on where it stopped when it is begun again.",
    )
    batch.add_argument(
        "input",
        type=Path,
        metavar="IN",
        help="Parquet or CSV: series_id, timestamp, target (or the names that the model's own table had), covariates; rows "
        "after a series' last target value carry those known ahead",
    )
    batch.add_argument("output", type=Path, metavar="OUT", help="Parquet: series_id, timestamp, step, mean, quantiles")
    batch.add_argument("--model", metavar="TAG", help="in BentoML's store, or a model's folder (default: the newest)")
    batch.add_argument("--horizon", type=int, metavar="STEPS", help="steps ahead (default: the model's)")
    unless = argparse.SUPPRESS  # the defaults are those of `run.Asked`
    batch.add_argument(
        "--quantiles",
        type=float,
        nargs="*",
        dest="levels",
        default=unless,
        metavar="LEVEL",
        help="default: 0.1 0.5 0.9",
    )
    batch.add_argument(
        "--chunk", type=int, default=unless, metavar="SERIES", help="most series worked on at once (default: 1000)"
    )
    batch.add_argument("--fresh", action="store_true", help="throw away what an unfinished run has left")
    batch.add_argument(
        "--skip-bad",
        action="store_true",
        help="forecast the others where some series cannot be; these go to OUT.rejected.csv",
    )
    cluster.add_options(batch)


def _batch(asked: argparse.Namespace) -> None:
    from service.batch import run

    options = {field.name: getattr(asked, field.name) for field in fields(run.Asked) if hasattr(asked, field.name)}
    with cluster.opened(asked) as each:
        print(run.run(run.Asked(**options), each, command.say))


def _add(name: str, path: Path) -> None:
    if path.exists() and name in keys.read(path, empty=True).values():
        raise ConfigError(f"{path} has a key of {name!r} already: delete its line, or choose another name")
    made, line = keys.make(name)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(("" if _ends(path) else "\n") + line + "\n")
    command.say(f"added {name} to {path}; the key is shown this once:")
    print(made)


def _ends(path: Path) -> bool:
    """Whether the last line of a file is ended."""
    return path.read_bytes()[-1:] in (b"", b"\n")


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
