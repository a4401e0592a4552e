"""A download that goes on where an earlier one was cut off, in this run or in one before it.

The bytes so far are kept in a file, and beside it the server's validator of what they belong to
(RFC 9110: a strong ETag, or Last-Modified). They are continued only while the server says, by If-Range,
that the resource is still the same; else the download starts anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from data import atomic
from data.errors import SourceError
from data.sources import address

CONNECT_SECONDS, READ_SECONDS = 10, 30
CHUNK_BYTES = 1 << 16
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)
#: Told the bytes so far and the bytes in all, None if the server does not say.
Report = Callable[[int, int | None], None]
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Download:
    """What to fetch.

    Attributes:
        url: an http or https address.
        part: file that holds the bytes, complete once `run` has returned.
        limit_bytes: more than this is refused.
        waits_seconds: pauses between attempts; one more attempt than pauses is made.
    """

    url: str
    part: Path
    limit_bytes: int
    waits_seconds: tuple[float, ...] = WAITS_SECONDS

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return address.mask(self.url)

    @property
    def validator(self) -> Path:
        """File that holds what the server calls this state of the resource."""
        return self.part.with_name(f"{self.part.name}.validator")

    def forget(self) -> None:
        """Remove what was fetched."""
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


class _PassingError(Exception):
    """Something that another attempt may mend; its text says what."""


def run(job: Download, report: Report) -> None:
    """Fetch the whole resource into `job.part`.

    Raises:
        SourceError: the server refuses, cannot be reached in any attempt, or sends too much; the disk
            cannot be written. What came so far stays for the next run unless it is of no use.
    """
    fault = ""
    for wait in (0.0, *job.waits_seconds):
        time.sleep(wait)
        try:
            _attempt(job, report)
        except _PassingError as err:
            fault = str(err)
        except OSError as err:
            raise SourceError(
                f"{job.part}: cannot be written ({err.strerror or err}): free some space or check the folder's rights"
            ) from err
        else:
            return
    raise SourceError(
        f"{job.shown}: gave up after {len(job.waits_seconds) + 1} attempts, at the last one {fault}: check the network "
        f"and the address, then run again; {_size(job)} bytes are kept and will be continued"
    )


def _attempt(job: Download, report: Report) -> None:
    job.part.parent.mkdir(parents=True, exist_ok=True)
    validator = job.validator.read_text(encoding="utf-8") if job.validator.exists() else ""
    have = _size(job) if validator else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        with requests.get(job.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
            _take(response, job, have, validator, report)
    except requests.exceptions.SSLError:
        raise SourceError(
            f"{job.shown}: the server's certificate cannot be trusted: check the address, or set REQUESTS_CA_BUNDLE"
        ) from None
    except requests.exceptions.TooManyRedirects:
        raise SourceError(f"{job.shown}: the server redirects in a circle: check the address") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise SourceError(f"{job.shown}: this is no http or https address, wanted https://host/path") from None
    # The text of these errors shows the address unmasked, so it is not passed on.
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        raise _PassingError(f"there was no answer within {CONNECT_SECONDS} s or {READ_SECONDS} s") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        raise _PassingError("the connection failed or was cut") from None


def _take(response: requests.Response, job: Download, have: int, validator: str, report: Report) -> None:
    status = response.status_code
    if status in BUSY:
        raise _PassingError(f"the server answered {status} {response.reason}")
    start, total = _extent(response)
    if status == requests.codes.requested_range_not_satisfiable and total == have > 0:
        return
    same = _validator(response) in (validator, "")
    if status == requests.codes.requested_range_not_satisfiable or (status == 206 and not (start == have and same)):
        job.forget()
        raise _PassingError("the server did not continue where the last attempt ended")
    if status not in (200, 206):
        raise SourceError(f"{job.shown}: the server answered {status} {response.reason}, wanted 200: check the address")
    if status == 200:
        have = 0
        _begin(job, _validator(response))
    _append(response, job, have, total, report)


def _begin(job: Download, validator: str) -> None:
    # In this order a crash in between leaves nothing that could be continued with the wrong bytes.
    job.forget()
    if validator:
        atomic.write_text(job.validator, validator)


def _append(response: requests.Response, job: Download, have: int, total: int | None, report: Report) -> None:
    if total is not None and total > job.limit_bytes:
        raise _too_large(job, total)
    with job.part.open("ab" if have else "wb") as file:
        # read1 hands over what has come; iter_content would lose the last, unfilled chunk at a cut.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            have += len(chunk)
            if have > job.limit_bytes:
                raise _too_large(job, have)
            file.write(chunk)
            report(have, total)
    if total is not None and have != total:
        raise _PassingError(f"{have} of {total} bytes had come when the connection ended")


def _too_large(job: Download, size: int) -> SourceError:
    job.forget()
    return SourceError(
        f"{job.shown}: got {size} bytes or more, wanted at most {job.limit_bytes}: it is not the expected file"
    )


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First byte that is sent, and the size of the whole resource if it is told."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match:
        return int(match[1] or 0), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return 0, int(length) if length.isdigit() and plain else None


def _validator(response: requests.Response) -> str:
    """What If-Range may carry; empty if the server gives nothing that is fit for it."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return ""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _size(job: Download) -> int:
    return job.part.stat().st_size if job.part.exists() else 0
