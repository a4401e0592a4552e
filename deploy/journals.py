"""Which journal a deployment has."""

from __future__ import annotations

import os

from deploy.journal import Journal
from deploy.place import Place

URL = "DEPLOY_JOURNAL_URL"


def of(place: Place) -> Journal:
    """The journal of a deployment: the database in DEPLOY_JOURNAL_URL, or a file in its folder."""
    return Journal(url(place))


def url(place: Place) -> str:
    """The database of a deployment."""
    place.folder.mkdir(parents=True, exist_ok=True)
    return os.environ.get(URL) or f"sqlite:///{place.journal}"
