"""What happens in the simulated months: series and covariates on a grid, and what a fault makes of what is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.params import Params, Sample
from data.sources import sample

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
#: What a sensor reports: takes the values of a covariate since the fault, and the days since then.
Report = Callable[[Floats, Floats], Floats]
HOUR = np.timedelta64(1, "h")


@dataclass(frozen=True)
class City:
    """The sample's stations, hour by hour.

    Attributes:
        names: of the stations.
        hours: shape (hours,), datetime64[h].
        target: shape (stations, hours), NaN where nothing was reported.
        covariates: by name, shape (hours,), NaN where nothing was reported.
    """

    names: tuple[str, ...]
    hours: NDArray[np.datetime64]
    target: Floats
    covariates: dict[str, Floats]

    @classmethod
    def of(cls, params: Params, made: Sample) -> City:
        """Draw it; stations that open later than the first hour are left out."""
        series = params.series
        frame = sample.generate(made)
        assert series.id is not None, "the sample has stations"
        wide = frame.pivot_table(index=series.timestamp, columns=series.id, values=series.target)
        wide = wide.asfreq("h")
        month = 24 * 30
        wide = wide[[name for name in wide.columns if wide[name].iloc[:month].notna().any()]]
        weather = frame.drop_duplicates(series.timestamp).set_index(series.timestamp).reindex(wide.index)
        return cls(
            tuple(map(str, wide.columns)),
            wide.index.to_numpy().astype("datetime64[h]"),
            wide.to_numpy(np.float64).T,
            {name: weather[name].ffill().to_numpy(np.float64) for name in series.covariates.names},
        )

    def at(self, moment: np.datetime64) -> int:
        """The place of an hour."""
        return int((moment.astype("datetime64[h]") - self.hours[0]) // HOUR)

    def reported(self, covariate: str, since: int, report: Report) -> City:
        """What is known of the city if a sensor is at fault.

        Args:
            covariate: its name.
            since: place of the hour at which that begins.
            report: what it makes of the true values.
        """
        values = self.covariates[covariate].copy()
        days = np.arange(values.size - since) / 24
        values[since:] = report(values[since:], days)
        return replace(self, covariates=self.covariates | {covariate: values})

    def table(self, params: Params, until: int, since: int = 0) -> pd.DataFrame:
        """What was reported before an hour (and since another), in the sample's own columns."""
        import pandas as pd

        series, part = params.series, slice(since, until)
        assert series.id is not None, "the sample has stations"
        many, hours = len(self.names), self.hours[part]
        columns = {
            series.id: np.repeat(self.names, hours.size),
            series.timestamp: np.tile(hours.astype("datetime64[us]"), many),
            series.target: self.target[:, part].ravel(),
        } | {name: np.tile(values[part], many) for name, values in self.covariates.items()}
        frame = pd.DataFrame(columns)
        return frame[frame[series.target].notna()].reset_index(drop=True)
