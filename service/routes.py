"""Which path is answered by what: one table, whose templates are also the labels of the metrics."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from service.call import Call, Door, Reply

Handler = Callable[[Call], Awaitable[Reply]]
#: How many paths are remembered with what answers them: strangers make them up, so it is bounded.
PATHS_KEPT = 1_024
#: Characters of a path that is remembered: no path that is served has more.
MAX_KEPT = 512
#: Who may ask: anybody, whoever may ask for forecasts, whoever may see the metrics, or the pages.
Group = Literal["probe", "api", "metrics", "docs"]


@dataclass(frozen=True)
class Endpoint:
    """One path.

    Attributes:
        template: the path with its parameters named; the metrics' label.
        methods: what each method does.
        door: whose shape errors have.
        group: who may ask.
        pattern: the path as an expression with groups `model` and `version`, if it has parameters.
        is_work: whether a POST runs the model, so that it is refused where that has too much to do.
        wants_json: whether a body must say that it is JSON, so that no web page can send it for a visitor.
    """

    template: str
    methods: Mapping[str, Handler]
    door: Door
    group: Group = "api"
    pattern: re.Pattern[str] | None = None
    wants_json: bool = False
    is_work: bool = False
    allow: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", ", ".join([*self.methods, *(["HEAD"] if "GET" in self.methods else [])]))

    def handler(self, method: str) -> Handler | None:
        """What answers a method; HEAD is a GET whose body is not sent."""
        return self.methods.get("GET" if method == "HEAD" else method)


class Routes:
    """All endpoints; `find` gives that of a path, and the model and version that the path names."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self._remembered = lru_cache(maxsize=PATHS_KEPT)(self._find)
        self._exact = {endpoint.template: endpoint for endpoint in endpoints if endpoint.pattern is None}
        self._patterns = [endpoint for endpoint in endpoints if endpoint.pattern is not None]

    def find(self, path: str) -> tuple[Endpoint, str | None, str | None] | None:
        """What answers a path, and the model and version in it; None if nothing does."""
        return self._remembered(path) if len(path) <= MAX_KEPT else self._find(path)

    def _find(self, path: str) -> tuple[Endpoint, str | None, str | None] | None:
        exact = self._exact.get(path)
        if exact is not None:
            return exact, None, None
        for endpoint in self._patterns:
            assert endpoint.pattern is not None
            found = endpoint.pattern.fullmatch(path)
            if found is not None:
                parts = found.groupdict()
                return endpoint, parts.get("model"), parts.get("version")
        return None


def pattern(template: str) -> re.Pattern[str]:
    """`/v2/models/{model}/infer` as an expression; a version may follow the model."""
    text = re.escape(template).replace(r"\{model\}", r"(?P<model>[^/:]{1,256})(?:/versions/(?P<version>[^/:]{1,64}))?")
    return re.compile(text.replace(r"\{file\}", r"(?P<model>[A-Za-z0-9_.-]{1,128})"))
