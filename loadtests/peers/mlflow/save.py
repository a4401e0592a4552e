"""Write an MLflow model for `mlflow models serve`: `python save.py WORK_FOLDER MODEL_FOLDER`."""

import sys
from pathlib import Path

import joblib
import mlflow

work, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
if work.name == "rows":
    mlflow.sklearn.save_model(joblib.load(work / "point.joblib"), target, serialization_format="cloudpickle")
else:
    mlflow.pyfunc.save_model(
        target, python_model=str(Path(__file__).with_name("forecast.py")), artifacts={"folder": str(work)}
    )
