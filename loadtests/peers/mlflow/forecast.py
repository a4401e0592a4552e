"""Work B as a PythonModel with type hints, which MLflow loads from this code."""

from pathlib import Path

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

from loadtests.peers.forecasting import Answer, Series, with_scikit_learn


class Forecast(PythonModel):
    """One series in, point and quantiles of each step out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the two models."""
        self.forecasting = with_scikit_learn(Path(context.artifacts["folder"]))

    def predict(self, model_input: list[Series]) -> list[Answer]:
        """The forecast of each series."""
        return [self.forecasting(series) for series in model_input]


mlflow.models.set_model(Forecast())
