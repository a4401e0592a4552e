"""A copy that is bad on purpose is as bad as was asked for, by every protocol, and goes again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.loadtests.store import Store, ran

#: Seconds of the busy loop: many times what a request takes, so that a busy machine does not hide it.
LOOP = 0.02
#: Serves a Bento beside its slowed copy, asks both in turn, one request at a time, and says how long each took at least.
ASK = """
import json, sys, time
from pathlib import Path
from loadtests.users import Connection
from data.errors import RegistryError
from loadtests import spoiled
from loadtests.gate import bentos
tag, seconds, logs = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
copy = spoiled.make(tag, spoiled.slow(seconds / 2), "slowed")
assert spoiled.make(tag, spoiled.slow(seconds), "slowed") == copy  # in place of the one before
told = {"copy": copy}
with bentos.serving({"as it is": bentos.find(tag), "slowed": bentos.find(copy)}, None, logs) as servers:
    for protocol in ("native", "v2", "binary", "grpc"):
        took = {side: [] for side in servers}
        connections = {side: Connection(f"http://127.0.0.1:{server.port}", protocol) for side, server in servers.items()}
        assert connections["slowed"].wanted.bento == copy
        for number in range(20):
            for side, connection in connections.items():
                begin = time.perf_counter()
                connection.send(connection.messages[number])
                took[side].append(time.perf_counter() - begin)
        for connection in connections.values():
            connection.close()
        told[protocol] = {side: min(seconds) for side, seconds in took.items()}
spoiled.remove(copy)
for one in (tag, copy):
    try:
        told[one] = bentos.find(one).tag
    except RegistryError as err:
        told[one] = err.message
print(json.dumps(told))
"""


def test_a_copy_is_slower_by_the_loop_and_can_be_taken_out_again(store: Store, tmp_path: Path) -> None:
    told = json.loads(ran(store.environment, sys.executable, "-c", ASK, store.tag, str(LOOP), str(tmp_path)))
    copy = told["copy"]
    assert copy == f"{store.tag}-slowed"
    for protocol in ("native", "v2", "binary", "grpc"):
        took = told[protocol]
        assert took["slowed"] - took["as it is"] == pytest.approx(LOOP, abs=0.3 * LOOP), protocol
    assert told[store.tag] == store.tag
    assert told[copy] == f"BentoML's store holds no Bento {copy!r}: see them with `bentoml list`"
    assert not list((store.folder / "home" / "bentos").glob("*/*-slowed"))
