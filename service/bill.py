"""A Bento's bill of materials (CycloneDX, written by `python -m deploy sbom`): whether its files are what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from data.errors import BentocastError, ConfigError
from data.forecaster import sha256

#: Folder of a Bento's code, and before the names of its model's files.
CODE, MODEL = "src", "model"
#: Python writes these beside the code.
COMPILED = "__pycache__"
#: So many differences are told.
TOLD = 5


class DiffersError(BentocastError):
    """Files are not those that a bill names."""

    exit_code = 7
    code = "bill_differs"


def read(bill: Path) -> tuple[str, dict[str, str]]:
    """The tag of the Bento that a bill is of, and the SHA-256 of its files by name.

    Raises:
        ConfigError: it cannot be read, or names no files.
    """
    try:
        told = json.loads(bill.read_text("utf-8"))
        about = "{name}:{version}".format_map(told["metadata"]["component"])
        named = {one["name"]: one["hashes"][0]["content"] for one in told["components"] if one["type"] == "file"}
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise ConfigError(
            f"{bill} is no bill of materials of a Bento ({err!r}): make one with `python -m deploy sbom TAG`"
        ) from err
    if not named:
        raise ConfigError(f"{bill} names no files: make one with `python -m deploy sbom TAG`")
    return about, named


def digests(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Name in a bill and SHA-256 of each file in a folder, but for what Python compiled."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and COMPILED not in path.parts:
            yield f"{prefix}/{path.relative_to(folder).as_posix()}", sha256(path)


def differences(named: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """How files differ from those that a bill names, each in words; none if they are the same."""
    return [
        *(f"{name} is not in the bill" for name in sorted(found.keys() - named.keys())),
        *(f"{name} is in the bill and not in the Bento" for name in sorted(named.keys() - found.keys())),
        *(
            f"{name} has sha256 {found[name]}, the bill says {named[name]}"
            for name in sorted(found.keys() & named.keys())
            if found[name] != named[name]
        ),
    ]


def check(bill: Path, bento: str, code: Path, model: Path) -> None:
    """Compare the code and the model that are about to serve with a bill that was kept elsewhere.

    Args:
        bill: the file.
        bento: tag of what is to be served.
        code: folder of the Bento's code.
        model: folder of the model, as BentoML's store has it.

    Raises:
        ConfigError: the bill cannot be read, or is another Bento's.
        DiffersError: a file is another one, is missing, or is not in the bill.
    """
    about, named = read(bill)
    if about != bento:
        raise ConfigError(f"{bill} is of {about}, wanted one of {bento}, which is to be served")
    found = dict([*digests(code, CODE), *digests(model, MODEL)])
    # What its packages were installed from is not there any more where it runs.
    wanted = {name: value for name, value in named.items() if name.partition("/")[0] in (CODE, MODEL)}
    differing = differences(wanted, found)
    if differing:
        more = f", and {len(differing) - TOLD} more" if len(differing) > TOLD else ""
        raise DiffersError(
            f"{bento} is not what {bill} says: {'; '.join(differing[:TOLD])}{more}. It does not start: build it again, or bring "
            "the right files back"
        )
