"""Addresses of data as people may see them: without passwords, keys and signatures."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def mask(text: str) -> str:
    """Hide the user, password and query of every address in a text."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))


def scheme(address: str) -> str | None:
    """Scheme of an address (`s3`), None for a path; of a chain (`simplecache::s3://...`) the last one."""
    found = _SCHEME.findall(address)
    return found[-1].lower() if found else None
