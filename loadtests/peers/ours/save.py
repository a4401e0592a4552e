"""Put a work's forecaster into BentoML's store as `bentoml.mlflow.import_model` lays it out: `python save.py FOLDER`.

Runs in the project's virtual environment; `bentoml build` takes it from there.
"""

import shutil
import sys
from pathlib import Path

import bentoml

folder = Path(sys.argv[1])
with bentoml.models.create("bentocast", module="bentoml.mlflow", labels={"mlflow_version": "1"}) as model:
    inside = Path(model.path) / "mlflow_model"
    (inside / "extra_files").mkdir(parents=True)
    shutil.copy(folder / "model.onnx", inside)
    shutil.copy(folder / "forecaster.json", inside / "extra_files")
    (inside / "MLmodel").write_text("flavors: {}\n")
