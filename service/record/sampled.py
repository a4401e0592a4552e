"""Sampled requests, read from the record."""

from __future__ import annotations

from sqlalchemy import inspect, select

from service.record.reading import reading
from service.record.samples import SampleEntry, decode
from service.record.tables import SAMPLES


def sampled(url: str, model_version: str, bento: str, since: float, most: int) -> list[SampleEntry]:
    """The newest sampled requests that a Bento answered with a version of the model; none from a record without them.

    Args:
        url: as in `RecordSettings`.
        model_version: in MLflow's registry.
        bento: its tag.
        since: seconds since 1970, UTC: earlier ones say nothing of what the service does now.
        most: how many.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    with reading(url) as begin, begin() as connection:
        if not inspect(connection).has_table(SAMPLES.name):  # written by a service that takes no samples
            return []
        newest = (
            select(SAMPLES)
            .where(SAMPLES.c.model_version == model_version, SAMPLES.c.bento == bento, SAMPLES.c.created_at >= since)
            .order_by(SAMPLES.c.created_at.desc())
            .limit(most)
        )
        return [decode(row) for row in connection.execute(newest)]
