"""Bentos that are bad on purpose, to see that a gate or a rollout finds it: copies with some code at an end."""

from __future__ import annotations

import shutil
from pathlib import Path

from loadtests.gate import bentos

#: The module in which every forecast of a worker ends, whichever protocol it came by.
WHERE = Path("src/service/worker.py")

_AROUND = """

def _spoiled(answer):  # type: ignore[no-untyped-def]
    async def spoiled(*given, **named):  # type: ignore[no-untyped-def]
{body}

    return spoiled


{target} = _spoiled({target})  # type: ignore[method-assign]
"""


def slow(seconds: float, share: float = 1.0) -> str:
    """Requests, or a share of them, take so much more processor time."""
    body = f"""\
        import random

        made = await answer(*given, **named)
        end = time.perf_counter() + ({seconds!r} if random.random() < {share!r} else 0.0)
        while time.perf_counter() < end:
            pass
        return made"""
    return _AROUND.format(body=body, target="Worker.forecast")


def failing(share: float) -> str:
    """A share of requests is answered with 500."""
    body = f"""\
        import random

        if random.random() < {share!r}:
            raise RuntimeError("on purpose")
        return await answer(*given, **named)"""
    return _AROUND.format(body=body, target="Worker.forecast")


def nonsense() -> str:
    """Forecasts are far from what they should be, at full speed."""
    body = """\
        import dataclasses

        made = await answer(*given, **named)
        return dataclasses.replace(made, mean=made.mean * 100 + 1e6)"""
    return _AROUND.format(body=body, target="Engine.submit")


def make(tag: str, code: str, name: str) -> str:
    """A copy of a Bento in the store whose worker module ends with some code; replaces an earlier one.

    Args:
        tag: of the Bento.
        code: at the end of the module.
        name: that is put at the end of the version.

    Returns:
        The copy's tag.

    Raises:
        RegistryError: there is no such Bento.
    """
    import bentoml

    found = bentoml.bentos.get(bentos.find(tag).tag)
    folder = Path(found.path)
    version = f"{found.tag.version}-{name}"
    copy = folder.with_name(version)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    about = copy / "bento.yaml"
    about.write_text(about.read_text().replace(f"version: {found.tag.version}\n", f"version: {version}\n", 1))
    module = copy / WHERE
    module.write_text(module.read_text() + code)
    return f"{found.tag.name}:{version}"


def remove(tag: str) -> None:
    """Take a copy out of the store again."""
    import bentoml

    shutil.rmtree(bentoml.bentos.get(tag).path)
