"""`python -m data`: the stages of this room, as DVC runs them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from data import atomic, command, params, store
from data.params import Params


def ingest(config: Params) -> None:
    """Read the source, check it, fill its gaps: writes out/series.parquet and out/ingest.json."""
    from data import frame, ingest

    panel, found = ingest.run(config)
    frame.write(store.SERIES, panel)
    atomic.write_text(store.INGEST, json.dumps(found, indent=2) + "\n")
    print(
        f"ingest: {found['series']} series, {found['rows']} rows from {found['first']} to {found['last']}, "
        f"{found['filled_share']:.2%} filled"
    )


def features(config: Params) -> None:
    """Compute everything known at each origin: writes out/features.parquet."""
    from data import frame
    from data.features import Declaration, Design, scale_floor

    panel = frame.read(store.SERIES, config.series.step_seconds)
    design = Design(Declaration(series=config.series, features=config.features), scale_floor(panel))
    frame.write_features(store.FEATURES, panel, design)
    print(
        f"features: {len(design.origin_columns)} columns, {panel.target.size} rows, {len(design.columns)} model inputs"
    )


def main(argv: list[str]) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(prog="python -m data", description="From a user's table to features.")
    stages = parser.add_subparsers(dest="stage", required=True)
    runs: dict[str, Callable[[Params], None]] = {"ingest": ingest, "features": features}
    for name, run in runs.items():
        stages.add_parser(name, help=run.__doc__, description=run.__doc__)
    runs[parser.parse_args(argv).stage](params.load())


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
