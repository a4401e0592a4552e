"""What may be asked of the judge over HTTP, and what a stranger is told who asks something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import RequestError
from deploy.judging.counts import Pairs, Split
from deploy.verdicts import asked

TIMED: dict[str, Any] = {
    "stable": "bentocast:a",
    "candidate": "bentocast:b",
    "phases": [{"weight": 0.1, "began": 1_000.0, "ended": 1_600.0}, {"weight": 0.25, "began": 1_600, "ended": 1_900}],
}
COUNTED: dict[str, Any] = {
    "phases": [
        {
            "weight": 0.5,
            "stable": {"requests": 100, "errors": 1, "over": {"0.01": 50, "0.02": 5}},
            "candidate": {"requests": 90, "over": {"0.02": 4, "0.01": 40}},
        }
    ],
    "answers": {"worse": 1, "other": 99},
}


def read(body: dict[str, Any], **changes: Any) -> asked.Asked:
    return asked.read(json.dumps(body | changes).encode())


def test_phases_with_times() -> None:
    assert read(TIMED).at(2_000.0) == [(0.1, 1_000.0, 1_600.0), (0.25, 1_600.0, 1_900.0)]


def test_times_from_now() -> None:
    phases = [{"weight": 0.1, "began": -900, "ended": -600}, {"weight": 0.25, "began": -600, "ended": 0}]
    assert read(TIMED, phases=phases).at(10_000.0) == [(0.1, 9_100.0, 9_400.0), (0.25, 9_400.0, 10_000.0)]


def test_flaggers_body_carries_one_as_a_text() -> None:
    body = {"name": "town", "namespace": "prod", "phase": "Progressing", "metadata": {"verdict": json.dumps(TIMED)}}
    assert asked.read(json.dumps(body).encode()) == read(TIMED)
    body["metadata"] = {"verdict": "{"}
    with pytest.raises(RequestError, match=r"^the body: the file: got b'\{'"):
        asked.read(json.dumps(body).encode())


def test_counts_that_are_brought() -> None:
    found = read(COUNTED)
    (phase,) = found.counted()
    assert phase.requests == Split(90, 100)
    assert phase.errors == Split(0, 1)
    assert phase.over == {0.01: Split(40, 50), 0.02: Split(4, 5)}
    assert found.answers is not None
    assert found.answers.pairs == Pairs(1, 99)


def phase(**changes: Any) -> dict[str, Any]:
    first: dict[str, Any] = TIMED["phases"][0]
    return first | changes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"phases": []}, "wanted one of phases and weights"),
        ({"weights": "weight"}, "wanted one of phases and weights"),
        ({"phases": [], "weights": "rate(weight[1d])"}, "weights: got 'rate(weight[1d])', string should match"),
        ({"phases": [phase()] * 21}, "tuple should have at most 20 items"),
        ({"phases": [phase(weight=0)]}, "phases.0.weight: got 0, input should be greater than 0"),
        ({"phases": [phase(wieght=0)]}, "phases.0.wieght: unknown key, did you mean 'weight'?"),
        ({"phases": [{"weight": 0.1, "began": 1}]}, "wanted began and ended, or stable and candidate"),
        ({"phases": [phase(stable={"requests": 5})]}, "wanted began and ended, or stable and candidate"),
        ({"phases": [phase(), COUNTED["phases"][0]]}, "got phases with times and phases with counts, wanted one kind"),
        ({"stable": None}, "wanted stable and candidate, the tags of both Bentos"),
        ({"stable": 'b:a"} or vector(1)'}, "stable: got "),
        ({"labels": {'a"': "b"}}, "string should match pattern"),
        ({"labels": {f"l{number}": "" for number in range(11)}}, "dictionary should have at most 10 items"),
        ({"labels": {"service_version": "new"}}, "got service_version among labels or as by, wanted others"),
        ({"stable": "5d4f"}, "stable: got '5d4f', wanted a Bento's tag, or `by` with the label that has this value"),
        ({"by": "endpoint"}, "got endpoint among labels or as by, wanted others"),
        ({"by": 'a"'}, "by: got "),
        ({"by": "namespace", "labels": {"namespace": "prod"}}, "both versions would be the same one"),
        ({"edges": [0.01]}, "got edges with phases that have times"),
        ({"judgement": {"alpha": 1}}, "judgement.alpha: got 1, input should be less than or equal to 0.2"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as err:
        read(TIMED, **changes)
    assert err.value.message.startswith("the body: ")
    assert text in err.value.message
    assert "\n" not in err.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"text"', b"[" * 5_000, b'{"phases": NaN}'])
def test_a_body_that_is_none(body: bytes) -> None:
    with pytest.raises(RequestError, match=r"^the body: "):
        asked.read(body)


@pytest.mark.parametrize(
    ("phases", "text"),
    [
        ([phase(began=1_600, ended=1_000)], "phases.0: got began 1600 and ended 1000, wanted the end after the begin"),
        ([phase(ended=9_000)], "phases.0: got began 1000 and ended 9000"),
        ([phase(began=-8 * 86_400)], "both in the last 7 days"),
        ([phase(), phase()], "phases: got one that begins before the one before it ends"),
    ],
)
def test_times_that_cannot_be(phases: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(RequestError) as err:
        read(TIMED, phases=phases).at(2_000.0)
    assert text in err.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["weight", "over", "x"]), inner),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([TIMED, COUNTED]), st.sampled_from(sorted(asked.Asked.model_fields)), JSON)
def test_anything_is_taken_or_refused(body: dict[str, Any], key: str, value: object) -> None:
    try:
        found = read(body, **{key: value})
    except RequestError as err:
        assert err.message.startswith("the body: ")  # noqa: PT017
    else:
        assert found.phases or found.weights
