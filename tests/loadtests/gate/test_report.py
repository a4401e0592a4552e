from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from loadtests.gate import report
from loadtests.gate.measured import Gated
from tests.loadtests.gate.made import gated


def test_text_of_a_pass() -> None:
    lines = report.text(gated()).splitlines()
    assert lines[0] == "PASS: bentocast:two against bentocast:one, 12 rounds, 65 s, 200 requests/s"
    assert lines[1].startswith("  pass         p50 ")
    assert lines[-1] == "  pass         generator: 10% of a core, late by 1.00 ms (p99)"


def test_text_of_a_fail_names_the_faults() -> None:
    told = report.text(gated(1.3, faults=30))
    assert told.startswith("FAIL: bentocast:two against bentocast:one")
    assert "  fail         p50 " in told
    assert told.endswith("  candidate: 360 x StatusError: 500: <script>alert(1)</script>")


def test_document_is_json_and_says_all() -> None:
    told = json.loads(json.dumps(report.document(gated()), allow_nan=False))
    assert told["began"] == "2026-01-02T03:04:00+00:00"
    assert told["outcome"] == "pass"
    assert told["settings"]["gate"]["limits"]["p50"] == 1.05
    assert told["sides"]["candidate"] == {"tag": "bentocast:two", "labels": {"mlflow_version": "7"}}
    assert len(told["rounds"]) == 12


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (gated(), "Every figure lies within its limit."),
        (gated(1.3), "Worse than the limit allows: p50, p95, p99, throughput, processor."),
        (
            gated(1.05, rounds=11),
            "Nothing is worse than the limit for sure, and not everything is within it for sure: ",
        ),
        (gated(rounds=0), "Could not be judged: "),
    ],
)
def test_page_says_in_words_what_it_concludes(found: Gated, words: str) -> None:
    assert words in report.page(found)


def test_page_is_whole_and_safe() -> None:
    made = report.page(gated(1.3, faults=30))
    assert "<script>" not in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    body = made[made.index("<body>") : made.index("</html>")]
    for part in body.split("<svg")[1:]:
        ET.fromstring("<svg" + part[: part.index("</svg>") + 6])
    assert body.count("<svg") == 3
    assert "200 requests/s (30% of the baseline&#x27;s 800) for 1 s each" in made
    assert "8 requests under way at once for 0.75 s, where answers within 100 ms count" in made


def test_the_same_numbers_make_the_same_page(tmp_path: Path) -> None:
    report.write(gated(), tmp_path / "one")
    report.write(gated(), tmp_path / "two")
    for name in (report.PAGE, report.NUMBERS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("p95", 0.0123, "12.3 ms"),
        ("throughput", 1234.5, "1,234 requests/s"),
        ("memory", 2**27, "128 MiB"),
        ("errors", 0.01, "1 %"),
    ],
)
def test_figures_in_their_units(name: str, value: float, wanted: str) -> None:
    assert report.shown(name, value) == wanted
