"""The UCI bike-sharing data: two years of hourly rides in Washington D.C., downloaded and checked.

Fanaee-T and Gama (2013), doi:10.1007/s13748-013-0040-3, CC BY 4.0. An hour without rides has no row
there. `casual` and `registered` add up to `cnt`, so they are never read.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TextIO

import pandas as pd

from data import atomic
from data.errors import ConfigError, DataError, SourceError
from data.params import UciBikeSharing
from data.sources import address, download
from data.sources.download import Download
from data.sources.progress import Meter

MEMBER = "hour.csv"
ZIP_LIMIT_BYTES, MEMBER_LIMIT_BYTES = 64 << 20, 64 << 20
COLUMNS = ("cnt", "holiday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed")
URL_KEY, SHA256_KEY = "ingest.uci_bike_sharing.url", "ingest.uci_bike_sharing.sha256"


def read(settings: UciBikeSharing) -> pd.DataFrame:
    """Fetch the file unless it is there, then read it (see `parse`).

    Raises:
        ConfigError: the address is no http or https address.
        SourceError: it cannot be downloaded, or is not the file that is expected.
    """
    return parse(fetch(settings, progress=sys.stderr))


def fetch(
    settings: UciBikeSharing, *, progress: TextIO | None, waits_seconds: tuple[float, ...] = download.WAITS_SECONDS
) -> Path:
    """Give the path of `hour.csv` in the cache, downloading it if it is not there or is damaged.

    A download that was cut off is continued by the next call. The file's name holds the beginning of
    its hash, so a new `sha256` asks for a new file.

    Args:
        settings: the address, the hash of the file with LF line ends, the folder.
        progress: where to show how far a long download is; None for silence.
        waits_seconds: pauses between attempts.

    Raises:
        ConfigError: the address is no http or https address.
        SourceError: it cannot be downloaded, or is not the file that is expected.
    """
    path = settings.cache / f"bike-sharing-hour-{settings.sha256[:12]}.csv"
    if path.exists() and _sha256(path.read_bytes()) == settings.sha256:
        return path
    if address.scheme(settings.url) not in ("http", "https"):
        raise ConfigError(
            f"{URL_KEY}: got {address.mask(settings.url)!r}, wanted an http:// or https:// address; for a file on this "
            f"machine use 'source: csv'",
            param=URL_KEY,
        )
    name = f"bike-sharing-{_sha256(settings.url.encode())[:12]}.zip.part"
    job = Download(settings.url, settings.cache / name, ZIP_LIMIT_BYTES, waits_seconds)
    with Meter("bike-sharing data", progress) as meter:
        download.run(job, meter.report)
    try:
        content = _expected(_member(job), settings)
    finally:
        job.forget()
    with atomic.replacing(path) as scratch:
        scratch.write_bytes(content)
    return path


def parse(path: Path) -> pd.DataFrame:
    """Read an `hour.csv`.

    Returns:
        `timestamp` (datetime64, local time without zone), `cnt` (rides), `holiday` and `workingday` (0 or
        1), `weathersit` (1 clear to 4 heavy rain), `temp`, `atemp`, `hum`, `windspeed` (scaled to 0..1).

    Raises:
        SourceError: the file cannot be read.
        DataError: it is not the UCI file `hour.csv`.
    """
    try:
        raw = pd.read_csv(path, usecols=["dteday", "hr", *COLUMNS])
        hours = pd.to_datetime(raw["dteday"], format="%Y-%m-%d") + pd.to_timedelta(raw["hr"], unit="h")
    except OSError as err:
        raise SourceError(f"{path}: cannot be read ({err.strerror or err}): check the path and its rights") from err
    except (ValueError, TypeError) as err:
        raise DataError(
            f"{path}: not the UCI file {MEMBER} ({err}), wanted the columns dteday, hr, {', '.join(COLUMNS)}"
        ) from err
    return pd.DataFrame({"timestamp": hours, **{name: raw[name] for name in COLUMNS}})


def _member(job: Download) -> bytes:
    """The content of `hour.csv` in the archive, with LF line ends."""
    try:
        with zipfile.ZipFile(job.part) as archive:
            member = archive.getinfo(MEMBER)
            if member.file_size > MEMBER_LIMIT_BYTES:
                raise SourceError(
                    f"{job.shown}: {MEMBER} unpacks to {member.file_size} bytes, wanted at most {MEMBER_LIMIT_BYTES}: "
                    "it is not the expected file"
                )
            return archive.read(member).replace(b"\r\n", b"\n")
    except KeyError as err:
        raise SourceError(f"{job.shown}: the archive holds no {MEMBER}: check {URL_KEY}") from err
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as err:
        raise SourceError(f"{job.shown}: got no usable zip archive ({err}): check {URL_KEY}, then run again") from err


def _expected(content: bytes, settings: UciBikeSharing) -> bytes:
    got = _sha256(content)
    if got != settings.sha256:
        raise SourceError(
            f"{address.mask(settings.url)}: {MEMBER} has sha256 {got}, wanted {settings.sha256}: it was damaged on its "
            f"way and is removed, so run again; if the data was renewed on purpose, change {SHA256_KEY}",
            param=SHA256_KEY,
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
