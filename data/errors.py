"""The errors a user can cause, each with the HTTP status and the exit code it maps to.

A message says what failed, where, what was got, what was wanted, and the fix.
"""

from __future__ import annotations


class BentocastError(Exception):
    """Base of all errors that a user can cause and mend.

    Attributes:
        status: HTTP status when it surfaces in the service.
        exit_code: exit code when it surfaces in a command.
        code: short machine-readable name, stable across releases.
        param: path of the value at fault (`inputs[0].series`, `features.lags`), if there is one.
    """

    status = 500
    exit_code = 1
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self.args[0])


class ConfigError(BentocastError):
    """params.yaml, the environment or a command line says something that cannot be done."""

    exit_code = 2
    code = "invalid_configuration"


class DataError(BentocastError):
    """A table does not keep to the declared schema."""

    status = 400
    exit_code = 3
    code = "invalid_data"


class SourceError(BentocastError):
    """A source of data cannot be read or downloaded."""

    exit_code = 4
    code = "source_unavailable"


class RequestError(BentocastError):
    """A client asked for something that cannot be answered as asked."""

    status = 400
    code = "invalid_request"


class NotFoundError(BentocastError):
    """Somebody named a model, a Bento, a file or a path that is not here."""

    status = 404
    exit_code = 6
    code = "not_found"


class ModelError(BentocastError):
    """A model's files are missing, damaged, or do not belong together."""

    status = 503
    exit_code = 5
    code = "model_unavailable"


class RegistryError(BentocastError):
    """MLflow or BentoML's store is out of reach, or does not hold what was asked for."""

    exit_code = 6
    code = "registry_unavailable"


class GateError(BentocastError):
    """A gate did not pass: nothing was promoted."""

    exit_code = 7
    code = "gate_not_passed"
