"""Reading what people wrote: YAML into a section, and what is wrong with it in words, each value with its place."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from data.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def load(path: Path, model: type[M], missing: str) -> M:
    """Read a YAML file and check it whole.

    Args:
        path: of the file.
        model: that it is read as.
        missing: what to do if there is no such file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown key or a wrong value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as err:
        raise ConfigError(f"{path} not found: {missing}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(err).split())}") from err
    return parse(raw, model, str(path))


def parse(raw: object, model: type[M], where: str) -> M:
    """Check what is already in memory.

    Raises:
        ConfigError: one message that lists every value at fault.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as err:
        raise ConfigError(f"{where}: {explain(err, model)}", param=place(err)) from err


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
