"""What MLflow, and the store of its artifacts, say when they fail: in one line, with the fix where it is known."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from data.errors import RegistryError
from data.sources import address

#: Packages that speak to an object store where MLflow's server leaves that to its clients.
OBJECT_STORE = {"boto3", "botocore", "s3transfer"}
#: What to do about what MLflow or the store of its artifacts says.
FIXES = {
    r"not authenticated|error code 401|401 Client Error": (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user of this server"
    ),
    r"Permission denied|error code 403|403 Client Error": (
        "ask whoever runs the server for the permission EDIT on this experiment and this model"
    ),
    r"NoSuchBucket": "make the bucket, or start the server with one that is there (--artifacts-destination)",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Unable to locate credentials": (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may write to the bucket"
    ),
    r"Could not connect to the endpoint": "start the object store, or set AWS_ENDPOINT_URL to one that runs",
    r"mlflow-artifacts": (
        "the server does not reach the store of its artifacts: is that up, is there such a bucket "
        "(--artifacts-destination), may the server write to it? Its log says which"
    ),
    r"psycopg|OperationalError|connection to server|error code 50\d|too many 50\d": (
        "is the server's database up? Its log says"
    ),
}


def explained(err: Exception) -> str:
    """What failed, and the fix where it is known."""
    text = address.mask(" ".join(str(err).split()))
    fix = next((f"{fix}; " for pattern, fix in FIXES.items() if re.search(pattern, text)), "")
    return f"MLflow failed: {text[:300]}; {fix}nothing was promoted, the same command tries again"


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Say what is out of reach instead of showing MLflow's traceback."""
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError) as err:
        raise RegistryError(explained(err)) from err
    except Exception as err:
        if type(err).__module__.partition(".")[0] not in OBJECT_STORE:
            raise
        raise RegistryError(explained(err)) from err
