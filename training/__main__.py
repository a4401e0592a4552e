"""`python -m training`: the stages of this room as DVC runs them, and what people do with the registry."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from data import atomic, cluster, command, configuration, pushing, store
from data.errors import ConfigError, GateError
from data.params import PARAMS, Params

STAGES = {"backtest", "train", "promote"}


def backtest(config: Params, asked: argparse.Namespace) -> None:
    """Forecast the past, fold by fold: writes out/forecasts.parquet, out/backtest.json, out/by_step.csv, out/importance.csv."""
    from training import stages

    with cluster.opened(asked) as each:
        figures = stages.backtest(config, each)
    covered = ", ".join(
        f"{value:.1%} in {name[9:]} %" for name, value in figures.items() if name.startswith("coverage")
    )
    print(
        f"backtest: MAE {figures['mae']:.4g}, seasonal naive {figures['naive_mae']:.4g} ({figures['mae_ratio']:.3f}x); {covered}"
    )


def train(config: Params, _: argparse.Namespace) -> None:
    """Fit on the whole table and export to ONNX: writes out/model, out/train.json."""
    from training import stages

    figures = stages.train(config)
    print(
        f"train: {figures['rows']} rows x {figures['columns']} columns; ONNX within {figures['parity']:.1e} of scikit-learn"
    )


def promote(config: Params, asked: argparse.Namespace) -> None:
    """Register the model as challenger; make it champion if the gate passes. Writes out/promote.json."""
    from training import promote, registry, stages, tracking

    name = config.promote.experiment
    if asked.reason and not asked.version:
        raise ConfigError("--reason goes with --version N, the version to promote past the gate")
    if asked.version:
        if not asked.reason:
            raise ConfigError("--version promotes past the gate: say why with --reason TEXT")
        tracking.connect()
        chosen = registry.version(name, asked.version)
        registry.promote(chosen, {"promoted_because": asked.reason})
        print(f"promote: {name} version {chosen.number} is champion: {asked.reason}")
        return
    version, verdict, crowned = promote.run(config, *stages.load(config))
    report = {"version": version.number, "run_id": version.run_id, "champion": crowned}
    atomic.write_text(store.PROMOTE, json.dumps(report | {"verdict": verdict.model_dump(mode="json")}, indent=2) + "\n")
    print(f"promote: {name} version {version.number} is {'champion' if crowned else 'challenger only'}; gate {verdict}")
    if asked.strict and not verdict.passed:
        raise GateError(f"the gate did not pass, the champion stays: {verdict}")


def import_model(config: Params, asked: argparse.Namespace) -> None:
    """Import the champion from MLflow into BentoML's store, for `bentoml build` and `bentoml serve`."""
    from training import bento

    tag, fresh = bento.import_model(config.promote.experiment, asked.alias)
    print(f"import: {tag} {'imported' if fresh else 'was imported before'}")


def labels(_config: Params, _: argparse.Namespace) -> None:
    """Print the newest imported model's lineage as options of `bentoml build`."""
    from training import bento

    print(" ".join(f"--label {key}={value}" for key, value in bento.labels().items()))


def figures(config: Params, asked: argparse.Namespace) -> None:
    """Accuracy, coverage and ONNX parity on UCI's bike-sharing hour.csv, as a table."""
    from training import figures

    with tempfile.TemporaryDirectory(prefix="bentocast-") as work:
        rows = []
        for variant, covariates in figures.VARIANTS.items():
            print(f"figures: {variant} ...", file=sys.stderr)
            rows.append(figures.measure(Path(asked.table), config, Path(work), variant, covariates))
    print(figures.render(rows))


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="From features to a judged model in MLflow's registry and BentoML's store.",
        epilog="`dvc repro` runs backtest, train and promote in their order, and only when something changed.",
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = {
        "backtest": backtest,
        "train": train,
        "promote": promote,
        "import": import_model,
        "labels": labels,
        "figures": figures,
    }
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    cluster.add_options(made["backtest"])
    made["promote"].add_argument("--strict", action="store_true", help="exit with code 7 if the gate does not pass")
    made["promote"].add_argument("--version", help="promote this version by hand, past the gate")
    made["promote"].add_argument("--reason", help="why, with --version; kept on the version in MLflow")
    made["import"].add_argument("--alias", choices=["champion", "challenger"], default="champion")
    made["figures"].add_argument("table", help="path of hour.csv")
    asked = parser.parse_args(argv)
    by_hand = asked.command not in STAGES or getattr(asked, "version", None)
    with contextlib.nullcontext() if by_hand else pushing.told(asked.command):
        runs[asked.command](configuration.load(asked.params), asked)


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
