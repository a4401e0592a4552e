"""`python -m service key NAME`: make an API key."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from data import command
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
    key.add_argument("name", help="whose key it is; it shows in the logs")
    key.add_argument("--file", type=Path, default=Path(os.environ.get("BENTOCAST_KEYS_FILE", "keys.txt")))
    asked = parser.parse_args(argv)
    _add(asked.name, asked.file)


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
