"""The record: what was forecast and what came true, in SQLite or PostgreSQL.

SQLAlchemy is imported when a recorder is opened, not before: it costs half a second of start-up and 16 MB.
"""

from service.record.entries import ForecastEntry
from service.record.errors import RecordUnavailableError
from service.record.recorder import Recorder, RecordStats
from service.record.samples import SampleEntry
from service.record.settings import RecordSettings

__all__ = ["ForecastEntry", "RecordSettings", "RecordStats", "RecordUnavailableError", "Recorder", "SampleEntry"]
