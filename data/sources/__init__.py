"""Sources of data: the built-in city, a table of one's own, the UCI bike-sharing data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.params import Ingest, Series
from data.sources.columns import Columns

if TYPE_CHECKING:
    import pandas as pd


def read(series: Series, ingest: Ingest) -> pd.DataFrame:
    """Read the raw table, unsorted and unchecked, with at least the declared columns.

    Raises:
        ConfigError: the source's own settings cannot be followed.
        SourceError: the source cannot be reached.
        DataError: a declared column is missing, or a file is damaged.
    """
    from data.sources import sample, table, uci_bike_sharing

    columns = Columns.of(series)
    match ingest.source:
        case "csv" | "parquet" as kind:
            return table.read(ingest.path, kind, columns)
        case "sample":
            frame = sample.generate(ingest.sample)
        case "uci-bike-sharing":
            frame = uci_bike_sharing.read(ingest.uci_bike_sharing)
    columns.require(list(frame.columns), f"source {ingest.source!r}")
    return frame
