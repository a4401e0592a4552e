"""Put a work's model into BentoML's store: `python save.py FOLDER`."""

import shutil
import sys
from pathlib import Path

import bentoml

folder = Path(sys.argv[1])
with bentoml.models.create(name=folder.name) as model:
    for name in ("point.joblib", "spread.joblib", "forecaster.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, model.path_of(name))
