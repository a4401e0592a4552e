"""Versions: copies of Bentos with their models in the deployment's folder, so that one can come back at any time.

A Bento that serves must not depend on BentoML's store, where anybody may delete it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from data.atomic import replacing
from data.errors import RegistryError
from deploy.place import Place

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: Ends the name by which the router knows the instances of a version that are compared with a candidate's. No version's
#: own name holds it.
_BASELINE = "_baseline"


@dataclass(frozen=True)
class Version:
    """A version of the service.

    Attributes:
        name: by which the router knows it.
        tag: of the Bento.
        store: a BentoML store that holds it and its models.
    """

    name: str
    tag: str
    store: Path

    @property
    def kept(self) -> Path:
        """Where the Bento is in its store."""
        name, _, version = self.tag.partition(":")
        return Path("bentos", name, version)

    @property
    def is_kept(self) -> bool:
        """Whether the store holds it: another Bento may have the same name here (1.0 and 1-0)."""
        return (self.store / self.kept).is_dir()


def take(place: Place, tag: str) -> Version:
    """Copy a Bento and its models from BentoML's store, unless that was done before.

    Args:
        place: the deployment.
        tag: `name:version`, or `name` for the newest.

    Raises:
        RegistryError: neither the store nor the deployment holds such a Bento, it lacks a model, or another Bento has its name.
    """
    found, missing = _looked(place, tag)
    if missing:
        with replacing(found.store) as store:
            for there, source in missing.items():
                shutil.copytree(source, store / there)
    return found


def look(place: Place, tag: str) -> Version:
    """What `take` would give; nothing is copied. Arguments and faults as of that."""
    return _looked(place, tag)[0]


def _looked(place: Place, tag: str) -> tuple[Version, dict[Path, str]]:
    """A version, and what is still to be copied from where, by its place in the version's store."""
    import bentoml

    try:
        bento = bentoml.bentos.get(tag)
        models = [bentoml.models.get(model.tag) for model in bento.info.all_models]
    except (bentoml.exceptions.BentoMLException, ValueError) as err:
        kept = find(place, tag)
        if kept:
            return kept, {}
        raise RegistryError(
            f"BentoML's store holds no whole Bento {tag!r} ({str(err).strip()}): see them with `bentoml list`"
        ) from err
    found = _version(place, str(bento.tag))
    if found.is_kept:
        return found, {}
    if found.store.is_dir():
        raise RegistryError(
            f"Bento {found.tag!r}: another one is kept here as {found.name} already (in {found.store}): build it with "
            "another version"
        )
    stored = {Path("models", model.tag.name, str(model.tag.version)): model.path for model in models}
    return found, {found.kept: bento.path, **stored}


def find(place: Place, tag: str) -> Version | None:
    """A version that was taken before, by its whole tag."""
    if tag.count(":") != 1:
        return None
    found = _version(place, tag)
    return found if found.is_kept else None


def baseline(name: str) -> str:
    """By which the router knows the baseline of a version."""
    return name + _BASELINE


def own(name: str) -> str:
    """Name of the version, of a name that may be its baseline's."""
    return name.removesuffix(_BASELINE)


def name(tag: str) -> str:
    """By which the router knows the version with a whole tag.

    Raises:
        RegistryError: it cannot name a cluster.
    """
    found = tag.partition(":")[2].lower().replace(".", "-").replace("_", "-")
    if not _NAME.fullmatch(found):
        raise RegistryError(f"Bento {tag!r}: got a version that cannot name a cluster, wanted letters, digits and -")
    return found


def _version(place: Place, tag: str) -> Version:
    return Version(name(tag), tag, place.versions / name(tag))
