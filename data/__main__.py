"""`python -m data`: the stages of this room, as DVC runs them, a request to try the service with, and a look at DVC's remote."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from data import atomic, command, configuration, pushing, store
from data.errors import SourceError
from data.params import PARAMS, Params

STAGES = {"ingest", "features"}


def ingest(config: Params, _: argparse.Namespace) -> None:
    """Read the source, check it, fill its gaps: writes out/series.parquet and out/ingest.json."""
    from data import frame, ingest

    panel, found = ingest.run(config)
    frame.write(store.SERIES, panel)
    atomic.write_text(store.INGEST, json.dumps(found, indent=2) + "\n")
    print(
        f"ingest: {found['series']} series, {found['rows']} rows from {found['first']} to {found['last']}, "
        f"{found['filled_share']:.2%} filled"
    )


def features(config: Params, _: argparse.Namespace) -> None:
    """Compute everything known at each origin: writes out/features.parquet."""
    from data import frame
    from data.declaration import Declaration
    from data.features import Design, scale_floor

    panel = frame.read(store.SERIES, config.series.step_seconds)
    design = Design(Declaration(series=config.series, features=config.features), scale_floor(panel))
    design.check_lengths(panel)
    frame.write_features(store.FEATURES, panel, design)
    print(
        f"features: {len(design.origin_columns)} columns, {panel.target.size} rows, {len(design.columns)} model inputs"
    )


def example(config: Params, asked: argparse.Namespace) -> None:
    """Print a request for the service: the last horizon of the table's series, to be forecast again."""
    from data import example, frame

    panel = frame.read(store.SERIES, config.series.step_seconds)
    print(json.dumps(example.request(config, panel, asked.series, asked.horizon)))


def remote(_: Params, asked: argparse.Namespace) -> None:
    """Read every object of the pipeline in DVC's remote; what is missing or damaged there comes again from the cache."""
    from data import remote

    found = remote.check(asked.name)
    for oid in found.mended:
        print(f"remote: {oid} was missing or damaged, uploaded again")
    for oid in found.dropped:
        print(f"remote: {oid} was damaged in the cache here, removed; `dvc pull` brings it")
    if found.lost:
        raise SourceError(
            f"DVC's remote {found.name} lacks {len(found.lost)} objects, or holds them damaged, and the cache here does not "
            f"have them either: {', '.join(found.lost[:5])}; run this where `dvc status` finds nothing changed, or make them "
            "anew with `dvc repro --force` and `dvc push`"
        )
    print(
        f"remote: {found.name} holds all {found.good + len(found.mended)} objects, each with the bytes that its hash says"
    )


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m data",
        description="From a user's table to features.",
        epilog="`dvc repro` runs ingest and features, and only when something changed.",
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = {"ingest": ingest, "features": features, "example": example, "remote": remote}
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    made["example"].add_argument("--horizon", type=int, help="steps ahead (default: the model's)")
    made["remote"].add_argument("name", nargs="?", help="of the remote (default: DVC's default one)")
    made["example"].add_argument("series", nargs="*", help="names of series (default: the first one)")
    asked = parser.parse_args(argv)
    with pushing.told(asked.command) if asked.command in STAGES else contextlib.nullcontext():
        runs[asked.command](configuration.load(asked.params), asked)


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
