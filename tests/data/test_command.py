"""How commands end: one line on stderr and an exit code for what a user can mend, a traceback for our own faults."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data import command, errors
from data.errors import BentocastError

ROOT = Path(__file__).parents[2]
CODES = {
    errors.ConfigError: 2,
    errors.DataError: 3,
    errors.SourceError: 4,
    errors.ModelError: 5,
    errors.RegistryError: 6,
    errors.GateError: 7,
    errors.RequestError: 1,
    errors.NotFoundError: 6,
    BentocastError: 1,
}


def raising(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and stderr of a command that ends with an error."""

    def main(argv: list[str]) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        command.run(main, [])
    out, err = capsys.readouterr()
    assert out == ""
    assert isinstance(caught.value.code, int)
    return caught.value.code, err


def test_every_error_has_a_code_here() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BentocastError)]
    assert set(kinds) == set(CODES)


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_error_of_a_user_is_one_line_and_its_exit_code(
    kind: type[BentocastError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(kind("what is wrong", param="a.b"), capsys) == (code, "error: what is wrong\n")


def test_error_codes_tell_apart_what_failed() -> None:
    """But for what is not there, which a registry says as well."""
    commands = [kind for kind, code in CODES.items() if code > 1 and kind is not errors.NotFoundError]
    assert len({kind.exit_code for kind in commands}) == len(commands)
    assert len({kind.code for kind in CODES}) == len(CODES)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_disk_that_cannot_be_written_is_74(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, err = raising(OSError(number, "the library's own long words", "out/series.parquet"), capsys)
    assert code == 74
    assert err == (
        f"error: cannot write out/series.parquet: {os.strerror(number)}; what was there before is unchanged\n"
    )


def test_no_permission_is_74(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = raising(PermissionError(errno.EACCES, "denied", "params.yaml"), capsys)
    assert (code, err) == (74, "error: no permission for params.yaml; nothing was changed\n")


def test_disk_without_the_name_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = raising(OSError(errno.ENOSPC, "Error writing bytes to file."), capsys)
    assert err == "error: cannot write a file: No space left on device; what was there before is unchanged\n"


def test_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt(), capsys) == (130, "error: interrupted\n")


@pytest.mark.parametrize("fault", [ValueError("a bug"), OSError(errno.EBADF, "a bug"), AssertionError("a bug")])
def test_fault_of_ours_keeps_its_traceback(fault: Exception) -> None:
    def main(argv: list[str]) -> None:
        raise fault

    with pytest.raises(type(fault), match="a bug"):
        command.run(main, [])


def test_command_gets_its_arguments_and_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    command.run(seen.extend, ["--fast", "x"])
    assert seen == ["--fast", "x"]
    assert capsys.readouterr() == ("", "")


def test_error_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def main(argv: list[str]) -> None:
        raise errors.DataError("what is wrong")

    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(SystemExit):
        command.run(main, [])
    assert isinstance(sys.stderr, Terminal)
    assert sys.stderr.getvalue() == "\033[31merror:\033[0m what is wrong\n"


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "sys.exit(7)"])
@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whoever_stops_reading_gets_no_traceback(unbuffered: str, lines: int, end: str) -> None:
    """As `| head` does; a short output is written at the end only."""
    code = f"""
import sys
from data import command

def main(argv):
    print("\\n".join(["a line"] * {lines}))
    {end}

sys.stdin.readline()
command.run(main, [])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, told = process.communicate("go\n", timeout=30)
    assert (process.returncode, told) == (141, "")


def test_another_pipe_that_broke_is_a_fault_of_ours() -> None:
    def main(_: list[str]) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        command.run(main, [])


def test_what_cannot_be_told_stops_no_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A monitor whose log's disk is full goes on watching."""
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:  # when it is closed
        monkeypatch.setattr(sys, "stderr", full)
        command.say("the disk of the log is full")
        told = True
    assert told
    command.say("the log is closed")
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        command.say("there")
    assert (tmp_path / "log").read_text() == "there\n"
