from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loadtests.asks import AnswerError
from loadtests.protocols import HTTP
from tests.service.live import Server

ROOT = Path(__file__).parents[2]
#: Sends a whole deck by a protocol, as users do, and writes the numbers that came back.
SEND = """
import sys
from loadtests.users import Connection
import numpy as np
host, protocol, target = sys.argv[1:]
connection = Connection(host, protocol, seed=3)
answers = [connection.send(message) for message in connection.messages]
np.savez(target, *answers)
connection.close()
"""
#: Opens and closes connections, and says how many sockets to the service are left, and what else has grown.
CLOSE = """
import sys
import gevent, psutil
from loadtests.arrivals import Source
host, protocol = sys.argv[1:]
ports = {int(host.rpartition(":")[2]) + step for step in range(2)}
def sockets():
    return sum(bool(one.raddr) and one.raddr.port in ports for one in psutil.Process().net_connections("tcp"))
known = None
for seed in range(3):
    source = Source(host, protocol, seed)
    source.connection.send(source.connection.messages[0])
    assert sockets(), "it has connections while it is open"
    source.close()
    with gevent.Timeout(30):
        while sockets():  # gRPC closes its own on a thread of its own
            gevent.sleep(0.01)
    known = known or gevent.get_hub().NOT_ERROR
    assert gevent.get_hub().NOT_ERROR == known
print("closed")
"""


def _sent(service: Server, protocol: str, folder: Path) -> list[np.ndarray]:
    file = folder / f"{protocol}.npz"
    asked = [sys.executable, "-c", SEND, service.url, protocol, str(file)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(file) as found:
        return [found[name] for name in found.files]


@pytest.fixture(scope="module")
def native(service: Server, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    return _sent(service, "native", tmp_path_factory.mktemp("native"))


@pytest.mark.parametrize("protocol", ["v2", "binary", "grpc"])
def test_the_same_asks_give_the_same_numbers_by_each_protocol(
    service: Server, native: list[np.ndarray], protocol: str, tmp_path: Path
) -> None:
    other = _sent(service, protocol, tmp_path)
    assert len(other) == len(native) == 50
    for got, wanted in zip(other, native, strict=True):
        assert np.array_equal(got, wanted)
    assert len({answer.tobytes() for answer in native}) == 50, "each ask is another"


@pytest.mark.parametrize("protocol", ["native", "grpc"])
def test_connections_are_closed(service: Server, protocol: str) -> None:
    asked = [sys.executable, "-c", CLOSE, service.url, protocol]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


@pytest.mark.parametrize("protocol", list(HTTP))
def test_an_answer_that_is_none(protocol: str) -> None:
    with pytest.raises(AnswerError, match=r"got an answer that cannot be read \(.*\): b'<html>'"):
        HTTP[protocol].decode(b"<html>", {"inference-header-content-length": "6"})


@pytest.mark.parametrize("protocol", ["v2", "binary"])
def test_an_output_that_is_missing(protocol: str) -> None:
    tensor = {"name": "mean", "datatype": "FP64", "shape": [1, 1], "data": [1.0], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"outputs": [tensor]}).encode()
    with pytest.raises(AnswerError, match=r"got outputs \['mean'\], wanted quantiles too"):
        HTTP[protocol].decode(head + bytes(8), {"inference-header-content-length": str(len(head))}) if (
            protocol == "binary"
        ) else HTTP[protocol].decode(head, {})
