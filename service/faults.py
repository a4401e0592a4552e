"""What is wrong with a JSON body, in words: where, what was got, what is wanted.

msgspec says where and of which type; the value itself, and the key that led to it, are looked up in the
body, which a client who got it wrong can wait for. Nothing is looked up in a large one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from data.errors import RequestError

#: Keys, places in lists, and None for a key that msgspec does not name.
Path = list[str | int | None]

#: Characters of a client's own value that an error message repeats.
MAX_SHOWN = 60
#: Characters of the path to a value.
MAX_PATH = 120
#: In a larger body no value is looked up.
MAX_SEARCHED_BYTES = 262_144
NOUNS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
UNITS = {"str": "characters", "array": "elements", "object": "entries"}
KINDS = {float: "float", int: "int", str: "str", bool: "bool", list: "array", dict: "object", type(None): "null"}
#: The largest number of 64 bits.
MOST = sys.float_info.max
CONSTANTS = {None: "null", True: "true", False: "false"}
_AT = re.compile(r"^(?P<text>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(?P<kinds>[^`]+)`(?: of length <= (?P<most>\d+))?(?:, got `(?P<got>[^`]+)`)?$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
_PLACE = re.compile(r"\(byte (?P<place>\d+)\)$")
_STEP = re.compile(r"\[(?:(?P<place>\d+)|\.\.\.)\]|\.(?P<field>[^.\[]+)")
_NOTHING = object()


def of_shape(err: msgspec.ValidationError, body: bytes, declared: Any) -> RequestError:
    """A body that is JSON, but not of the declared type."""
    parts = _AT.match(str(err))
    assert parts is not None
    text, path = parts["text"], _steps(parts["path"] or "")
    missing, expected = _MISSING.match(text), _EXPECTED.match(text)
    got = expected["got"] if expected else None
    steps, value = next(_ways(_read(body), path, partial(_at_fault, text, got)), (path, _NOTHING))
    if missing is not None:
        where = _joined([*steps, missing["field"]])
        return RequestError(f"{where} is missing", param=where)
    if parts["key"] and isinstance(value, dict):
        value = max(value, key=len, default=_NOTHING)
    if value is _NOTHING and got is not None:
        told = f"got {NOUNS.get(got, got)}, "
    else:
        told = "" if value is _NOTHING else f"got {short(value)}, "
    where = _joined(steps)
    return RequestError(f"{where or 'body'}: {told}{_wanted(text, expected, declared, path)}", param=where or None)


def of_syntax(err: Exception, body: bytes) -> RequestError:
    """A body that is no JSON."""
    if not body.strip():
        return RequestError("body is empty, wanted JSON")
    if str(err) == "Input data was truncated":
        return RequestError(f"body: the JSON ends too early, after {len(body)} bytes")
    found = _PLACE.search(str(err))
    if found is None:
        return RequestError(f"body: wanted JSON in UTF-8: {cut(str(err), 100)}")
    place, reason = int(found["place"]), _PLACE.sub("", str(err)).removeprefix("JSON is malformed: ").strip()
    place -= reason.startswith("trailing")  # of which it has read the first
    rest = body[place : place + 24].decode("utf-8", "replace")
    number = re.match(r"NaN|Infinity", rest)
    if number is not None:
        return RequestError(f"body: got {number[0]} at byte {place}, wanted a number, or null where a value is missing")
    return RequestError(f"body: got {short(rest)} at byte {place}, wanted JSON: {reason}")


def short(value: Any) -> str:
    """A client's value as text, no longer than a message needs."""
    if value is None or isinstance(value, bool):
        return CONSTANTS[value]
    return cut(repr(value[: 2 * MAX_SHOWN] if isinstance(value, str | bytes | list) else value), MAX_SHOWN)


def cut(text: str, length: int) -> str:
    """A text, with dots if it is longer than wanted."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _wanted(text: str, expected: re.Match[str] | None, declared: Any, path: Path) -> str:
    if expected is not None:
        kinds = expected["kinds"].split(" | ")
        wanted = " or ".join(NOUNS.get(kind, kind) for kind in kinds)
        most = expected["most"]
        return f"wanted {wanted}" + (f" of at most {most} {UNITS.get(kinds[0], 'elements')}" if most else "")
    if text.startswith("Invalid enum value"):
        return f"wanted {' or '.join(map(repr, _choices(msgspec.inspect.type_info(declared), path)))}"
    if text.endswith("out of range"):
        return "wanted a number that 64 bits can hold"
    return text[:1].lower() + text[1:]


def _choices(kind: Any, path: Path) -> Sequence[Any]:
    """The values that a declared type allows at a place of the body."""
    for step in path:
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next(field.type for field in kind.fields if field.encode_name == step)
        else:
            kind = kind.item_type if isinstance(step, int) else kind.value_type
    return tuple(kind.values)


def _joined(path: Path) -> str:
    """`inputs[0].series[3]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{cut(step or '...', MAX_SHOWN)}" for step in path)
    return cut(text.removeprefix("."), MAX_PATH)


def _steps(path: str) -> Path:
    """`.inputs[0].past_covariates[...]` step by step; None stands for a key that msgspec does not name."""
    return [int(step["place"]) if step["place"] else step["field"] for step in _STEP.finditer(path)]


def _read(body: bytes) -> Any:
    if len(body) > MAX_SEARCHED_BYTES:
        return _NOTHING
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOTHING


def _ways(value: Any, path: Path, at_fault: Callable[[Any], bool]) -> Iterator[tuple[Path, Any]]:
    """The ways to values at fault, with every key named.

    All values of an object whose keys are not named have one type, and msgspec stops at the first fault: the
    first value that is at fault is the one.
    """
    if not path:
        if at_fault(value):
            yield [], value
        return
    step, rest = path[0], path[1:]
    inner: Iterable[tuple[str | int | None, Any]] = ()
    if step is None and isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list) and isinstance(step, int):
        inner = [(step, part) for part in value[step : step + 1]]
    elif isinstance(value, dict) and step in value:
        inner = [(step, value[step])]
    for key, part in inner:
        for way, found in _ways(part, rest, at_fault):
            yield [key, *way], found


def _at_fault(text: str, kind: str | None, value: Any) -> bool:
    if value is _NOTHING:
        return False
    if text.endswith("out of range"):
        return isinstance(value, int | float) and not abs(value) <= MOST
    return kind is None or KINDS.get(type(value)) == kind
