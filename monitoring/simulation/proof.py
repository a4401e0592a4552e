"""The proof of monitoring: quiet months without alarms, and each fault found by the test that is there for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.params import Params, Sample
from data.verdict import Outcome
from monitoring.faults import LoopError
from monitoring.simulation import healed
from monitoring.simulation.city import City
from monitoring.simulation.faults import FAULTS, Fault
from monitoring.simulation.play import Alarm, Player, Told
from monitoring.simulation.project import TABLE, Project, over

#: The first simulated day; before it the model is trained on the months from FIRST on.
FIRST, BEGIN = "2023-01-01", "2024-07-01"
#: Days that all goes well before a fault.
QUIET_DAYS = 15
QUIET = "quiet"
NAMES = (QUIET, *FAULTS)


@dataclass(frozen=True)
class Result:
    """What one simulation showed.

    Attributes:
        name: of the fault, or `quiet`.
        rows: of the table.
        good: whether it is as it must be.
    """

    name: str
    rows: list[tuple[str, str]]
    good: bool


def run(
    config: Params,
    file: Path,
    names: Collection[str],
    months: int,
    say: Callable[[str], None],
    kept: Path | None = None,
) -> list[Result]:
    """Simulate quiet months, and each fault.

    Args:
        config: the configuration.
        file: that it was read from.
        names: of faults, and `quiet`.
        months: quiet ones.
        say: tells a person what goes on.
        kept: folder that the first model stays in, for the next simulation; None forgets it.
    """
    with tempfile.TemporaryDirectory(prefix="bentocast-simulation-", ignore_cleanup_errors=True) as work:
        folder = Path(work)
        city = City.of(config, _sample(config))
        base, tag = _base(file, city, (kept or folder) / "base", say)
        results = []
        for name in names:
            say(f"\n{name}: {FAULTS[name].what if name in FAULTS else f'{months} months without a fault'}")
            project = base.copy(folder / name / "project")
            # BentoML finds its store once in the life of a process, and each project has its own.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                results.append(process.submit(_one, project, config, name, tag, months, say).result())
        return results


def _one(project: Project, config: Params, name: str, tag: str, months: int, say: Callable[[str], None]) -> Result:
    """One simulation, in this process."""
    with _inside(project):
        began = time.monotonic()
        if name == QUIET:
            result = _quiet(project, City.of(config, _sample(config)), tag, months, say)
        else:
            result = _fault(project, config, name, tag, say)
        say(f"{name}: {'as it must be' if result.good else 'NOT AS IT MUST BE'}, {time.monotonic() - began:.0f} s")
    return result


def _base(file: Path, city: City, folder: Path, say: Callable[[str], None]) -> tuple[Project, str]:
    """The project whose first model is trained, and that model's Bento."""
    done = folder / "bento"
    base = Project(folder / "project")
    if not done.exists():
        base = Project.make(base.folder, _changes(file))
        base.write(city.table(base.config(), city.at(np.datetime64(BEGIN))))
        say("simulation: training the first model (a minute or two)")
        done.write_text(base.bento(), encoding="utf-8")
    return base, done.read_text(encoding="utf-8")


def _sample(config: Params, change: str | None = None) -> Sample:
    update = {"start": FIRST, "end": "2025-02-28T23:00", "regime_change": change}
    return config.ingest.sample.model_copy(update=update)


def _changes(file: Path) -> dict[str, Any]:
    import yaml

    from loadtests.ports import free_ports

    port, admin = free_ports(), free_ports()
    own = {
        "ingest": {"source": "parquet", "path": TABLE},
        "promote": {"champion": "rollout"},
        # Pages are read once a simulated day, and nobody's database is asked four times in each.
        "monitoring": {"numerics": {"window": "1d"}, "dependencies": {"vulnerabilities": False}},
        "deploy": {"router": {"port": port, "admin_ports": [admin]}},
    }
    changes: dict[str, Any] = over(yaml.safe_load(file.read_text(encoding="utf-8")), own)
    return changes


@contextlib.contextmanager
def _inside(project: Project) -> Iterator[None]:
    """This process in a project's folder, with the environment of its commands."""
    folder, before, own = Path.cwd(), dict(os.environ), project.environment
    os.chdir(project.folder)
    os.environ.clear()
    os.environ.update(own)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def _quiet(project: Project, city: City, tag: str, months: int, say: Callable[[str], None]) -> Result:
    player = Player(project, city, tag, every=3, say=say, with_loop=True)
    begin = city.at(np.datetime64(BEGIN))
    with player.up(begin):
        player.play(begin + 24 * 30 * months)
    told = player.told
    rows = [
        (f"{months} months without a fault: alarms", _listed(told.alarms)),
        ("models made anew by schedule", ", ".join(f"{one.state}" for one in told.retrainings) or "none"),
        ("requests, and failed ones", f"{told.requests:,}, {told.failed}"),
        ("verdicts in the end", ", ".join(f"{name} {one.outcome}" for name, one in told.verdicts.items())),
    ]
    return Result(QUIET, rows, len(told.alarms) <= 2 and not told.failed)


def _fault(project: Project, config: Params, name: str, tag: str, say: Callable[[str], None]) -> Result:
    fault = FAULTS[name]
    begin = round(float((np.datetime64(BEGIN, "h") - np.datetime64(FIRST, "h")).astype(int)))
    change = begin + 24 * QUIET_DAYS
    at = str(np.datetime64(FIRST, "h") + change)
    city = City.of(config, _sample(config, at if fault.regime else None))
    if fault.covariate:
        city = city.reported(fault.covariate[0], change, fault.covariate[1])
    player = Player(project, city, tag, every=3, say=say, with_loop=fault.heals)
    with player.up(begin):
        player.play(change)
        player.play(change + 24 * fault.days, fault, lambda told: _fired(told, fault) is not None)
        fired = _fired(player.told, fault)
        rows = [
            (f"{name}: {fault.what}", _found(fired, fault)),
            (f"{name}: other alarms", _listed([one for one in player.told.alarms if one is not fired])),
        ]
        good = fired is not None and all(one.day >= QUIET_DAYS for one in player.told.alarms)
        if fault.heals and fired:
            made = healed.watch(player, config, change, fault, say)
            rows += made.rows
            good = good and made.good
    if player.told.failed:
        rows.append((f"{name}: failed requests", f"{player.told.failed} of {player.told.requests}"))
    return Result(name, rows, good)


def _fired(told: Told, fault: Fault) -> Alarm | None:
    return next((one for one in told.alarms if one.test == fault.test and one.outcome is Outcome.FAIL), None)


def _found(alarm: Alarm | None, fault: Fault) -> str:
    if alarm is None:
        return f"NOT found by {fault.test} within {fault.days} days"
    after = 24 * (alarm.day - QUIET_DAYS)  # of covariates known ahead the wrong ones are seen at once
    return f"found by {alarm.test} after {after:.0f} h: {alarm.text[:160]}"


def _listed(alarms: list[Alarm]) -> str:
    return "; ".join(f"day {one.day:.0f} {one.test} {one.outcome}: {one.text[:120]}" for one in alarms) or "none"


def table(results: list[Result]) -> str:
    """In Markdown."""
    rows = [row for result in results for row in result.rows]
    return "\n".join(["| simulated | seen |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def check(names: Collection[str]) -> None:
    """See that the names are known.

    Raises:
        LoopError: one is not.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise LoopError(f"got {unknown[0]!r}, wanted one of {', '.join(NAMES)}")
