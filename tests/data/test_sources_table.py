"""A user's own table: from anywhere, in either format, and every way in which it can be wrong."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import http.server
import io
import os
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import sources
from data.errors import BentocastError, DataError, SourceError
from data.params import Ingest, Series
from data.sources import address, table
from data.sources.columns import Columns

SERIES = Series.model_validate(
    {
        "id": "station",
        "timestamp": "hour",
        "target": "rides",
        "frequency": "1h",
        "covariates": {"future": ["holiday"], "past": ["rain"]},
    }
)
COLUMNS = Columns.of(SERIES)
HEADER = "station,hour,rides,holiday,rain,note"
ROWS = ["007,2024-01-01T00:00,3,0,0.5,x", "NA,2024-01-01T01:00,,1,,y"]
CSV = "\n".join([HEADER, *ROWS, ""])
FRAME = pd.DataFrame(
    {
        "station": ["007", "NA"],
        "hour": ["2024-01-01T00:00", "2024-01-01T01:00"],
        "rides": [3.0, None],
        "holiday": [0.0, 1.0],
        "rain": [0.5, None],
    }
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that messages show relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def csv(path: str, text: str | bytes = CSV) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet(path: str, frame: pd.DataFrame, *, index: bool = False) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=index)
    return path


def refused(kind: type[BentocastError], path: str, form: str = "csv", columns: Columns = COLUMNS) -> BentocastError:
    with pytest.raises(kind) as caught:
        table.read(path, form, columns)  # type: ignore[arg-type]
    return caught.value


def zipped(**members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


# CSV: what is read


def test_csv_reads_the_declared_columns_in_the_declared_order() -> None:
    pd.testing.assert_frame_equal(table.read(csv("rides.csv"), "csv", COLUMNS), FRAME)


def test_csv_keeps_ids_and_timestamps_letter_by_letter() -> None:
    text = f"{HEADER}\n007,20240101,1,0,0,\n1e3,1704067200,2,0,0,\n true ,01/02/2024,3,0,0,\nNaN,,4,0,0,\n"
    frame = table.read(csv("rides.csv", text), "csv", COLUMNS)
    assert frame["station"].tolist() == ["007", "1e3", " true ", "NaN"]
    assert frame["hour"].tolist()[:3] == ["20240101", "1704067200", "01/02/2024"]
    assert frame["hour"].isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize("gap", ["", "NA", "nan", "NULL", "None", " ", "-"])
def test_csv_reads_what_stands_for_a_missing_number(gap: str) -> None:
    frame = table.read(csv("rides.csv", f"{HEADER}\ns,t,{gap},0,0,\ns,u, 4.5 ,0,0,\n"), "csv", COLUMNS)
    assert frame["rides"].isna().tolist() == [True, False]
    assert frame["rides"].tolist()[1] == 4.5


def test_csv_reads_true_and_false_as_one_and_zero() -> None:
    frame = table.read(csv("rides.csv", f"{HEADER}\ns,t,1,True,0,\ns,u,1,false,0,\ns,v,1,,0,\n"), "csv", COLUMNS)
    assert frame["holiday"].tolist()[:2] == [1.0, 0.0]
    assert frame["holiday"].dtype == float


def test_csv_leaves_a_column_that_holds_text_as_it_is() -> None:
    frame = table.read(csv("rides.csv", f"{HEADER}\ns,t,12,0,0,\ns,u,many,0,0,\n"), "csv", COLUMNS)
    assert frame["rides"].tolist() == ["12", "many"]


def test_csv_types_do_not_depend_on_the_first_rows() -> None:
    rows = [f"{number},t,1,0,0," for number in range(200_000)] + ["x7,t,2.5,0,0,"]
    frame = table.read(csv("rides.csv", "\n".join([HEADER, *rows])), "csv", COLUMNS)
    assert frame["station"].iloc[-1] == "x7"
    assert frame["rides"].iloc[-1] == 2.5


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode("utf-8-sig"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.rstrip().encode(),
        ('"station","hour","rides","holiday","rain","note"\n' + "\n".join(ROWS)).encode(),
        CSV.replace("x", '"a, ""b""\nc"').encode(),
        CSV.replace("x", "\xe9").encode("latin-1"),
    ],
    ids=["bom", "crlf", "no-last-newline", "quoted", "newline-in-a-value", "undeclared-latin-1"],
)
def test_csv_tolerates(content: bytes) -> None:
    pd.testing.assert_frame_equal(table.read(csv("rides.csv", content), "csv", COLUMNS), FRAME)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "zip", "GZ"])
def test_csv_is_unpacked_by_its_suffix(suffix: str) -> None:
    packed = {
        "gz": gzip.compress(CSV[:60].encode()) + gzip.compress(CSV[60:].encode()),
        "bz2": bz2.compress(CSV.encode()),
        "zst": pa.Codec("zstd").compress(CSV.encode(), asbytes=True),
        "zip": zipped(**{"inside/rides.csv": CSV, "__MACOSX/rides.csv": "x"}),
    }[suffix.lower()]
    pd.testing.assert_frame_equal(table.read(csv(f"rides.csv.{suffix}", packed), "csv", COLUMNS), FRAME)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), st.floats(allow_nan=False)))
)
def test_csv_gives_back_any_id_and_any_number(rows: list[tuple[str, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["station", "rides"]).assign(hour="t", holiday=0, rain=0)
    frame = pd.concat([frame, frame.head(0)]) if len(frame) else frame
    csv("rides.csv", frame.to_csv(index=False))
    if not rows:
        assert "no rows" in refused(DataError, "rides.csv").message
        return
    got = table.read("rides.csv", "csv", COLUMNS)
    assert got["station"].fillna("").tolist() == [name for name, _ in rows]
    assert got["rides"].tolist() == [number for _, number in rows]


# CSV: what is refused


def test_csv_missing_columns_are_all_named_with_a_guess_and_the_fix() -> None:
    error = refused(DataError, csv("rides.csv", "Station,hour,ride,holiday,wet\n"))
    assert error.message == (
        "rides.csv: found no column 'station' (series.id), 'rides' (series.target), 'rain' (series.covariates.past), got "
        "'Station', 'hour', 'ride', 'holiday', 'wet' (could 'station' be 'Station', 'rides' be 'ride'?): write the "
        "table's own column names into params.yaml, section series"
    )
    assert error.param == "series.id"


def test_csv_missing_column_in_a_wide_table_lists_the_first_ones() -> None:
    header = ",".join(f"c{number}" for number in range(31))
    assert "'c18', 'c19' and 11 more: write" in refused(DataError, csv("rides.csv", header + "\n")).message


def test_csv_column_that_occurs_twice() -> None:
    error = refused(DataError, csv("rides.csv", f"{HEADER},rides\n"))
    assert error.message == (
        "rides.csv: column 'rides' (series.target) occurs 2 times, wanted it once: rename or remove the others"
    )
    assert error.param == "series.target"


@pytest.mark.parametrize(("row", "got"), [("s,t,1,0", 4), ("s,t,1,0,0,x,y", 7)])
def test_csv_ragged_row_is_named(row: str, got: int) -> None:
    assert refused(DataError, csv("rides.csv", CSV + row + "\n")).message == (
        f"rides.csv, row 4 (the header is row 1): got {got} fields, wanted 6 as in the header: {row!r}"
    )


def test_csv_ragged_row_far_down_is_named() -> None:
    text = HEADER + "\n" + "s,2024-01-01,1,0,0,\n" * 200_000 + "s,t" + "\n"
    assert refused(DataError, csv("rides.csv", text)).message.startswith("rides.csv, row 200002 (the header is row 1)")


def test_csv_other_encoding_names_row_and_column() -> None:
    text = CSV + "M\xfcnchen,t,1,0,0,\n"
    assert refused(DataError, csv("rides.csv", text.encode("latin-1"))).message == (
        "rides.csv, row 4 (the header is row 1), column 'station': the text is not UTF-8 (Latin-1 or Windows-1252 "
        "perhaps): save the file as UTF-8"
    )


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n"])
def test_csv_empty_file(content: str) -> None:
    assert refused(DataError, csv("rides.csv", content)).message == (
        "rides.csv: the file is empty, wanted a header and rows"
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
def test_csv_header_without_rows(end: str) -> None:
    assert refused(DataError, csv("rides.csv", HEADER + end)).message == (
        "rides.csv: there are column names but no rows, wanted at least one row"
    )


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_csv_other_separator(separator: str, name: str) -> None:
    text = CSV.replace(",", separator)
    assert refused(DataError, csv("rides.csv", text)).message == (
        f"rides.csv: the header {HEADER.replace(',', separator)!r} is separated by {name}, wanted commas: save it with "
        "commas"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1....", "a Parquet file: set ingest.source to parquet"),
        (gzip.compress(b"x", mtime=0), "compressed by gzip: let its name end in .gz"),
        (CSV.encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (
            zipped(a="x"),
            "a zip archive or a spreadsheet: let a zip's name end in .zip, save a spreadsheet as CSV",
        ),
    ],
)
def test_csv_that_is_something_else(content: bytes, what: str) -> None:
    assert refused(DataError, csv("rides.csv", content)).message == f"rides.csv: wanted CSV, got {what}"


def test_csv_binary_rubbish_is_no_header() -> None:
    message = refused(DataError, csv("rides.csv", b"x" * 200_000)).message
    assert message == (
        "rides.csv: the first lines are no CSV (field larger than field limit (131072)), wanted column names and rows"
    )


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_csv_cut_off_archive(suffix: str) -> None:
    packed: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": lambda b: pa.Codec("zstd").compress(b, asbytes=True),
    }
    content = packed[suffix](CSV.encode() + os.urandom(500).hex().encode())
    message = refused(DataError, csv(f"rides.csv.{suffix}", content[: len(content) // 2])).message
    assert message.startswith(f"rides.csv.{suffix}: the compressed file is damaged or cut off (")
    assert message.endswith("): copy or make it anew")


def test_csv_zip_that_is_none() -> None:
    assert refused(DataError, csv("rides.csv.zip", b"PK?")).message == (
        "rides.csv.zip: the archive is damaged or encrypted (File is not a zip file): make it anew, without a password"
    )


def test_csv_zip_of_several_files() -> None:
    assert refused(DataError, csv("rides.csv.zip", zipped(a="1", b="2"))).message == (
        "rides.csv.zip: the archive holds 2 files, wanted one CSV file: unpack it and name the folder"
    )


# Parquet


def test_parquet_reads_only_the_declared_columns() -> None:
    frame = FRAME.assign(hour=pd.to_datetime(FRAME["hour"]), note="x")
    got = table.read(parquet("rides.parquet", frame), "parquet", COLUMNS)
    pd.testing.assert_frame_equal(got, frame.drop(columns="note"))


def test_parquet_gives_an_index_back_as_a_column() -> None:
    path = parquet("rides.parquet", FRAME.set_index("hour"), index=True)
    assert list(table.read(path, "parquet", COLUMNS).columns) == list(COLUMNS.declared)


def test_parquet_spells_out_categories_and_makes_flags_and_decimals_numbers() -> None:
    frame = FRAME.assign(
        station=FRAME["station"].astype("category"),
        holiday=[True, False],
        rain=pd.Series([Decimal("1.5"), Decimal("0.5")], dtype=object),
    )
    got = table.read(parquet("rides.parquet", frame), "parquet", COLUMNS)
    assert got["station"].tolist() == ["007", "NA"]
    assert got["holiday"].tolist() == [1.0, 0.0]
    assert got["rain"].tolist() == [1.5, 0.5]


def test_parquet_missing_column() -> None:
    error = refused(DataError, parquet("rides.parquet", FRAME.rename(columns={"rides": "rids"})), "parquet")
    assert error.message == (
        "rides.parquet: found no column 'rides' (series.target), got 'station', 'hour', 'rids', 'holiday', 'rain' (could "
        "'rides' be 'rids'?): write the table's own column names into params.yaml, section series"
    )


@pytest.mark.parametrize("content", [b"", b"station,hour\n", b"PAR1" + b"\0" * 50])
def test_parquet_that_is_none(content: bytes) -> None:
    message = refused(DataError, csv("rides.parquet", content), "parquet").message
    assert message.startswith("rides.parquet: not a Parquet file, or damaged or cut off (")
    assert message.endswith("): copy or make it anew, or set ingest.source to csv if it is text")


def test_parquet_without_rows() -> None:
    assert refused(DataError, parquet("rides.parquet", FRAME.head(0)), "parquet").message == (
        "rides.parquet: there are column names but no rows, wanted at least one row"
    )


# Folders and patterns


def test_folder_is_read_in_the_order_of_names() -> None:
    csv("rides/2024-02.csv", f"{HEADER}\nb,t,2.5,0,0,\n")
    csv("rides/2024-01.csv.gz", gzip.compress(f"rides,{HEADER.replace('rides', 'extra')}\n1,a,t,9,0,0,\n".encode()))
    csv("rides/2024-03.csv", f"{HEADER}\n")
    csv("rides/notes.txt", "x")
    csv("rides/.hidden.csv", "x")
    csv("rides/deeper/2024-04.csv", "x")
    for path in ("rides", "rides/", "rides/2024-*"):
        frame = table.read(path, "csv", COLUMNS)
        assert frame["station"].tolist() == ["a", "b"]
        assert frame["rides"].tolist() == [1.0, 2.5]
        assert frame.index.tolist() == [0, 1]


def test_folder_of_parquet_widens_numbers() -> None:
    parquet("rides/a.parquet", FRAME.assign(rides=[1, 2]))
    parquet("rides/b.parquet", FRAME.assign(rides=[1.5, 2.5]))
    assert table.read("rides", "parquet", COLUMNS)["rides"].tolist() == [1.0, 2.0, 1.5, 2.5]


def test_folder_with_a_file_that_lacks_a_column_names_the_file() -> None:
    csv("rides/a.csv")
    csv("rides/b.csv", CSV.replace("rides", "count"))
    message = refused(DataError, "rides").message
    assert message.startswith("rides/b.csv: found no column 'rides' (series.target), got 'station', 'hour', 'count',")


def test_folder_with_a_file_of_another_type_names_both() -> None:
    csv("rides/a.csv")
    csv("rides/b.csv", f"{HEADER}\ns,t,many,0,0,\n")
    assert refused(DataError, "rides").message == (
        "rides/b.csv: column 'rides' is string, wanted double as in rides/a.csv: write the column the same way in all "
        "files"
    )


def test_folder_with_an_empty_file_names_it() -> None:
    csv("rides/a.csv")
    csv("rides/b.csv", "")
    assert refused(DataError, "rides").message == "rides/b.csv: the file is empty, wanted a header and rows"


def test_folder_without_such_files() -> None:
    csv("rides/a.parquet")
    assert refused(SourceError, "rides").message == (
        "ingest.path: folder 'rides' has no file that ends in .csv or .csv.gz or .csv.bz2 or .csv.zst or .csv.zip, got "
        "'a.parquet': name a file, or set ingest.source to what the folder holds"
    )
    Path("empty").mkdir()
    assert refused(SourceError, "empty", "parquet").message == (
        "ingest.path: folder 'empty' has no file that ends in .parquet, got no files: name a file, or set ingest.source "
        "to what the folder holds"
    )


def test_pattern_without_match() -> None:
    assert refused(SourceError, "rides/*.csv").message == (
        "ingest.path: no file matches 'rides/*.csv', wanted at least one"
    )


def test_name_with_brackets_is_a_name_if_it_exists() -> None:
    assert len(table.read(csv("rides[1].csv"), "csv", COLUMNS)) == 2


# Paths that lead nowhere


def test_missing_file_with_a_near_name() -> None:
    csv("in/rides.csv")
    error = refused(SourceError, "in/ride.csv")
    assert error.message == "ingest.path: 'in/ride.csv' was not found, did you mean 'in/rides.csv'?"
    assert error.param == "ingest.path"


def test_missing_file_without_a_near_name() -> None:
    assert refused(SourceError, "rides.csv").message == (
        "ingest.path: 'rides.csv' was not found in that folder: check its spelling"
    )


def test_missing_folder() -> None:
    assert refused(SourceError, "in/rides.csv").message == (
        "ingest.path: 'in/rides.csv' was not found: there is no folder 'in'"
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission() -> None:
    Path(csv("rides.csv")).chmod(0)
    assert refused(SourceError, "rides.csv").message == (
        "ingest.path: 'rides.csv' must not be read (permission denied): check the file's rights, or the credentials"
    )


FAULTS = {
    "denied": PermissionError("Access Denied"),
    "gone": FileNotFoundError("gone"),
    "slow": TimeoutError(),
    "odd": RuntimeError("no luck with failing://me:hunter2@host/odd?sig=hunter2\nsecond line"),
    "silent": RuntimeError(),
}


class Failing(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A remote system of which every file fails with the fault that its name calls for."""

    protocol = "failing"
    cachable = False

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "type": "file", "size": 1}

    def cat_file(self, path: str, **_: object) -> bytes:
        raise FAULTS[path.rsplit("/", 1)[-1]]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("denied", "must not be read (permission denied): check the file's rights, or the credentials"),
        ("gone", "was not found, wanted a file, a folder, a pattern or an address that exists"),
        (
            "slow",
            "did not answer within 10 s (connecting) or 30 s (reading): check the host, the network and its proxy",
        ),
        ("odd", "cannot be read: RuntimeError: no luck with failing://***@host/odd?***"),
        ("silent", "cannot be read: RuntimeError: no reason given"),
    ],
)
def test_remote_faults_are_told_without_secrets(name: str, wanted: str) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    error = refused(SourceError, f"failing://me:hunter2@host/{name}")
    assert error.message == f"ingest.path: 'failing://***@host/{name}' {wanted}"
    assert "hunter2" not in "".join(traceback.format_exception(error)).replace("failing://me:hunter2@host/{name}", "")


def test_unknown_protocol() -> None:
    assert refused(SourceError, "s4://me:hunter2@bucket/rides.csv").message == (
        "ingest.path: 's4://***@bucket/rides.csv' has the unknown protocol 's4', wanted a path or one that fsspec knows, "
        "such as s3://, gs://, abfs:// or https://"
    )


@pytest.mark.skipif("s3" in fsspec.registry, reason="fsspec has already loaded s3fs")
def test_s3_without_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refused(SourceError, "s3://bucket/rides.csv").message == (
        "ingest.path: 's3://bucket/rides.csv' needs a plugin for s3:// that is not installed: install bentocast's extra "
        "s3: pip install '.[s3]'"
    )


def test_other_protocol_without_its_plugin() -> None:
    fsspec.register_implementation("lacking", "no_such_module.System", errtxt="Install no-such-module", clobber=True)
    assert refused(SourceError, "lacking://bucket/rides.csv").message == (
        "ingest.path: 'lacking://bucket/rides.csv' needs a plugin for lacking:// that is not installed: Install "
        "no-such-module"
    )


# Other places


def test_address_of_a_file_of_a_folder_and_of_a_pattern(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/bucket/rides/a.csv": CSV.encode(), "/bucket/rides/b.csv": CSV.encode()})
    for path, rows in (("rides/a.csv", 2), ("rides", 4), ("rides/*.csv", 4)):
        assert len(table.read(f"memory://bucket/{path}", "csv", COLUMNS)) == rows


def test_address_of_parquet(memory: fsspec.AbstractFileSystem) -> None:
    with memory.open("/bucket/rides.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pandas(FRAME), file)
    pd.testing.assert_frame_equal(table.read("memory://bucket/rides.parquet", "parquet", COLUMNS), FRAME)


def test_address_in_a_folder_is_named_in_full(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/bucket/rides/a.csv": b""})
    assert refused(DataError, "memory://bucket/rides").message == (
        "memory:///bucket/rides/a.csv: the file is empty, wanted a header and rows"
    )


def test_address_that_does_not_exist(memory: fsspec.AbstractFileSystem) -> None:
    assert refused(SourceError, "memory://bucket/rides.csv").message == (
        "ingest.path: 'memory://bucket/rides.csv' was not found: check the bucket, the path and its spelling"
    )


@contextlib.contextmanager
def web(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """Serve fixed answers by path (without the query) on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path.split("?")[0]]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_web_address_with_a_query_and_a_suffix() -> None:
    with web({"/rides.csv.gz": (200, gzip.compress(CSV.encode()))}) as host:
        frame = table.read(f"http://{host}/rides.csv.gz?sig=a*b[c]", "csv", COLUMNS)
    pd.testing.assert_frame_equal(frame, FRAME)


def test_web_address_of_parquet_from_a_server_without_ranges() -> None:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(FRAME), content)
    with web({"/rides.parquet": (200, content.getvalue())}) as host:
        pd.testing.assert_frame_equal(table.read(f"http://{host}/rides.parquet", "parquet", COLUMNS), FRAME)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (404, "was not found, wanted a file, a folder, a pattern or an address that exists"),
        (403, "cannot be read: ClientResponseError: 403, message='Forbidden', url='http://HOST/rides.csv?***"),
    ],
)
def test_web_address_that_is_refused(status: int, wanted: str) -> None:
    with web({"/rides.csv": (status, b"no")}) as host, pytest.raises(SourceError) as caught:
        table.read(f"http://me:hunter2@{host}/rides.csv?sig=hunter2", "csv", COLUMNS)
    assert caught.value.message.startswith(
        f"ingest.path: 'http://***@{host}/rides.csv?***' {wanted.replace('HOST', host)}"
    )
    assert caught.value.__suppress_context__


def test_web_host_that_cannot_be_reached() -> None:
    with web({}) as host:
        pass
    message = refused(SourceError, f"http://{host}/rides.csv").message
    assert message.startswith(
        f"ingest.path: 'http://{host}/rides.csv' cannot be read: ClientConnectorError: Cannot connect"
    )


def test_s3_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "ENDPOINT_URL": f"http://{host}:{port}",
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        system.pipe("bucket/rides/a.csv", CSV.encode())
        pd.testing.assert_frame_equal(table.read("s3://bucket/rides", "csv", COLUMNS), FRAME)
        assert refused(SourceError, "s3://bucket/none.csv").message == (
            "ingest.path: 's3://bucket/none.csv' was not found: check the bucket, the path and its spelling"
        )
    finally:
        server.stop()


# Masks


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://me:pa@ss@host/a.csv?sig=x&y", "https://***@host/a.csv?***"),
        ("url='http://host/a?sig=x', next", "url='http://host/a?***', next"),
        ("simplecache::s3://key:secret@bucket/a", "simplecache::s3://***@bucket/a"),
        ("rides/2024-??.csv", "rides/2024-??.csv"),
        ("s3://bucket/a.csv", "s3://bucket/a.csv"),
    ],
)
def test_mask_hides_user_password_and_query(text: str, wanted: str) -> None:
    assert address.mask(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("in/rides.csv", None),
        ("S3://b/a", "s3"),
        ("simplecache::s3://b/a", "s3"),
        ("zip://a.csv::https://h/z", "https"),
    ],
)
def test_scheme_of_an_address(text: str, wanted: str | None) -> None:
    assert address.scheme(text) == wanted


# The one way in


def ingest(source: str, path: str, **others: object) -> Ingest:
    return Ingest.model_validate({"source": source, "path": path, **others})


def test_read_dispatches_on_the_source() -> None:
    pd.testing.assert_frame_equal(sources.read(SERIES, ingest("csv", csv("rides.csv"))), FRAME)
    path = parquet("rides.parquet", FRAME)
    pd.testing.assert_frame_equal(sources.read(SERIES, ingest("parquet", path)), FRAME)


def test_read_gives_the_sample() -> None:
    asked = ingest("sample", "data/sources/sample.py", sample={"stations": 1, "end": "2023-01-02"})
    assert set(COLUMNS.declared) <= set(sources.read(SERIES, asked).columns)


def test_read_of_the_sample_with_other_columns() -> None:
    series = Series(id="stop", timestamp="hour", target="rides", frequency="1h")
    with pytest.raises(DataError) as caught:
        sources.read(series, ingest("sample", "data/sources/sample.py", sample={"stations": 1, "end": "2023-01-02"}))
    assert caught.value.message == (
        "source 'sample': found no column 'stop' (series.id), got 'station', 'hour', 'rides', 'temperature', 'rain', "
        "'wind', 'holiday', 'workingday': write the table's own column names into params.yaml, section series"
    )


def test_read_of_a_single_series_needs_no_id() -> None:
    series = Series(timestamp="hour", target="rides", frequency="1h")
    assert list(sources.read(series, ingest("csv", csv("rides.csv"))).columns) == ["hour", "rides"]
