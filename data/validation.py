"""What is wrong with something that was read, in words: each value at fault with its place and what is wanted."""

from __future__ import annotations

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(err: ValidationError, model: type[BaseModel]) -> str:
    """All faults, one after another, on one line.

    Args:
        err: what pydantic found.
        model: that it was read as.
    """
    return "; ".join(_explain(fault, model) for fault in err.errors(include_url=False))


def place(err: ValidationError) -> str:
    """Path of the first value at fault."""
    return ".".join(str(part) for part in err.errors()[0]["loc"])


def _explain(fault: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        known = _keys(fault["loc"][:-1], model)
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"{where}: unknown key, " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")
    if fault["type"] == "missing":
        return f"{where}: missing, wanted a value"
    text = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if text.startswith("got ") else f"{where}: got {fault['input']!r}, {_lower(text)}"


def _keys(path: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """The keys that are known at a path."""
    many = False
    for part in path:
        if many:  # its name or place among them: the annotation had what they are made of
            many = False
            continue
        annotation = model.model_fields[str(part)].annotation
        many = get_origin(annotation) in (dict, tuple)
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        model = next(kind for kind in kinds if issubclass(kind, BaseModel))
    return list(model.model_fields)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
