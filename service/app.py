"""The BentoML service: loads the model of the Bento it is part of and mounts the HTTP face.

`bentoml serve` in the project takes the newest imported model; a Bento has its own inside.
"""

from __future__ import annotations

from pathlib import Path

import bentoml
from bentoml.models import BentoModel

from data.forecaster import Forecaster
from service import http
from service.http import Served

MODEL = "bentocast"


def _served() -> Served:
    """What this worker serves; requests are routed here only after it has started."""
    served: Served = bentoml.get_current_service().served
    return served


@bentoml.service(
    name=MODEL,
    workers=1,
    traffic={"timeout": 30},
    metrics={"duration": {"buckets": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]}},
)
@bentoml.asgi_app(http.build(_served), path="/")
class Bentocast:
    """Forecasts of many time series at once."""

    model = BentoModel(f"{MODEL}:latest")

    def __init__(self) -> None:
        stored = self.model
        version = stored.info.labels.get("mlflow_version", stored.tag.version)
        context = bentoml.server_context
        self.served = Served(
            forecaster=Forecaster.load(Path(stored.path) / "mlflow_model"),
            model=MODEL,
            model_version=str(version),
            bento=f"{context.bento_name or MODEL}:{context.bento_version}",
        )
