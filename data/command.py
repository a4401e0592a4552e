"""How every command ends: an error a user can mend is one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from data.errors import BentocastError


def run(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Run a command and exit with its code.

    Exit codes: 0 done, 1 a fault of ours (with a traceback), 2 configuration or usage, 3 data, 4 source,
    5 model, 6 registry, 7 gate, 8 a gate that is inconclusive, 9 a load test or a verdict in error, 10 a rollout, a
    retraining or a server that cannot be begun, 74 the disk, 130 interrupted.
    """
    try:
        main(argv)
    except BentocastError as err:
        _end(err.message, err.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except OSError as err:
        if err.errno == errno.EACCES:
            _end(f"no permission for {err.filename or 'a file'}; nothing was changed", 74)
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        _end(
            f"cannot write {err.filename or 'a file'}: {os.strerror(err.errno)}; what was there before is unchanged", 74
        )


def say(text: str) -> None:
    """Tell a person what is going on, a whole line at once; standard output is left to results."""
    print(f"{text}\n", end="", file=sys.stderr, flush=True)


def _end(message: str, code: int) -> None:
    color = sys.stderr.isatty()
    print(("\033[31merror:\033[0m " if color else "error: ") + message, file=sys.stderr)
    sys.exit(code)
