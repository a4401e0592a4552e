"""How the record is kept: where, how long, and how much may wait."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from data import durations
from data.errors import ConfigError
from data.section import Section
from service.record.address import Address


def _checked(url: SecretStr) -> SecretStr:
    Address.parse(url.get_secret_value())
    return url


class RecordSettings(Section):
    """Settings of a recorder; a URL that cannot be followed is a ConfigError.

    Attributes:
        url: `sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.
        queue_entries: forecasts that may wait for the database; more are dropped and counted.
        queue_bytes: the same bound in bytes, for long horizons and many quantiles.
        batch_entries: forecasts written in one transaction.
        flush_seconds: how long a forecast waits for others to be written with.
        retention_seconds: age at which forecasts and actual values are deleted, from the time they came in.
        sample_seconds: time between requests that are kept as they came, of each worker; None keeps none.
        acknowledge_seconds: how long a client waits for its actual values to be on disk before it is refused.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[SecretStr, AfterValidator(_checked)]
    queue_entries: int = Field(default=10_000, ge=1, le=10_000_000)
    queue_bytes: int = Field(default=256 * 1024 * 1024, ge=1_000)
    batch_entries: int = Field(default=500, ge=1, le=10_000)
    flush_seconds: float = Field(default=0.2, gt=0, le=60)
    retention_seconds: float = Field(default=90 * 86_400, gt=0)
    sample_seconds: float | None = Field(default=900.0, gt=0)
    acknowledge_seconds: float = Field(default=10.0, gt=0, le=300)

    @property
    def address(self) -> Address:
        """The URL, ready to use and to show."""
        return Address.parse(self.url.get_secret_value())


#: Instead of the time between samples: none are taken.
OFF = "off"


def of(url: SecretStr | None, home: Path, retention: str, sample: str = "15min") -> RecordSettings:
    """Settings by what an operator says.

    Args:
        url: of the database; a file in `home` if there is none.
        home: BentoML's.
        retention: a duration, such as `90d`.
        sample: a duration between requests that are kept as they came, or `off`.

    Raises:
        ConfigError: the URL or the duration cannot be followed.
    """
    try:
        seconds = durations.seconds(retention)
    except ValueError as err:
        raise ConfigError(f"BENTOCAST_RECORD_RETENTION: {err}") from err
    try:
        every = None if sample == OFF else durations.seconds(sample)
    except ValueError as err:
        raise ConfigError(f"BENTOCAST_RECORD_SAMPLE: {err}, or {OFF!r}") from err
    return RecordSettings(
        url=url or SecretStr(f"sqlite:///{home / 'record.db'}"), retention_seconds=seconds, sample_seconds=every
    )
