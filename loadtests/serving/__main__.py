"""The command: make what is missing, start all servers, measure, print, end all servers."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from data import command
from loadtests import signals
from loadtests.processes import Mark, running
from loadtests.serving import entries, machine, making, measures, report, servers
from loadtests.serving.findings import Findings
from loadtests.serving.settings import CACHE, NAMES, QUICK, Settings


def main(argv: list[str]) -> None:
    """Run the whole benchmark."""
    asked = _arguments(argv)
    signals.heed()
    settings = _settings(asked)
    about = machine.describe(settings.peers)
    before = machine.load_average()
    findings = Findings()
    try:
        with making.alone() as mark:
            measure(settings, mark, findings)
    finally:  # what was measured before a fault or Ctrl-C took half an hour too
        about |= {"load average": f"before {before}, after {machine.load_average()}"}
        if findings.rates:
            _tell(findings, settings, about, asked.json)


def measure(settings: Settings, mark: Mark, findings: Findings) -> None:
    """All measurements; servers are ended whatever happens."""
    logs = CACHE / "logs"
    commands = servers.commands(settings.servers)
    listed, missing = entries.table(making.MODELS, CACHE / "bodies", settings.servers)
    findings.missing |= missing
    measures.starts(commands, settings, logs, mark, findings)
    command.say(f"starting {len(commands)} servers")
    with running(commands, logs, mark=mark) as started:
        good = measures.check(listed, started, findings)
        measures.rounds(good, started, settings, findings)
        measures.tails(good, started, settings, logs, findings)
        measures.memory(started, findings)
        measures.batches(good, started, settings, findings)
        measures.overloads(good, started, settings, findings)
    measures.soak(good, commands, settings, logs, mark, findings)


def _tell(findings: Findings, settings: Settings, about: dict[str, str], file: Path | None) -> None:
    print(report.markdown(findings, settings, about))
    if file:
        whole = {"about": about, "settings": dataclasses.asdict(settings), "findings": _plain(findings)}
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter everything, to see that it works")
    parser.add_argument("--rounds", type=int, help="times that every server is measured")
    parser.add_argument("--soak", type=int, help="requests after which memory is looked at again (1000000 by hand)")
    parser.add_argument("--peers", nargs="*", choices=[name for name in NAMES if name != "ours"], help="only these")
    parser.add_argument("--json", type=Path, help="write all numbers to this file too")
    return parser.parse_args(argv)


def _settings(asked: argparse.Namespace) -> Settings:
    chosen = {"rounds": asked.rounds, "soak": asked.soak, "peers": None if asked.peers is None else tuple(asked.peers)}
    base = QUICK if asked.quick else Settings()
    return dataclasses.replace(base, **{name: value for name, value in chosen.items() if value is not None})


def _plain(findings: Findings) -> dict[str, object]:
    """As JSON takes it; of an overload's latencies only counts and percentiles are kept."""
    whole = dataclasses.asdict(dataclasses.replace(findings, overloads={}))
    whole["overloads"] = {
        name: {
            "capacity": found.capacity,
            "share": found.share,
            "statuses": found.storm.statuses,
            "p99": found.storm.p99(),
            "calm_p99": found.calm.p99(),
            "slowest_refusal": found.storm.slowest_refusal(),
            "lag_p99": found.storm.lag_p99,
        }
        for name, found in findings.overloads.items()
    }
    return whole


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
