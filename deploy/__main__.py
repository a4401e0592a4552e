"""`python -m deploy`: what can be done with a Bento."""

from __future__ import annotations

import argparse
import sys

from data import command


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m deploy", description="What happens to a Bento after it is built.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lineage = commands.add_parser("lineage", help="print the chain from a Bento back to its data")
    lineage.add_argument("bento", nargs="?", default="bentocast", help="tag (default: the newest bentocast)")
    asked = parser.parse_args(argv)

    from deploy import lineage as chain

    for name, value in chain.of(asked.bento):
        print(f"{name:14} {value}")


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
