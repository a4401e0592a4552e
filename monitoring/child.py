"""A command of a loop: what it prints goes to a log, and one that a killed loop left running is found and ended first."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from data import ending
from data.durations import seconds
from data.sources import address
from monitoring.faults import StopError

#: Variable in the environment of the commands of a loop, by which those of one that was killed are found.
MARK = "MONITORING_STEP"
#: Lines of a command's end that people are shown, of so many bytes.
SHOWN, TAIL_BYTES = 5, 4_000
#: Why a program cannot be started, now or later.
NO_PROGRAM = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC}

Command = tuple[str, ...]


def run(command: Command, mark: str, log: Path, at_most: str | None = None) -> tuple[int, str]:
    """Run a command to its end.

    Args:
        command: the program and its arguments.
        mark: of this loop; what is left of an earlier one with the same is ended first.
        log: file that all its output is added to.
        at_most: the longest that it may take, such as `12h`; None where it has limits of its own.

    Returns:
        Its exit code, and what it printed: to standard output, and if it failed the end of the rest.

    Raises:
        StopError: it cannot be started, or took longer.
        OSError: the log cannot be written.
    """
    end_left(mark)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file, tempfile.TemporaryFile() as output:
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        own = file.tell()
        with _started(command, mark, output, file) as process:
            code = _code(process, command, mark, log, at_most)
        output.seek(0)
        told = output.read().decode(errors="replace")
        failed = _tail(log, own) if code else ""
        file.write(told.encode())
    return code, told + failed


def end_left(mark: str) -> None:
    """End what a loop that was killed left running."""
    left = ending.marked(MARK, mark)
    ending.end(left)
    ending.reaped(left)


def shown(command: Command) -> str:
    """A program, or a module of Python, as people may see it: not its arguments, which may hold secrets."""
    module = command[1:3] if command[1:2] == ("-m",) else ()
    return " ".join([Path(command[0]).name, *module])


def end(told: str) -> str:
    """The last words of a command of ours, in one line."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return address.mask(" | ".join(lines[-SHOWN:]))


def of_stage(code: int, told: str) -> int:
    """The exit code of a stage that failed, where DVC says so, else the command's own."""
    said = re.findall(r"exited with (\d+)", told)
    return int(said[-1]) if said else code


def _started(command: Command, mark: str, output: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
    own = Path(sys.executable).parent
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env={**os.environ, MARK: mark, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"},
            start_new_session=True,
        )
    except OSError as err:
        if err.errno not in NO_PROGRAM:
            raise
        ours = Path(command[0]).parent == own
        fix = f"install it in {own}" if ours else "mend monitoring.loop.fetch in params.yaml"
        raise StopError(f"`{shown(command)}` cannot be run ({err.strerror}): {fix}") from err


def _code(process: subprocess.Popen[bytes], command: Command, mark: str, log: Path, at_most: str | None) -> int:
    try:
        return process.wait(None if at_most is None else seconds(at_most))
    except subprocess.TimeoutExpired as err:
        ending.end(ending.marked(MARK, mark))
        raise StopError(f"`{shown(command)}` took longer than {at_most} (monitoring.loop.at_most): see {log}") from err
    except BaseException:
        process.send_signal(signal.SIGTERM)
        raise


def _tail(log: Path, begin: int) -> str:
    """The end of a log, no further back than a place in it (bytes)."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
