"""What a run found, as plain numbers: `report` prints them, `--json` writes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtests.processes import Memory
from loadtests.serving.openloop import Offered


@dataclass(frozen=True)
class Tail:
    """Latencies under a longer load, in seconds, and answers a second."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Overload:
    """Four times the capacity, offered in open loop, and a fifth of it for comparison.

    Attributes:
        capacity: requests a second in closed loop.
        calm: a fifth of the capacity offered.
        storm: four times the capacity offered.
    """

    capacity: float
    calm: Offered
    storm: Offered

    @property
    def share(self) -> float:
        """Answers with 200 within the schedule, as a share of what the capacity would give."""
        return self.storm.in_time / (self.capacity * self.storm.seconds)


@dataclass
class Findings:
    """All of it.

    Attributes:
        rates: by entry, answers a second in each round at 16 connections.
        processor: by entry, seconds of processor time for one answer in each of these rounds.
        alone: by entry, series a second in each round at one connection.
        tails: by entry.
        starts: by server, seconds from start to ready in each round.
        memory: by server and work, after the load.
        soak: requests answered by one worker of ours so far, and its resident bytes.
        overloads: by entry.
        refused: by entry, requests that failed under load; the rates count the others.
        missing: by entry or part of the run, why it is not there.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    alone: dict[str, list[float]] = field(default_factory=dict)
    tails: dict[str, Tail] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    soak: dict[int, int] = field(default_factory=dict)
    overloads: dict[str, Overload] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def count(self, name: str, failed: int) -> None:
        """Keep the number of requests that failed under load."""
        if failed:
            self.refused[name] = self.refused.get(name, 0) + failed
