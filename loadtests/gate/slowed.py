"""A Bento made slower on purpose, to see that the gate finds it: its forecasts end with a busy loop."""

from __future__ import annotations

import shutil
from pathlib import Path

from loadtests.gate import bentos

#: Put at the end of the module in which every forecast of a worker ends, whichever protocol it came by.
WHERE = Path("src/service/worker.py")
LOOP = """

def _slowed(answer):  # type: ignore[no-untyped-def]
    async def slow(*given, **named):  # type: ignore[no-untyped-def]
        made = await answer(*given, **named)
        end = time.perf_counter() + {seconds!r}
        while time.perf_counter() < end:
            pass
        return made

    return slow


Worker.forecast = _slowed(Worker.forecast)  # type: ignore[method-assign]
"""


def make(tag: str, seconds: float, name: str) -> str:
    """A copy of a Bento in the store, whose every request takes so much more processor time; replaces an earlier one.

    Args:
        tag: of the Bento.
        seconds: of the busy loop.
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
    module.write_text(module.read_text() + LOOP.format(seconds=seconds))
    return f"{found.tag.name}:{version}"


def remove(tag: str) -> None:
    """Take a copy out of the store again."""
    import bentoml

    shutil.rmtree(bentoml.bentos.get(tag).path)
