"""What callers of the record may have to answer for."""

from __future__ import annotations

from data.errors import BentocastError


class RecordUnavailableError(BentocastError):
    """The database of the record did not take or give what was asked of it.

    Attributes:
        retry_after_seconds: when to ask again.
    """

    status = 503
    exit_code = 74
    code = "record_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RefusedRowsError(Exception):
    """The database takes rows, but not these."""
