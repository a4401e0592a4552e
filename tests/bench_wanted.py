"""What benchmarks are to reach: told beside what they measured, and by the exit code of the command."""

from __future__ import annotations

from typing import NamedTuple

#: With which a command ends that did not reach what is wanted, as one that a gate did not let through.
NOT_REACHED = 7


class Wanted(NamedTuple):
    """A figure and its limit.

    Attributes:
        what: it is, for people.
        value: that was measured.
        limit: of it.
        unit: of both.
        most: whether the limit is the largest that it may be, or the smallest.
    """

    what: str
    value: float
    limit: float
    unit: str = ""
    most: bool = True

    @property
    def reached(self) -> bool:
        """Whether it is as wanted; a number that is none is not."""
        return self.value <= self.limit if self.most else self.value >= self.limit


def tell(figures: list[Wanted]) -> bool:
    """Print a table, and say whether all are reached."""
    print("\n| wanted | measured | limit | |\n|---|---|---|---|")
    for one in figures:
        sides = f"{one.value:.3g}{one.unit} | at {'most' if one.most else 'least'} {one.limit:g}{one.unit}"
        print(f"| {one.what} | {sides} | {'reached' if one.reached else 'NOT REACHED'} |", flush=True)
    return all(one.reached for one in figures)
