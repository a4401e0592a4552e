"""Test 1: the service runs on what was locked, what its Bento asks for, and what its model was made with.

Known vulnerabilities are looked up by pip-audit. Where its database cannot be reached, that is said and nothing more:
versions are compared without it, and a test that is inconclusive for ever on a machine without a way out would no
longer be looked at.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from data.errors import BentocastError
from data.forecaster import verify
from data.verdict import Check, Outcome, Verdict
from deploy import locked
from monitoring import model
from monitoring.context import Context, Served
from monitoring.metrics import Sample
from monitoring.seen import NothingServedError, seen

Versions = dict[str, str]

LOCK = Path("requirements/serve.txt")
#: What pip-audit may take.
AUDIT_SECONDS = 120
#: It asks about every package: not at each turn of a test that runs every few minutes.
AUDIT_EVERY_SECONDS = 21_600


class UnknownError(BentocastError):
    """It is not known what something is made with."""


def check(context: Context) -> Verdict:
    """Gather what is known of versions, and judge it."""
    try:
        found = seen(context, 3_600)
    except NothingServedError as err:
        return Verdict.of([Check(name="versions", outcome=Outcome.INCONCLUSIVE, text=err.message)])
    samples = found.last(context, "model_dependency_info")
    running = _running(samples)
    asked: dict[str, Callable[[], Versions]] = {
        "the lock": lambda: locked.versions(LOCK, running.get("python")),
        "training": lambda: _trained(found.served),
    }
    if ":" in found.served.bento:  # else it is served from the project, and the lock is all there is
        asked["its Bento"] = lambda: locked.versions(
            model.bento_folder(found.served) / locked.IN_BENTO, running.get("python")
        )
    sources: dict[str, Versions] = {}
    checks = _several(samples)
    for name, read in asked.items():
        try:
            sources[name] = read()
        except BentocastError as err:
            checks.append(Check(name=f"versions of {name}", outcome=Outcome.INCONCLUSIVE, text=err.message))
    checks += judge(running, sources)
    if context.params.monitoring.dependencies.vulnerabilities:
        checks = _with(checks, vulnerabilities(_audit(LOCK, int(context.now // AUDIT_EVERY_SECONDS))))
    return Verdict.of(checks)


def judge(running: Versions, sources: Mapping[str, Versions]) -> list[Check]:
    """Whether the service runs on what others say it should.

    Args:
        running: by package, what the service runs on.
        sources: by name, what others say: the lock, the Bento, training. What one of them does not know of is left
            out; of Python the first two numbers count.
    """
    if not running:
        text = "the service does not say what it runs on (model_dependency_info): serve a Bento of this version"
        return [Check(name="versions", outcome=Outcome.INCONCLUSIVE, text=text)]
    checks = []
    for source, versions in sources.items():
        name = f"versions of {source}"
        common = sorted(set(running) & set(versions))
        wrong = [package for package in common if not _same(package, running[package], versions[package])]
        if wrong:
            checks += [
                _failed(name, f"{package}: the service runs {running[package]}, {source} has {versions[package]}")
                for package in wrong
            ]
        elif not common:
            text = f"{source} knows none of the {len(running)} packages that the service names"
            checks.append(Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text))
        else:
            text = f"{len(common)} packages are those of {source}"
            checks.append(Check(name=name, outcome=Outcome.PASS, text=text))
    return checks + _carried(sources.get("the lock"), sources.get("its Bento"))


def _carried(lock: Versions | None, bento: Versions | None) -> list[Check]:
    """Whether the Bento asks for what is locked, also for what other packages bring along."""
    if lock is None or bento is None:
        return []
    name = "the Bento's lock"
    wrong = [package for package in sorted({*lock, *bento}) if lock.get(package) != bento.get(package)]
    if not wrong:
        return [Check(name=name, outcome=Outcome.PASS, text=f"the Bento asks for the {len(lock)} packages of the lock")]
    return [
        _failed(
            name,
            f"{package}: the Bento asks for {bento.get(package, 'none')}, the lock has {lock.get(package, 'none')}",
        )
        for package in wrong
    ]


def vulnerabilities(report: Mapping[str, Any] | str) -> Check | str:
    """What pip-audit found: a check, or in words why it could not look.

    Args:
        report: its JSON, or why there is none.
    """
    if isinstance(report, str):
        return report
    name = "known vulnerabilities"
    # Where the database does not answer, pip-audit skips every package and says that nothing is known of any.
    skipped = [one for one in report.get("dependencies", []) if "vulns" not in one]
    packages = [one for one in report.get("dependencies", []) if "vulns" in one]
    if not packages:
        reason = skipped[0].get("skip_reason", "no reason given") if skipped else "its report is empty"
        return f"pip-audit looked nothing up: {reason}"
    bad = [
        f"{one['name']} {one['version']} has {', '.join(vuln['id'] for vuln in one['vulns'])}, mended in "
        f"{', '.join(sorted({fix for vuln in one['vulns'] for fix in vuln.get('fix_versions', [])})) or 'no version yet'}"
        for one in packages
        if one["vulns"]
    ]
    if bad:
        return _failed(name, f"{len(bad)} of {len(packages)} locked packages: {'; '.join(bad)}")
    text = f"none is known of {len(packages)} locked packages" + (f", {len(skipped)} were skipped" if skipped else "")
    return Check(name=name, outcome=Outcome.PASS, text=text)


def _with(checks: list[Check], found: Check | str) -> list[Check]:
    """Add what was found, or say in the last check that nothing was looked up."""
    if isinstance(found, Check):
        return [*checks, found]
    *before, last = checks
    return [*before, last.model_copy(update={"text": f"{last.text} (vulnerabilities were not looked up: {found})"})]


@functools.lru_cache(maxsize=1)
def _audit(lock: Path, _turn: int) -> dict[str, Any] | str:
    command = [
        "--requirement",
        str(lock),
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *command],
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"pip-audit did not end within {AUDIT_SECONDS} s"
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return f"pip-audit failed: {last[:200]}"
    return report


def _running(samples: Iterable[Sample]) -> Versions:
    return {one.labels["package"]: one.labels["version"] for one in samples}


def _several(samples: Iterable[Sample]) -> list[Check]:
    """Instances of one version that do not run on the same."""
    found: dict[str, set[str]] = {}
    for one in samples:
        found.setdefault(one.labels["package"], set()).add(one.labels["version"])
    return [
        _failed("versions of instances", f"{package}: instances run {' and '.join(sorted(versions))}")
        for package, versions in sorted(found.items())
        if len(versions) > 1
    ]


def _trained(served: Served) -> Versions:
    packages = verify(model.folder(served)).packages
    if not packages:
        raise UnknownError("the served model does not say what it was made with: train it again")
    return packages


def _same(package: str, one: str, other: str) -> bool:
    return locked.minor(one) == locked.minor(other) if package == "python" else one == other


def _failed(name: str, text: str) -> Check:
    return Check(name=name, outcome=Outcome.FAIL, text=text)
