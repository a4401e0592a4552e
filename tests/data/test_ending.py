"""The end of processes: what is ended, what is a zombie, and when nobody finds it any more."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psutil

from data import ending


def test_a_zombie_has_ended_and_is_found_by_its_pid_until_somebody_asks_for_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = psutil.Process(process.pid)
        assert ending.end({found}) == 1
        assert not ending.is_alive(found)
        began = time.monotonic()
        ending.reaped({found}, 0.2)
        assert time.monotonic() - began >= 0.2, "it was waited for"
        asked = threading.Timer(0.2, process.wait)
        asked.start()
        ending.reaped({found})
        assert not psutil.pid_exists(found.pid)
        asked.join()
