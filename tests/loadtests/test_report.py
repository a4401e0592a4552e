from __future__ import annotations

from loadtests.processes import Memory
from loadtests.serving import report
from loadtests.serving.findings import Findings, Overload, Tail
from loadtests.serving.openloop import Offered
from loadtests.serving.settings import Settings

SETTINGS = Settings(rounds=3, peers=("fastapi", "mlflow"))


def findings() -> Findings:
    storm = Offered(10.0, 8_000, {200: [0.01] * 1_800, 503: [0.002, 0.03]}, in_time=1_700, unsent=6_198, lag_p99=0.2)
    return Findings(
        rates={"ours forecast": [200, 100, 150], "FastAPI + onnxruntime forecast": [100, 100, 100]},
        processor={"ours forecast": [0.002, 0.004, 0.002], "FastAPI + onnxruntime forecast": [0.003, 0.004, 0.004]},
        alone={"ours forecast": [100, 100, 100], "ours forecast: JSON, 256 series": [1_000, 1_200, 1_100]},
        tails={"ours forecast": Tail(150.0, 0.1, 0.25)},
        starts={"ours": [4.0, 5.0, 4.5]},
        memory={"ours-forecast": Memory(150 * 2**20, 300 * 2**20)},
        soak={10_000: 150 * 2**20},
        overloads={"ours forecast": Overload(200.0, Offered(10.0, 400, {200: [0.005]}), storm)},
        refused={"ours forecast": 3},
        missing={"ours rows": "POST /v2 answers 404"},
    )


def lines() -> list[str]:
    return report.markdown(findings(), SETTINGS, {"machine": "two cores"}).splitlines()


def test_table() -> None:
    assert report.table(("a", "b"), [("1", "2|3")]) == "| a | b |\n| --- | --- |\n| 1 | 2\\|3 |"


def test_ratio_of_a_peer() -> None:
    assert "| ours / FastAPI + onnxruntime | B | 150 | 100 | 1.50 | 1.00 to 2.00 |" in lines()


def test_missing_rows_say_so() -> None:
    assert "| ours / FastAPI + onnxruntime | A | missing | missing | missing |  |" in lines()
    assert "| ours / mlflow models serve | B | 150 | missing | missing |  |" in lines()
    assert "| gRPC typed / our HTTP | B | missing | 150 | missing |  |" in lines()
    assert "- ours rows: POST /v2 answers 404" in lines()


def test_refusals() -> None:
    assert "- ours forecast: 3" in lines()


def test_processor_time() -> None:
    assert "| ours | B | 2.00 | 1.00 | 1.00 to 1.00 |" in lines()
    assert "| FastAPI + onnxruntime | B | 4.00 | 1.50 | 1.00 to 2.00 |" in lines()


def test_many_series_against_one() -> None:
    assert "| 256 series at once / one at a time, JSON | B | 1,100 | 100 | 11.00 | 10.00 to 12.00 |" in lines()


def test_latency_memory_and_start() -> None:
    assert "| ours forecast | 150 | 100.0 | 250.0 | 2.50 |" in lines()
    assert "| ours | B | 150 | 300 | 4.5 (4.0 to 5.0) |" in lines()
    assert "| 10,000 | 150 |" in lines()


def test_overload_with_a_late_generator() -> None:
    (line,) = [line for line in lines() if line.startswith("| ours forecast | 200 |")]
    assert line == (
        "| ours forecast | 200 | 800 | 0.85 | 10.0 | 5.0 | 30.0 | 200: 1,800, 503: 2, not sent: 6,198 "
        "| 200.0: it did not keep its schedule |"
    )


def test_nothing_found_is_a_report_all_the_same() -> None:
    text = report.markdown(Findings(), SETTINGS, {})
    assert "missing" in text
    assert "## Missing" not in text
