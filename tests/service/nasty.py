"""What a client can get wrong: bytes, documents and messages, changed by a seeded chance."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

TEXTS = (
    "",
    "x" * 5_000,
    "\0",
    "\u96ea\U0001f6b2",
    "NaN",
    "null",
    "1899-12-31T23:59:59",
    "0001-01-01",
    "9999-12-31T23:59:59",
    "2024-02-30",
    "2024-05-01T13:00+25:00",
    "1h; drop",
    "../../etc/passwd",
    "bentocast-rows",
    "BYTES",
    "FP16",
    "INT8",
)
NUMBERS = (
    0,
    -1,
    1,
    -0.0,
    5e-324,
    1e100,
    -1e100,
    1e308,
    -1e308,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    *NUMBERS,
    None,
    True,
    [],
    {},
    [[]],
    [None],
    [[[[[[1.0]]]]]],
    {"a": {"b": []}},
    [1e308] * 200,
)
WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: (-1, 0, 1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (-1, 0, 1, 2**31, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 77),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, math.nan, math.inf, 3.4e38, 1e-45),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 1e101),
}


def damaged(sent: bytes, chance: Random) -> bytes:
    """Bytes with one to three pieces cut, turned, doubled or put in."""
    made = bytearray(sent)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(made) + 1)
        length = chance.choice((1, 1, 2, 8, 64, len(made)))
        piece = bytes(made[place : place + length])
        match chance.randrange(5):
            case 0:
                del made[place:]
            case 1:
                del made[place : place + length]
            case 2:
                made[place:place] = piece
            case 3:
                made[place:place] = chance.randbytes(chance.choice((1, 4, 100)))
            case _:
                made[place : place + 1] = bytes([chance.randrange(256)])
    return bytes(made)


def document(given: Any, chance: Random) -> str:
    """JSON with one to three values changed, taken away or said twice."""
    made = copy.deepcopy(given)
    for _ in range(chance.randint(1, 3)):
        holder, key = chance.choice(_places(made))
        match chance.randrange(5):
            case 0 if isinstance(holder, dict):
                holder[f"{key} "] = holder.pop(key)
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 2:
                del holder[key]
            case _:
                holder[key] = copy.deepcopy(chance.choice(VALUES))
        if not made:
            break
    text = json.dumps(made)
    return text[:-1] + "," + text[1:] if text[:1] == "{" and len(text) > 2 and chance.random() < 0.1 else text


def _places(made: Any) -> list[tuple[Any, Any]]:
    """Where something can be changed; of a long list a few places are enough."""
    found: list[tuple[Any, Any]] = []
    inner: list[Any] = [made]
    while inner:
        holder = inner.pop()
        keys = list(holder) if isinstance(holder, dict) else [*range(len(holder))][:3]
        found += [(holder, key) for key in keys]
        inner += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return found


def message(given: Message, chance: Random) -> bytes:
    """A message with one to three fields changed."""
    made = copy.deepcopy(given)
    for _ in range(chance.randint(1, 3)):
        _change(chance.choice(_messages(made)), chance)
    sent: bytes = made.SerializeToString()
    return sent


def _messages(made: Message) -> list[Message]:
    """It, and all messages in it."""
    found, inner = [], [made]
    while inner:
        holder = inner.pop()
        found.append(holder)
        for field, value in holder.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                inner += [value[key] for key in value if isinstance(value[key], Message)]
            else:
                inner += list(value) if field.is_repeated else [value]
    return found


def _change(holder: Message, chance: Random) -> None:
    field = chance.choice(holder.DESCRIPTOR.fields)
    kind, value = field.cpp_type, getattr(holder, field.name)
    pick: Callable[[], Any] = lambda: chance.choice(WHOLE[kind])  # noqa: E731
    if field.type == FieldDescriptor.TYPE_BYTES:
        pick = lambda: chance.randbytes(chance.choice((0, 1, 7, 8, 800)))  # noqa: E731
    elif kind == FieldDescriptor.CPPTYPE_STRING:
        pick = lambda: chance.choice(TEXTS)  # noqa: E731
    if kind == FieldDescriptor.CPPTYPE_MESSAGE or not field.is_repeated:
        if kind == FieldDescriptor.CPPTYPE_MESSAGE:
            _change_inner(holder, field, value, chance)
        else:
            setattr(holder, field.name, pick())
    elif len(value) and chance.random() < 0.7:
        value[chance.randrange(len(value))] = pick()
    else:
        value.extend([pick()] * chance.choice((1, 3, 1_000)))


def _change_inner(holder: Message, field: FieldDescriptor, value: Any, chance: Random) -> None:
    """Take a message away, say it twice, or put in an empty one."""
    entries = field.message_type.GetOptions().map_entry
    if not field.is_repeated or chance.random() < 0.3:
        holder.ClearField(field.name)
    elif entries and field.message_type.fields_by_name["value"].message_type is not None:
        value[chance.choice(TEXTS)].SetInParent()
    elif not entries and len(value):
        value.add().CopyFrom(chance.choice(value))
    elif not entries:
        value.add()
