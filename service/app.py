"""The BentoML service: loads the model of the Bento it is part of and mounts the HTTP face.

`bentoml serve` in the project takes the newest imported model; a Bento has its own inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

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

    def __init__(self) -> None:
        service: Any = Bentocast
        bento = service.bento
        stored = bentoml.models.get(_model(bento))
        self.served = Served(
            forecaster=Forecaster.load(Path(stored.path) / "mlflow_model"),
            model=MODEL,
            model_version=str(stored.info.labels.get("mlflow_version", stored.tag.version)),
            bento=MODEL if bento is None else str(bento.tag),
        )


def _model(bento: Any) -> str:
    """Tag of the model that a Bento was built with; without a Bento, the newest in the store.

    `BentoModel("bentocast:latest")` would be the newest in the store for a Bento too: after the next
    import, an old Bento would answer with the new model.
    """
    tags = [] if bento is None else [str(model.tag) for model in bento.info.all_models if model.tag.name == MODEL]
    return tags[0] if tags else f"{MODEL}:latest"
