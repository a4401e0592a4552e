"""The columns that a source must give, and the error if it does not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.errors import DataError
from data.params import Series

#: How many of a table's columns an error lists.
SHOWN = 20


@dataclass(frozen=True)
class Columns:
    """Declared columns.

    Attributes:
        declared: each column's name, with the key of params.yaml that declares it.
        text: the columns that are kept letter by letter (`007` is no number, `NA` is a name).
    """

    declared: Mapping[str, str]
    text: frozenset[str] = frozenset()

    @classmethod
    def of(cls, series: Series) -> Columns:
        """The columns that params.yaml declares."""
        declared = {series.id: "series.id"} if series.id else {}
        declared |= {series.timestamp: "series.timestamp", series.target: "series.target"}
        declared |= dict.fromkeys(series.covariates.future, "series.covariates.future")
        declared |= dict.fromkeys(series.covariates.past, "series.covariates.past")
        return cls(declared, frozenset({series.timestamp, *([series.id] if series.id else [])}))

    def require(self, found: Sequence[str], where: str) -> None:
        """Check a table's column names.

        Args:
            found: the names, in the table's order.
            where: the table's name, for the error.

        Raises:
            DataError: declared columns are missing, or a declared name stands for two columns.
        """
        missing = [name for name in self.declared if name not in found]
        if missing:
            raise DataError(self._explain(missing, found, where), param=self.declared[missing[0]])
        for name, key in self.declared.items():
            if found.count(name) > 1:
                raise DataError(
                    f"{where}: column {name!r} ({key}) occurs {found.count(name)} times, wanted it once: "
                    "rename or remove the others",
                    param=key,
                )

    def _explain(self, missing: list[str], found: Sequence[str], where: str) -> str:
        named = ", ".join(f"{name!r} ({self.declared[name]})" for name in missing)
        near = {name: difflib.get_close_matches(name, found, n=1) for name in missing}
        guesses = [f"{name!r} be {match[0]!r}" for name, match in near.items() if match]
        hint = f" (could {', '.join(guesses)}?)" if guesses else ""
        return (
            f"{where}: found no column {named}, got {_listed(found)}{hint}: "
            "write the table's own column names into params.yaml, section series"
        )


def _listed(found: Sequence[str]) -> str:
    if not found:
        return "no columns"
    rest = len(found) - SHOWN
    return ", ".join(map(repr, found[:SHOWN])) + (f" and {rest} more" if rest > 0 else "")
