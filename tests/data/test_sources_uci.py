"""The UCI bike-sharing data, from a web server on this machine that misbehaves in every way it can."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import socket
import tempfile
import threading
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import sources
from data.errors import BentocastError, ConfigError, DataError, SourceError
from data.params import Ingest, Series, UciBikeSharing
from data.sources import download, uci_bike_sharing
from data.sources.download import Download
from data.sources.progress import Meter

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "bike-sharing" / "hour.csv"
HEADER = (
    "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,casual,"
    "registered,cnt"
)
ROWS = [
    f"{row},2011-01-0{1 + row // 24},1,0,1,{row % 24},0,6,0,1,0.24,0.2879,0.81,0.1,3,{row},{3 + row}"
    for row in range(1, 60)
]
HOUR = "\n".join([HEADER, *ROWS, ""]).encode()
SHA256 = hashlib.sha256(HOUR).hexdigest()
NO_WAIT = (0.0, 0.0)


def zipped(content: bytes = HOUR.replace(b"\n", b"\r\n"), name: str = "hour.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Readme.txt", "about the data")
        archive.writestr(name, content)
    return packed.getvalue()


def ignore(done_bytes: int, total_bytes: int | None) -> None:
    """Report to nobody."""


class Site:
    """A resource on a web server, and how the server answers, one entry of `script` a request.

    `cut N` sends N bytes of the body and hangs up; `no range` sends all whatever is asked; `status N`
    answers just that; `wrong range` continues elsewhere. After the script the server behaves.
    """

    def __init__(self, content: bytes, *script: str) -> None:
        self.content, self.script = content, list(script)
        self.tag: str | None = '"v1"'
        self.modified: str | None = None
        self.length = True
        self.asked: list[tuple[str | None, str | None]] = []
        self.url = ""


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        site.asked.append((wanted, condition))
        verb, _, number = (site.script.pop(0) if site.script else "").rpartition(" ")
        if verb == "status":
            self._reply(int(number), b"", {})
            return
        begin = 0
        if wanted and f"{verb} {number}" != "no range" and condition in (site.tag, site.modified):
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if wanted and begin >= len(site.content):
            self._reply(416, b"", {"Content-Range": f"bytes */{len(site.content)}"})
            return
        body = site.content[begin:]
        headers = {"ETag": site.tag, "Last-Modified": site.modified}
        if begin:
            told = 0 if f"{verb} {number}" == "wrong range" else begin
            headers["Content-Range"] = f"bytes {told}-{len(site.content) - 1}/{len(site.content)}"
        self._reply(206 if begin else 200, body, headers, int(number) if verb == "cut" else None)

    def _reply(
        self, status: int, body: bytes, headers: dict[str, str | None] | dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if self.site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    handler = type("OneSite", (Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}/bike.zip"
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def told(site: Site, cache: Path, sha256: str = SHA256) -> UciBikeSharing:
    return UciBikeSharing(url=site.url, sha256=sha256, cache=cache)


def fetch(site: Site, cache: Path, sha256: str = SHA256, waits: tuple[float, ...] = NO_WAIT) -> Path:
    return uci_bike_sharing.fetch(told(site, cache, sha256), progress=None, waits_seconds=waits)


def refused(site: Site, cache: Path, kind: type[BentocastError] = SourceError) -> str:
    with pytest.raises(kind) as caught:
        fetch(site, cache)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    return caught.value.message


# What is fetched


def test_fetch_gives_the_member_with_lf_line_ends_and_keeps_nothing_else(tmp_path: Path) -> None:
    with serving(Site(zipped())) as site:
        path = fetch(site, tmp_path / "cache")
    assert path.read_bytes() == HOUR
    assert path.name == f"bike-sharing-hour-{SHA256[:12]}.csv"
    assert list(path.parent.iterdir()) == [path]


def test_fetch_asks_no_server_when_the_file_is_there(tmp_path: Path) -> None:
    with serving(Site(zipped())) as site:
        assert fetch(site, tmp_path) == fetch(site, tmp_path)
    assert len(site.asked) == 1


def test_fetch_replaces_a_damaged_file(tmp_path: Path) -> None:
    with serving(Site(zipped())) as site:
        fetch(site, tmp_path).write_bytes(HOUR[:100])
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert len(site.asked) == 2


def test_read_fetches_and_parses(tmp_path: Path) -> None:
    with serving(Site(zipped())) as site:
        frame = uci_bike_sharing.read(told(site, tmp_path))
    assert len(frame) == len(ROWS)


def test_sources_read_gives_the_declared_columns_or_says_what_is_missing(tmp_path: Path) -> None:
    with serving(Site(zipped())) as site:
        ingest = Ingest(
            source="uci-bike-sharing", path="data/sources/uci_bike_sharing.py", uci_bike_sharing=told(site, tmp_path)
        )
        series = Series(timestamp="timestamp", target="cnt", frequency="1h")
        assert {"timestamp", "cnt"} <= set(sources.read(series, ingest).columns)
        with pytest.raises(DataError) as caught:
            sources.read(Series(timestamp="timestamp", target="registered", frequency="1h"), ingest)
    assert caught.value.message == (
        "source 'uci-bike-sharing': found no column 'registered' (series.target), got 'timestamp', 'cnt', 'holiday', "
        "'workingday', 'weathersit', 'temp', 'atemp', 'hum', 'windspeed': write the table's own column names into "
        "params.yaml, section series"
    )


# Continuing


def test_fetch_continues_where_the_connection_was_cut(tmp_path: Path) -> None:
    with serving(Site(zipped(), "cut 100", "cut 50")) as site:
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked == [(None, None), ("bytes=100-", '"v1"'), ("bytes=150-", '"v1"')]


def test_fetch_continues_what_an_earlier_run_began(tmp_path: Path) -> None:
    with serving(Site(zipped(), "cut 100", "status 503", "status 503")) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: gave up after 3 attempts, at the last one the server answered 503 Service Unavailable: check "
            "the network and the address, then run again; 100 bytes are kept and will be continued"
        )
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked[-1] == ("bytes=100-", '"v1"')


def test_fetch_continues_by_date_where_the_tag_is_weak(tmp_path: Path) -> None:
    site = Site(zipped(), "cut 100")
    site.tag, site.modified = 'W/"v1"', "Sat, 01 Jan 2011 00:00:00 GMT"
    with serving(site):
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked[1] == ("bytes=100-", "Sat, 01 Jan 2011 00:00:00 GMT")


def test_fetch_starts_anew_without_a_validator(tmp_path: Path) -> None:
    site = Site(zipped(), "cut 100")
    site.tag = None
    with serving(site):
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked == [(None, None), (None, None)]


def test_fetch_starts_anew_when_the_server_ignores_ranges(tmp_path: Path) -> None:
    with serving(Site(zipped(), "cut 100", "no range")) as site:
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert len(site.asked) == 2


def test_fetch_starts_anew_when_the_resource_changed(tmp_path: Path) -> None:
    with serving(Site(b"\0" * 5000, "cut 100", "status 503", "status 503")) as site:
        refused(site, tmp_path)
        site.content, site.tag = zipped(), '"v2"'
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked[-1] == ("bytes=100-", '"v1"')


def test_fetch_starts_anew_when_the_server_continues_elsewhere(tmp_path: Path) -> None:
    with serving(Site(zipped(), "cut 100", "wrong range")) as site:
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert site.asked[2] == (None, None)


def test_fetch_starts_anew_when_there_is_more_than_the_resource_holds(tmp_path: Path) -> None:
    with serving(Site(b"\0" * 5000, "cut 4000", "status 503", "status 503")) as site:
        refused(site, tmp_path)
        site.content = zipped()
        assert fetch(site, tmp_path).read_bytes() == HOUR
    assert [wanted for wanted, _ in site.asked[-2:]] == ["bytes=4000-", None]


def test_download_that_is_complete_already_is_left_as_it_is(tmp_path: Path) -> None:
    with serving(Site(b"abc")) as site:
        job = Download(site.url, tmp_path / "part", 10, ())
        for _ in range(2):
            download.run(job, ignore)
            assert job.part.read_bytes() == b"abc"
    assert site.asked[1] == ("bytes=3-", '"v1"')


@settings(deadline=None, max_examples=25)
@given(content=st.binary(min_size=1, max_size=5000), data=st.data())
def test_download_cut_anywhere_gives_the_same_bytes(content: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=4))
    seen = []
    with tempfile.TemporaryDirectory() as folder, serving(Site(content, *(f"cut {cut}" for cut in cuts))) as site:
        job = Download(site.url, Path(folder) / "part", len(content), (0.0,) * 4)
        download.run(job, lambda done, total: seen.append((done, total)))
        assert job.part.read_bytes() == content
    assert seen[-1] == (len(content), len(content))


# Retrying and refusing


def test_fetch_retries_when_the_server_is_busy(tmp_path: Path) -> None:
    with serving(Site(zipped(), "status 503", "status 429")) as site:
        assert fetch(site, tmp_path).read_bytes() == HOUR


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden")])
def test_fetch_does_not_retry_what_is_refused(tmp_path: Path, status: int, reason: str) -> None:
    with serving(Site(zipped(), f"status {status}")) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: the server answered {status} {reason}, wanted 200: check the address"
        )
    assert len(site.asked) == 1


def test_fetch_from_a_host_that_cannot_be_reached_hides_the_password(tmp_path: Path) -> None:
    with serving(Site(b"")) as site:
        host = site.url.removeprefix("http://")
    site.url = f"http://me:hunter2@{host}?token=hunter2"
    assert refused(site, tmp_path) == (
        f"http://***@{host}?***: gave up after 3 attempts, at the last one the connection failed or was cut: check the "
        "network and the address, then run again; 0 bytes are kept and will be continued"
    )


def test_fetch_that_is_cut_each_time_says_how_far_it_came(tmp_path: Path) -> None:
    with serving(Site(zipped(), "cut 10", "cut 10", "cut 10")) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: gave up after 3 attempts, at the last one the connection failed or was cut: check the network "
            "and the address, then run again; 30 bytes are kept and will be continued"
        )


def test_fetch_from_a_circle_of_redirects(tmp_path: Path) -> None:
    class Circle(Handler):
        def do_GET(self) -> None:
            self._reply(302, b"", {"Location": "/bike.zip"})

    site = Site(b"")
    Circle.site = site
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Circle) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}/bike.zip"
        assert refused(site, tmp_path) == f"{site.url}: the server redirects in a circle: check the address"
        server.shutdown()


@pytest.mark.parametrize("url", ["/data/bike.zip", "file:///bike.zip", "s3://me:hunter2@bucket/bike.zip"])
def test_fetch_wants_a_web_address(tmp_path: Path, url: str) -> None:
    site = Site(b"")
    site.url = url
    assert refused(site, tmp_path, ConfigError) == (
        f"ingest.uci_bike_sharing.url: got {url.replace('me:hunter2', '***')!r}, wanted an http:// or https:// address; "
        "for a file on this machine use 'source: csv'"
    )


def test_fetch_from_an_address_without_host(tmp_path: Path) -> None:
    site = Site(b"")
    site.url = "http://"
    assert refused(site, tmp_path) == "http://: this is no http or https address, wanted https://host/path"


def test_fetch_refuses_another_hash_and_starts_anew_next_time(tmp_path: Path) -> None:
    other = HOUR.replace(b"2011", b"2012")
    with serving(Site(zipped(other))) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: hour.csv has sha256 {hashlib.sha256(other).hexdigest()}, wanted {SHA256}: it was damaged on "
            "its way and is removed, so run again; if the data was renewed on purpose, change "
            "ingest.uci_bike_sharing.sha256"
        )
        assert list(tmp_path.iterdir()) == []
        site.content = zipped()
        assert fetch(site, tmp_path).read_bytes() == HOUR


@pytest.mark.parametrize("content", [b"<html>log in first</html>", b"", zipped()[:-30]])
def test_fetch_refuses_what_is_no_zip(tmp_path: Path, content: bytes) -> None:
    with serving(Site(content)) as site:
        message = refused(site, tmp_path)
    assert message == (
        f"{site.url}: got no usable zip archive (File is not a zip file): check ingest.uci_bike_sharing.url, then run "
        "again"
    )
    assert list(tmp_path.iterdir()) == []


def test_fetch_refuses_a_damaged_member(tmp_path: Path) -> None:
    content = bytearray(zipped())
    place = content.index(b"hour.csv") + 60
    content[place : place + 20] = bytes(20)
    with serving(Site(bytes(content))) as site:
        message = refused(site, tmp_path)
    assert message.startswith(f"{site.url}: got no usable zip archive (")


def test_fetch_refuses_an_archive_without_the_member(tmp_path: Path) -> None:
    with serving(Site(zipped(name="day.csv"))) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: the archive holds no hour.csv: check ingest.uci_bike_sharing.url"
        )


def test_fetch_refuses_a_zip_bomb(tmp_path: Path) -> None:
    size = uci_bike_sharing.MEMBER_LIMIT_BYTES + 1
    with serving(Site(zipped(bytes(size)))) as site:
        assert refused(site, tmp_path) == (
            f"{site.url}: hour.csv unpacks to {size} bytes, wanted at most {size - 1}: it is not the expected file"
        )


@pytest.mark.parametrize("length", [True, False])
def test_download_refuses_too_much(tmp_path: Path, length: bool) -> None:  # noqa: FBT001
    site = Site(b"x" * 100)
    site.length = length
    with serving(site), pytest.raises(SourceError) as caught:
        download.run(Download(site.url, tmp_path / "part", 99, NO_WAIT), ignore)
    assert caught.value.message == (
        f"{site.url}: got 100 bytes or more, wanted at most 99: it is not the expected file"
    )
    assert list(tmp_path.iterdir()) == []


def test_fetch_into_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with serving(Site(zipped())) as site:
        message = refused(site, tmp_path / "cache")
    assert message.startswith(f"{tmp_path}/cache/bike-sharing-")
    assert message.endswith(".zip.part: cannot be written (File exists): free some space or check the folder's rights")


# What is parsed


def test_parse_gives_timestamps_and_never_the_parts_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "hour.csv").write_bytes(HOUR)
    frame = uci_bike_sharing.parse(tmp_path / "hour.csv")
    assert list(frame.columns) == ["timestamp", *uci_bike_sharing.COLUMNS]
    assert not {"casual", "registered", "instant"} & set(frame.columns)
    assert frame["timestamp"].tolist() == list(pd.date_range("2011-01-01T01:00", periods=len(ROWS), freq="h"))
    assert frame["cnt"].tolist() == [3 + row for row in range(1, 60)]


def test_parse_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "hour.csv"
    path.write_text("dteday,hr,cnt\n2011-01-01,0,1\n")
    with pytest.raises(DataError) as caught:
        uci_bike_sharing.parse(path)
    assert caught.value.message.startswith(f"{path}: not the UCI file hour.csv (")
    assert caught.value.message.endswith(
        "), wanted the columns dteday, hr, cnt, holiday, workingday, weathersit, temp, atemp, hum, windspeed"
    )


@pytest.mark.parametrize(
    ("old", "new"), [(b"2011-01-02", b"2 Jan 2011"), (b"2011-01-02,1,0,1,3", b"2011-01-02,1,0,1,x")]
)
def test_parse_of_wrong_times(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "hour.csv"
    path.write_bytes(HOUR.replace(old, new))
    with pytest.raises(DataError, match="not the UCI file"):
        uci_bike_sharing.parse(path)


def test_parse_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        uci_bike_sharing.parse(tmp_path / "hour.csv")
    assert caught.value.message == (
        f"{tmp_path}/hour.csv: cannot be read (No such file or directory): check the path and its rights"
    )


@pytest.mark.skipif(not REAL.exists(), reason="the UCI file is not on this machine")
def test_real_file_goes_all_the_way(tmp_path: Path) -> None:
    with serving(Site(zipped(REAL.read_bytes().replace(b"\n", b"\r\n")), "cut 100000")) as site:
        frame = uci_bike_sharing.read(UciBikeSharing(url=site.url, cache=tmp_path))
    assert len(frame) == 17_379
    assert frame["cnt"].sum() == 3_292_679
    assert frame["timestamp"].is_monotonic_increasing
    assert frame["timestamp"].iloc[[0, -1]].tolist() == [pd.Timestamp("2011-01-01"), pd.Timestamp("2012-12-31T23:00")]
    assert not frame.isna().any().any()


# How far it is


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def reported(stream: io.StringIO, times: list[float], total: int | None = 4_000_000) -> str:
    clock = iter([0.0, *times])
    now = [0.0]

    def tick() -> float:
        return now[0]

    with Meter("bikes", stream, tick) as meter:
        for step, now[0] in enumerate(clock):
            meter.report(step * 1_000_000, total)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_meter_is_silent_for_two_seconds(stream: io.StringIO) -> None:
    assert reported(stream, [0.5, 1.9]) == ""


def test_meter_writes_a_line_every_five_seconds() -> None:
    assert reported(io.StringIO(), [1.0, 2.5, 6.0, 7.5]) == "bikes: 2.0 of 4.0 MB\nbikes: 4.0 of 4.0 MB\n"
    assert reported(io.StringIO(), [3.0], None) == "bikes: 1.0 MB\n"


def test_meter_draws_a_bar_on_a_terminal() -> None:
    drawn = reported(Terminal(), [1.0, 2.5, 3.0])
    assert "bikes: " in drawn
    assert "3.00M/4.00M" in drawn


def test_meter_without_a_stream_is_silent() -> None:
    with Meter("bikes", None, lambda: 0.0) as meter:
        meter.report(1, 2)
