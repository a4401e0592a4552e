"""Work A as BentoML's quickstart writes it."""

import bentoml
import joblib
import numpy as np


@bentoml.service
class Rows:
    """24 rows in, 24 numbers out."""

    stored = bentoml.models.BentoModel("rows:latest")

    def __init__(self) -> None:
        self.model = joblib.load(self.stored.path_of("point.joblib"))

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The model's answer to each row."""
        return self.model.predict(rows)
