"""Settings that every test shares: threads that do not fight over two cores, and no calls home."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)
