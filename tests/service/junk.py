"""What clients get wrong, and odd things that are right: documents of the Time Series API, changed by hypothesis."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]
#: Stands in a document for text that Python's own writer of JSON cannot produce.
RAW = {"@1e400": "1e400", "@-1e309": "-1e309", "@digits": "9" * 4_200, "@lone": '"\\ud800"', "@more": "9" * 6_000}


def body(document: object) -> bytes:
    """A document as JSON, or what a careless client takes for it."""
    text = json.dumps(document, ensure_ascii=False)
    for token, raw in RAW.items():
        text = text.replace(f'"{token}"', raw)
    return text.encode("utf-8", "surrogatepass")


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*RAW, 1e308, -1e308, 1e100, 5e-324, 2**63, 10**30, "NaN", "1h", "inf", "2024-05-01"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.text(max_size=30) | st.sampled_from(
    [
        "1899-12-31T23:00",
        "1900-01-01",
        "2199-12-30",
        "9999-12-31T23:59",
        "10000-01-01",
        "0001-01-01",
        "2024-02-30",
        "2024-05-01T13:00+02:00",
        "2024-05-01T13:00:00.123456Z",
        "2024-W10-2",
        "2024-05-01T24:00",
        "\u0662\u0660\u0662\u0664-05-01",
        "2024-05-01T13:00-23:59",
        "2024-05-01T13:00+24:00",
        "1e9",
        "2016-12-31T23:59:60Z",
    ]
)
NUMBERS = (
    st.none()
    | st.floats(-1e100, 1e100)
    | st.floats(0, 1e4)
    | st.sampled_from([0, -0.0, 1, 1e100, -1e100, 1e38, 1e39, 5e-324, 1e-300, 2**53 + 1, True, "3.5"])
)
VALUES = st.lists(NUMBERS, max_size=8).flatmap(
    lambda some: st.sampled_from([some, (some or [0]) * 103, [0, *(some or [1]) * 103]])
)

#: Changes of parts of a document.
EDITS: list[Callable[[Document, Any], None]] = [
    lambda document, junk: document.update(inputs=junk),
    lambda document, junk: document.update(options=junk),
    lambda document, junk: document.update(model=junk),
    lambda document, junk: document["inputs"].append(junk),
    lambda document, junk: document["inputs"].insert(0, junk),
    lambda document, junk: document["options"].update(horizon=junk),
    lambda document, junk: document["options"].update(quantiles=junk),
    lambda document, junk: document["options"].update(quantiles=[0.5, junk]),
]
FIELDS = ["type", "name", "series", "start_timestamp", "frequency", "past_covariates", "future_covariates"]
COVARIATES = ["temperature", "workingday", "rain"]


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Document], None]:
    """One thing that a client gets wrong, or an odd thing that is right."""
    kind = draw(st.integers(0, 6))
    junk, values, moment = draw(JUNK), draw(VALUES), draw(TIMES)
    field, covariate = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(COVARIATES))
    edit, place = draw(st.sampled_from(EDITS)), draw(st.integers(0, 102))
    key = draw(st.sampled_from(["past_covariates", "future_covariates"]))

    def apply(document: Document) -> None:
        series = document["inputs"][0]
        match kind:
            case 0:
                edit(document, junk)
            case 1:
                series[field] = junk
            case 2:
                series.pop(field, None)
            case 3:
                series["start_timestamp"] = moment
            case 4:
                series["series"] = values
            case 5:
                series["series"][place % len(series["series"])] = junk
            case _:
                series.setdefault(key, {})[covariate] = values or junk

    return apply


def changed(document: Document, changes: list[Callable[[Document], None]]) -> Document:
    """A document with changes made to it, up to one that has nothing left to work on."""
    for change in changes:
        try:
            change(document)
        except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError):
            break
    return document
