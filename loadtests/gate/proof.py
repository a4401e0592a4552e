"""How often the gate is right: many gates of a Bento against itself, and against copies that are slower on purpose.

Each gate is the real command in a process of its own; what is counted are its exit code and how long it took.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data import command
from loadtests import spoiled
from loadtests.faults import LoadtestError

OUTCOMES = {0: "pass", 7: "fail", 8: "inconclusive"}


@dataclass
class Series:
    """Gates of one kind.

    Attributes:
        name: what the candidate is.
        outcomes: of each gate.
        seconds: of each gate, the whole command.
        numbers: of each gate, what it wrote.
    """

    name: str
    outcomes: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)

    def row(self) -> list[str]:
        """A line of the table."""
        counted = Counter(self.outcomes)
        ratios = [f"{name} {self._ratio(name):.3f}" for name in ("p50", "p95", "throughput", "processor")]
        return [
            self.name,
            str(len(self.outcomes)),
            *(str(counted[outcome]) for outcome in ("pass", "fail", "inconclusive", "error")),
            f"{statistics.median(self.seconds):.0f} ({min(self.seconds):.0f} to {max(self.seconds):.0f})",
            ", ".join(ratios),
        ]

    def _ratio(self, name: str) -> float:
        found = [
            check["numbers"]["estimate"]
            for one in self.numbers
            for check in one["checks"]
            if check["name"] == name and "estimate" in check["numbers"]
        ]
        return statistics.median(found) if found else float("nan")


HEAD = ("candidate", "gates", "pass", "fail", "inconclusive", "error", "seconds", "median of the ratios")


def run(tag: str, same: int, slower: dict[float, int], log: Path | None, params: Path) -> list[Series]:
    """Run all gates.

    Args:
        tag: of the Bento.
        same: gates of it against itself.
        slower: gates by how much slower: the busy loop as a share of the time that a request takes of a busy service,
            which is 1 / throughput.
        log: file that a line of JSON is added to for each gate.
        params: configuration of the gates.

    Raises:
        LoadtestError: not one gate of the Bento against itself says what a request costs.
    """
    itself = Series("the same Bento")
    made = [itself]
    for number in range(same):
        _gate(tag, tag, itself, f"{number + 1}/{same}", log, params)
    cost = _cost(itself)
    for share, gates in slower.items():
        if not gates:
            continue
        series = Series(f"{share:.0%} slower ({share * cost * 1e6:.0f} us more a request)")
        made.append(series)
        copy = spoiled.make(tag, spoiled.slow(share * cost), f"slowed-{share * 100:.0f}")
        try:
            for number in range(gates):
                _gate(tag, copy, series, f"{number + 1}/{gates}", log, params)
        finally:
            spoiled.remove(copy)
    return made


def table(found: list[Series]) -> str:
    """A table in Markdown."""
    lines: Iterator[list[str]] = iter([list(HEAD), ["---"] * len(HEAD), *(series.row() for series in found)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _gate(baseline: str, candidate: str, series: Series, number: str, log: Path | None, params: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bentocast-proof-") as folder:
        asked = [
            "--params",
            str(params),
            "gate",
            "--baseline",
            baseline,
            "--candidate",
            candidate,
            "--out",
            folder,
            "--no-log",
        ]
        began = time.monotonic()
        code, told = _ran([sys.executable, "-m", "loadtests", *asked])
        series.seconds.append(time.monotonic() - began)
        series.outcomes.append(OUTCOMES.get(code, "error"))
        file = Path(folder) / "gate.json"
        numbers = json.loads(file.read_text()) if file.exists() else {"checks": [], "error": told[-2_000:]}
        series.numbers.append(numbers)
    command.say(f"{series.name}, gate {number}: {series.outcomes[-1]} in {series.seconds[-1]:.0f} s")
    if log:
        with log.open("a", encoding="utf-8") as target:
            target.write(
                json.dumps(numbers | {"series": series.name, "took": series.seconds[-1], "ended": series.outcomes[-1]})
                + "\n"
            )


def _ran(command_line: list[str]) -> tuple[int, str]:
    """Exit code and what it told on stderr; an interrupt is handed on, so that it ends what it started."""
    with subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        try:
            _, told = run.communicate()
        except BaseException:
            run.terminate()
            raise
        return run.returncode, told


def _cost(itself: Series) -> float:
    """Seconds that a request takes of a busy service, as the gates of the Bento against itself measured them."""
    costs: list[float] = [
        1 / check["numbers"]["baseline"]
        for one in itself.numbers
        for check in one["checks"]
        if check["name"] == "throughput" and check["numbers"].get("baseline")
    ]
    if not costs:
        why = itself.numbers[-1].get("error", "") if itself.numbers else "none was run: --same 1 or more"
        raise LoadtestError(f"no gate of the Bento against itself says what a request costs: {why}")
    return float(statistics.median(costs))
