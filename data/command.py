"""How every command ends: an error a user can mend is one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable

from data.errors import BentocastError


def run(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Run a command and exit with its code.

    Exit codes: 0 done, 1 a fault of ours (with a traceback), 2 configuration or usage, 3 data, 4 source,
    5 model, 6 registry or what is not there, 7 gate, 8 a gate that is inconclusive, 9 a load test or a verdict in error,
    10 a rollout, a retraining or a server that cannot be begun or a Dask cluster that cannot be used, 74 the disk,
    130 interrupted, 141 nobody reads its output any more.
    """
    try:
        _written(main, argv)
    except BentocastError as err:
        _end(err.message, err.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except OSError as err:
        if isinstance(err, BrokenPipeError) and _is_unread():
            sys.exit(141)
        if err.errno == errno.EACCES:
            _end(f"no permission for {err.filename or 'a file'}; nothing was changed", 74)
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        _end(
            f"cannot write {err.filename or 'a file'}: {os.strerror(err.errno)}; what was there before is unchanged", 74
        )


def say(text: str) -> None:
    """Tell a person what is going on, a whole line at once; standard output is left to results.

    Where it cannot be told (a full disk, a reader that has gone), the work goes on.
    """
    with contextlib.suppress(OSError, ValueError):  # the latter of a file that is closed
        print(f"{text}\n", end="", file=sys.stderr, flush=True)


def _written(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Run a command and write all that it printed, while it can still be said that this is not possible."""
    try:
        main(argv)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _is_unread() -> bool:
    """Whether it is our own output that broke, as `| head` does; what is left of it goes nowhere then."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # a test's
        return False
    asked = select.poll()
    asked.register(output, 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in asked.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _end(message: str, code: int) -> None:
    color = sys.stderr.isatty()
    print(("\033[31merror:\033[0m " if color else "error: ") + message, file=sys.stderr)
    sys.exit(code)
