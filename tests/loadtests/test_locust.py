"""The `locust` command with the project's users: on the real service, and on servers that misbehave."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.loadtests.fakes import wait_for
from tests.ports import free_ports
from tests.service.live import Server

ROOT = Path(__file__).parents[2]
#: No request failed; 9 if other tests had the processor and requests left late.
FINE = (0, 9)
LOCUST = str(Path(sys.executable).with_name("locust"))

#: Tells what a model wants; answers forecasts with `sys.argv[2]`, after a pause from the second second to the fourth.
MISBEHAVING = """
import asyncio, json, sys, time
models = {"models": [{"name": "m", "frequency": "1h", "horizon": 2, "context_length": 3, "past_covariates": [],
    "future_covariates": [], "bento": "m:1", "version": "1", "grpc_port": None}]}
bodies = {b"/v1/timeseries/models": json.dumps(models), b"/v1/timeseries/examples": '{"examples": []}'}
begin = None
async def serve(reader, writer):
    global begin
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        path = head.split()[1]
        length = [int(line.split(b":")[1]) for line in head.split(b"\\r\\n") if line.lower().startswith(b"content-length")]
        body = await reader.readexactly(length[0]) if length else b""
        if path.endswith(b"forecast"):
            begin = begin or time.monotonic()
            if sys.argv[2] == "freeze":
                await asyncio.sleep(600)
            if sys.argv[2] == "stall" and 1 < time.monotonic() - begin < 3:
                time.sleep(begin + 3 - time.monotonic())
        horizon = json.loads(body)["options"]["horizon"] if body else 0
        line = [1.0] * horizon
        one = {"content": [{"mean_forecast": line, "quantiles": {"0.1": line, "0.5": line, "0.9": line}}]}
        right = json.dumps({"outputs": [one] * (len(json.loads(body)["inputs"]) if body else 0)})
        wrong = right.replace("1.0]}", "0.5]}")
        told = bodies.get(path) or (wrong if sys.argv[2] == "cross" else right)
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(told) + told.encode())
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("up", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def misbehaving(how: str) -> Iterator[str]:
    port = free_ports()
    command = [sys.executable, "-c", MISBEHAVING, str(port), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def locust(
    host: str, folder: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    """Run it without its page; what it tells, and its table by protocol and name."""
    asked = [LOCUST, "--headless", "--host", host, "--csv", str(folder / "told"), "--only-summary", *arguments]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    with (folder / "told_stats.csv").open() as file:
        rows = {f"{row['Type']} {row['Name']}".strip(): row for row in csv.DictReader(file)}
    return done, rows


def failing(
    host: str, folder: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    """A run that must end with 1; once more if other tests had the processor, which it says with another code."""
    for _ in range(3):
        done, rows = locust(host, folder, *arguments)
        if done.returncode != FINE[1]:
            break
    return done, rows


def test_every_protocol_at_the_wanted_rate(service: Server, tmp_path: Path) -> None:
    done, rows = locust(service.url, tmp_path, "-u", "60", "-r", "60", "-t", "6s")
    assert done.returncode in FINE, done.stderr
    whole = rows["Aggregated"]
    assert {name.split()[0] for name in rows} == {"native", "v2", "binary", "grpc", "Aggregated"}
    assert whole["Failure Count"] == "0"
    assert 200 < int(whole["Request Count"]) < 520, "60 requests/s for 6 seconds, as independent clients send them"


def test_users_by_name_and_rate(service: Server, tmp_path: Path) -> None:
    done, rows = locust(service.url, tmp_path, "-u", "10", "-r", "10", "-t", "5s", "--rate", "8", "Binary")
    assert done.returncode in FINE, done.stderr
    assert {name.split()[0] for name in rows} == {"binary", "Aggregated"}
    assert 200 < int(rows["Aggregated"]["Request Count"]) < 600


def test_a_shape(service: Server, tmp_path: Path) -> None:
    files = "loadtests/locustfile.py,loadtests/shapes/spike.py"
    done, rows = locust(service.url, tmp_path, "-f", files, "-u", "100", "-t", "10s", "Native")
    assert done.returncode in FINE, done.stderr
    assert 150 < int(rows["Aggregated"]["Request Count"]) < 420, "10/s for 4 s, 100/s for 2 s, 10/s for 4 s: 280"


def with_a_worker(
    host: str, folder: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]], int]:
    """As `locust`, with another process that sends the requests; its exit code too."""
    port = str(free_ports())
    worker = [LOCUST, "--worker", "--master-port", port, "-f", "loadtests/locustfile.py"]
    with subprocess.Popen(worker, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            master = ("--master", "--master-bind-port", port, "--expect-workers", "1", "Native")
            done, rows = locust(host, folder, *master, *arguments)
            return done, rows, process.wait(30)
        finally:
            process.kill()


def test_master_and_worker(service: Server, tmp_path: Path) -> None:
    done, rows, code = with_a_worker(service.url, tmp_path, "-u", "20", "-r", "20", "-t", "5s", "--rate", "2")
    assert done.returncode in FINE, done.stderr
    assert 80 < int(rows["Aggregated"]["Request Count"]) < 320
    assert code in FINE


def test_a_worker_that_is_too_slow_is_named_by_its_master(service: Server, tmp_path: Path) -> None:
    done, rows, _ = with_a_worker(service.url, tmp_path, "-u", "20", "-r", "20", "-t", "5s", "--rate", "1000")
    assert done.returncode == 9, done.stderr
    (told,) = (line for line in done.stderr.splitlines() if "the generator, not the service, was the limit" in line)
    late, sent = map(int, re.findall(r"it sent (\d+) of (\d+) requests more than 50 ms late", told)[0])
    assert 0 < late <= sent
    assert sent >= int(rows["Aggregated"]["Request Count"]), "the file was written a moment before"


def test_wrong_answers_are_failures(tmp_path: Path) -> None:
    with misbehaving("cross") as host:
        done, rows = failing(host, tmp_path, "-u", "20", "-r", "20", "-t", "3s", "Native")
    assert done.returncode == 1
    whole = rows["Aggregated"]
    assert whole["Failure Count"] == whole["Request Count"] != "0"
    assert "got quantiles that cross, wanted each at or above the one before" in done.stderr + done.stdout


def test_a_pause_shows_for_every_request_that_was_due_meanwhile(tmp_path: Path) -> None:
    """A closed loop of 20 users would have 20 slow requests among hundreds of quick ones, and a p90 that is quick."""
    with misbehaving("stall") as host:
        done, rows = locust(host, tmp_path, "-u", "50", "-r", "50", "-t", "6s", "Native")
    assert done.returncode in FINE, done.stderr
    whole = rows["Aggregated"]
    assert float(whole["Max Response Time"]) > 1_500
    assert float(whole["75%"]) > 400, "a third of all requests were due while the service stood still"
    assert float(whole["50%"]) < 400


def test_what_has_no_answer_at_the_end_has_failed(tmp_path: Path) -> None:
    with misbehaving("freeze") as host:
        done, _ = failing(host, tmp_path, "-u", "20", "-r", "20", "-t", "3s", "Native")
    assert done.returncode == 1
    assert "(100.00%)" in done.stderr, "every request failed"
    assert "NotAnsweredError('no answer by the end of the test')" in done.stderr


@pytest.mark.parametrize("rate", ["0", "-3", "inf"])
def test_a_rate_that_is_none(rate: str) -> None:
    asked = [LOCUST, "--headless", "--rate", rate, "-t", "1s"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"got {rate}, wanted a number above 0" in done.stderr


def test_nothing_there(tmp_path: Path) -> None:
    done, rows = failing(f"http://127.0.0.1:{free_ports()}", tmp_path, "-u", "2", "-r", "2", "-t", "3s", "Native")
    assert done.returncode == 1
    assert rows["native start"]["Failure Count"] == rows["native start"]["Request Count"] != "0"
    assert "Connection refused" in done.stderr + done.stdout


def test_a_generator_that_is_too_slow_names_itself(service: Server, tmp_path: Path) -> None:
    done, _ = locust(service.url, tmp_path, "-u", "20", "-r", "20", "-t", "5s", "--rate", "20000", "Native")
    assert done.returncode == 9, done.stderr
    assert "the generator, not the service, was the limit: it sent" in done.stderr


def test_the_page(service: Server) -> None:
    import httpx

    port = free_ports()
    asked = [LOCUST, "--host", service.url, "--web-port", str(port)]
    with subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            page = f"http://127.0.0.1:{port}"

            def up() -> bool:
                try:
                    return httpx.get(page, trust_env=False).status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(up, "locust's page does not answer")
            form = {"user_count": "20", "spawn_rate": "20", "host": service.url}
            assert httpx.post(f"{page}/swarm", data=form, trust_env=False).json()["success"]
            stats = f"{page}/stats/requests"
            wait_for(lambda: httpx.get(stats, trust_env=False).json()["total_rps"] > 5, "no load")
            assert httpx.get(stats, trust_env=False).json()["fail_ratio"] == 0
            process.terminate()
            assert process.wait(30) in FINE
        finally:
            process.kill()
