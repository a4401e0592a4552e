"""What the documentation says can be typed: every command in a shell block exists and takes what it is given."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data import params
from data.section import Section

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Commands whose own documentation says what they do; here it counts that they are there.
TOOLS = {"python", "bentoml", "curl", "cd", "docker", "dvc", "export", "git", "kubectl", "locust", "mlflow", "source"}


def _commands() -> list[str]:
    """Every command of every `sh` block, and every command that stands alone in a table or a sentence."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            for line in block.replace("\\\n", "").splitlines():
                found += [part.strip() for part in re.split(r"&&", line.partition("#")[0])]
        found += re.findall(r"`((?:make|python -m|dvc|mlflow|bentoml) [^`]*)`", text)
    return sorted({command.replace("\n", " ") for command in found if command})


@functools.cache
def _help(*asked: str) -> str:
    """What a command says of itself; many lines of the documentation type the same one."""
    done = subprocess.run([sys.executable, "-m", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", _commands())
def test_command_exists(command: str) -> None:
    words = shlex.split(command.partition(">")[0])
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif words[:2] == ["python", "-m"]:
        room, *rest = words[2:]
        asked = [room, rest[0], "--help"] if rest and not rest[0].startswith("-") else [room, "--help"]
        told = _help(*asked)
        assert all(word in told for word in rest if word.startswith("--"))
    else:
        assert words[0] in TOOLS


def test_minimal_series_section_is_valid() -> None:
    block = re.search(r"```yaml\n(series:.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    section = yaml.safe_load(block[1])["series"]
    assert params.Series.model_validate(section).frequency == "1d"


def test_every_key_of_params_is_explained() -> None:
    text = (ROOT / "docs" / "params.md").read_text()

    def keys(model: type[Section]) -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            inner = field.annotation
            nested = isinstance(inner, type) and issubclass(inner, Section)
            names += keys(inner) if nested else [name]  # type: ignore[arg-type]
        return names

    missing = [key for key in keys(params.Params) if not re.search(rf"[`.]{key}[`.]", text)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_dependencies_all_have_a_reason() -> None:
    import tomllib

    text = (ROOT / "docs" / "dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [wanted for name, extra in project["optional-dependencies"].items() for wanted in extra]
    names = {re.split(r"[<>=;\[ ]", wanted)[0] for wanted in [*project["dependencies"], *extras]}
    missing = [
        name for name in sorted(names) if name not in text and not name.startswith("types-") and name != "pandas-stubs"
    ]
    assert missing == []


def test_locks_hold_no_address_and_only_hashes() -> None:
    own = [lock for room in ("loadtests/peers", "tests/clients") for lock in (ROOT / room).glob("*/requirements.txt")]
    for lock in [*(ROOT / "requirements").glob("*.txt"), *own]:
        text = lock.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert text.count("--hash=sha256:") >= len(re.findall(r"^[a-z0-9]\S*==", text, re.MULTILINE))


def test_a_bento_needs_no_training_package() -> None:
    lock = (ROOT / "requirements" / "serve.txt").read_text()
    names = set(re.findall(r"^([a-z0-9_.-]+)==", lock, re.MULTILINE))
    assert not names & {"pandas", "scikit-learn", "mlflow", "mlflow-skinny", "dvc", "pyarrow", "matplotlib"}
