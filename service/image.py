"""The image that `bentoml containerize` builds: small, not root, nothing in it that compiles.

BentoML writes the Dockerfile and lets a service add shell commands. What it writes by itself is 1.2 GB: it installs a
compiler, git and the installer into the image that serves. Here all that stays in a first stage. A command of BentoML's
may be followed by further lines of a Dockerfile, and that is how the second stage begins; docs/decisions/0017-image.md.
"""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

from _bentoml_sdk.images import Image

#: `bentofile.yaml` names it too: where it names none, BentoML takes its own, with the compiler.
BASE = "python:3.11-slim"
PYTHON = "3.11"
#: BentoML's own names and numbers, which its template uses before and after ours.
BENTO, USER = "/home/bentoml/bento", 1034
#: Where a container may write: the record of forecasts, BentoML's home.
STATE = "/home/bentoml/state"
#: Rooms whose modules are compiled once, since a container cannot write its own.
COMPILED = ("data", "service")
#: Needed where Bentos are built only.
INSTALLER = Path(__file__).parents[1] / "requirements" / "uv.txt"
#: Without the folder of the script on the path: a module `http` lies there.
CHECK = ["python", "-IS", "src/service/healthcheck.py"]
#: What packages bring along for those who build or test them, and no program reads.
UNREAD = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.cpp", "*.h", "*.hpp", "*.a")


class Slim(Image):  # type: ignore[misc] # BentoML has no types
    """BentoML's image, with a second stage."""

    def freeze(self, bento_fs: Path, envs: list[Any], platform_: str | None = None) -> Any:
        """What goes into `bento.yaml`, from which `bentoml containerize` writes the Dockerfile.

        Args:
            bento_fs: folder of the Bento that is being built.
            envs: variables that `bentofile.yaml` sets.
            platform_: whose packages to lock.
        """
        kept = [f"ENV {env.name}={shlex.quote(env.value)}" for env in envs if env.value and env.stage != "build"]
        staged = copy.copy(self)
        staged.commands = [*self.commands, _installer()]
        staged.build_include_paths = [*self.build_include_paths, *COMPILED]
        staged.post_commands = [*self.post_commands, _second_stage(self.base_image, kept)]
        return Image.freeze(staged, bento_fs, envs, platform_)


def _second_stage(base: str, envs: list[str]) -> str:
    """The last command of the first stage, and the lines that begin the second."""
    unread = " -o ".join(f"-name '{name}'" for name in UNREAD)
    lines = [
        "cd /app/.venv/lib && find . -depth -type d -name tests -exec rm -rf {} + && \\",
        f"    find . -type f \\( {unread} \\) -delete && \\",
        # By content, which nobody compares: what is copied into a layer has other file times. One that is no Python may fail.
        "    (python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash . || true) && \\",
        f"    python -m compileall -q -j 0 --invalidation-mode unchecked-hash {BENTO}/src && mkdir /state",
        f"# What serves: the packages, the Bento, and a user to whom only {STATE} belongs.",
        f"FROM {base}",
        "COPY --from=base-container /etc/passwd /etc/group /etc/",
        "COPY --from=base-container /app/.venv /app/.venv",
        f"COPY --from=base-container {BENTO}/src {BENTO}/src",
        f"COPY --from=base-container --chown={USER}:{USER} /state {STATE}",
        'ENV PATH="/app/.venv/bin:$PATH" LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1',
        f"ENV BENTO_PATH={BENTO} BENTOML_HOME={STATE} HOME={STATE}",
        "ENV BENTOML_HOST=0.0.0.0 BENTOML_CONTAINERIZED=true BENTOML_DO_NOT_TRACK=True",
        *envs,
        f"VOLUME {STATE}",
        f"WORKDIR {BENTO}",
        f"HEALTHCHECK --start-period=30s --interval=10s --timeout=3s CMD {json.dumps(CHECK)}",
        "EXPOSE 3001",
    ]
    return "\n".join(lines)


def _installer() -> str:
    """Install uv as it is locked, before BentoML's template would take the newest."""
    locked = " ".join(line.rstrip(" \\") for line in INSTALLER.read_text().splitlines() if not line.startswith("#"))
    wanted = "/tmp/uv.txt"  # noqa: S108 - in the image that is being built
    return f"echo {shlex.quote(locked)} >{wanted} && pip install --quiet --no-cache-dir --require-hashes -r {wanted}"


#: No distribution that BentoML knows, for which it would install a compiler and git.
IMAGE = Slim(base_image=BASE, distro="none", python_version=PYTHON, lock_python_packages=False)
