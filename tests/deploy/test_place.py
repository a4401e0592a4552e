"""Locks of a deployment: held by one, and looked at by others meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.faults import BusyError
from deploy.place import Place

HOLD = """
import pathlib, sys, time
from deploy.place import Place
with Place(pathlib.Path(sys.argv[1])).held("one", ""):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_held_by_one_and_goes_with_its_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert place.is_held("one")
        with pytest.raises(BusyError, match="somebody else"), place.held("one", "somebody else", 0.0):
            pass
        other.kill()
    assert not place.is_held("one")
    with place.held("one", "somebody else"):
        assert place.is_held("one")


def test_those_who_only_look_are_in_nobodys_way(tmp_path: Path) -> None:
    """A command looks for the lock of the keeper that it has just started, many times a second."""
    place, over = Place(tmp_path), threading.Event()

    def look() -> None:
        while not over.is_set():
            place.is_held("one")
            over.wait(0.001)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(1_000):
            with place.held("one", "somebody else"):
                pass
    finally:
        over.set()
        looking.join()
