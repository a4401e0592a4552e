"""Lay out a model repository for `mlserver start`: `python save.py WORK_FOLDER REPOSITORY`."""

import json
import shutil
import sys
from pathlib import Path

IMPLEMENTATIONS = {"rows": "mlserver_sklearn.SKLearnModel", "forecast": "forecast.Forecast"}
FILES = {"rows": "point.joblib", "forecast": ""}

work, repository = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copytree(work, repository, dirs_exist_ok=True)
uri = f"./{FILES[work.name]}"
settings = {"name": work.name, "implementation": IMPLEMENTATIONS[work.name], "parameters": {"uri": uri}}
shutil.copy(Path(__file__).with_name("forecast.py"), repository)
(repository / "model-settings.json").write_text(json.dumps(settings))
