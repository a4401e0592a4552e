"""The bill of materials of a Bento, in CycloneDX: its packages with licences, its model, its files with hashes."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from data.errors import ConfigError, NotFoundError
from data.forecaster import ONNX_FILE, sha256
from deploy import lineage, locked
from service import bill
from service.image import PYTHON

SCHEMA = SchemaVersion.V1_6


def make(tag: str) -> str:
    """The bill of a Bento in the store, as JSON of CycloneDX 1.6.

    Packages are those that its image installs. The same Bento has the same bill, but for licences, which are those that
    installed packages of the same version name.

    Args:
        tag: `name:version`, or `name` for the newest.

    Raises:
        NotFoundError: the store holds no such Bento, or it carries no model.
    """
    chain = lineage.of(tag)
    bento, _ = lineage.carried(tag)
    digests = dict(_digests(bento))
    made = Bom(serial_number=_number(digests), components=[*_packages(Path(bento.path)), *_files(digests)])
    made.metadata.timestamp = bento.info.creation_time.astimezone(dt.UTC)
    made.metadata.component = Component(
        name=bento.tag.name,
        version=bento.tag.version,
        type=ComponentType.APPLICATION,
        bom_ref=str(bento.tag),
        properties=[Property(name=f"bentocast:{name}", value=value) for name, value in chain],
    )
    version = dict(chain)["mlflow model"].rpartition(" ")[2]
    made.components.add(
        Component(
            name=bento.tag.name,
            version=version,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"{bill.MODEL}:{version}",
            hashes=[_hash(digest) for name, digest in sorted(digests.items()) if Path(name).name == ONNX_FILE],
        )
    )
    made.register_dependency(
        made.metadata.component, [one for one in made.components if one.type is not ComponentType.FILE]
    )
    return str(make_outputter(made, OutputFormat.JSON, SCHEMA).output_as_string(indent=2)) + "\n"


def differences(tag: str, file: Path) -> list[str]:
    """How the files of a Bento in the store differ from those that a bill names, each in words; none if they are the same.

    Raises:
        ConfigError: the bill cannot be read, names no files, or is another Bento's.
        NotFoundError: the store holds no such Bento.
    """
    bento, _ = lineage.carried(tag)
    about, named = bill.read(file)
    if about != str(bento.tag):
        raise ConfigError(f"{file} is of {about}, wanted one of {bento.tag}")
    return bill.differences(named, dict(_digests(bento)))


def _digests(bento: Any) -> Iterator[tuple[str, str]]:
    """Path and SHA-256 of all files that run: code, requirements, model."""
    folder = Path(bento.path)
    try:
        yield str(locked.IN_BENTO), sha256(folder / locked.IN_BENTO)
    except FileNotFoundError as err:
        raise NotFoundError(f"{err.filename} not found: the Bento is not whole, build it again") from err
    yield from bill.digests(folder / bill.CODE, bill.CODE)
    for model in bento.info.all_models:
        yield from bill.digests(Path(bentoml.models.get(model.tag).path), bill.MODEL)


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _files(digests: dict[str, str]) -> Iterator[Component]:
    for name, digest in digests.items():
        yield Component(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}", hashes=[_hash(digest)])


def _packages(folder: Path) -> Iterator[Component]:
    for name, version in sorted(locked.versions(folder / locked.IN_BENTO, PYTHON).items()):
        where = PackageURL("pypi", name=name.lower(), version=version)
        yield Component(name=name, version=version, purl=where, bom_ref=str(where), licenses=_licences(name, version))


def _licences(name: str, version: str) -> list[Any]:
    """What the installed package of the same version says of its licence."""
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    if about["Version"] != version:
        return []
    classified = [
        one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License ::")
    ]
    if "License-Expression" in about:
        return [LicenseFactory().make_from_string(about["License-Expression"])]
    # Some write the whole text where a name belongs.
    short = about["License"].strip() if "License" in about else ""
    names = classified or ([short] if short and "\n" not in short else [])
    return [DisjunctiveLicense(name=one) for one in dict.fromkeys(names)]


def _number(digests: dict[str, str]) -> uuid.UUID:
    """The same for the same files."""
    return uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(digests, sort_keys=True))
