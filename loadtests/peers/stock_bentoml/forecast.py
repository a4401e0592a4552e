"""Work B as BentoML's quickstart writes it."""

from pathlib import Path

import bentoml

from loadtests.peers.forecasting import Answer, Series, with_scikit_learn


@bentoml.service
class Forecast:
    """One series in, point and quantiles of each step out."""

    stored = bentoml.models.BentoModel("forecast:latest")

    def __init__(self) -> None:
        self.forecasting = with_scikit_learn(Path(self.stored.path_of("forecaster.json")).parent)

    @bentoml.api
    def forecast(self, series: Series) -> Answer:
        """The forecast of one series."""
        return self.forecasting(series)
