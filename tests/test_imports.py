"""Imports run one way through the house, and a Bento takes along all that it imports and nothing heavy."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
#: What each room may import of the others: those before it on the way.
ALLOWED = {
    "data": set[str](),
    "training": {"data"},
    "service": {"data"},
    "deploy": {"data", "training", "service"},
    "monitoring": {"data", "training", "service", "deploy", "loadtests"},  # of the last, what spoils a Bento
    "loadtests": {"data", "training"},  # of training, where MLflow is
}
#: What the rooms of deploy/ may import of it. Who judges knows no processes, and who runs them knows no rollout.
WITHIN_DEPLOY = {
    "judging": {"faults"},
    "router": {"faults", "versions"},
    "running": {"faults", "journal", "journals", "place", "ports", "router", "versions"},
    "simulation": {"judging", "rollouts"},
    "kubernetes": {"faults"},
}
#: What a Bento never carries.
HEAVY = {"pandas", "sklearn", "mlflow", "dvc", "pyarrow", "onnx", "skl2onnx", "matplotlib", "tqdm", "pandera", "fsspec"}
HEAVY |= {"dask", "distributed"}
#: What these import where they use it, with an error that says how to install it: a server never comes there.
OPTIONAL = {"data/cluster.py": {"dask", "distributed"}, "service/batch/arrow.py": {"pyarrow"}}


#: Scripts that run in processes (and most in virtual environments) of their own, so no module of the house imports
#: them; the one that trains the models of the serving benchmark must use the training itself.
APART = ROOT / "loadtests/peers"


def modules(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if not path.is_relative_to(APART))


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, also in a function or for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            raise AssertionError(f"{path}:{node.lineno}: an import that cannot be read")
    return found


def top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def optional(path: Path) -> set[str]:
    return OPTIONAL.get(str(path.relative_to(ROOT)), set())


def files(name: str) -> set[Path]:
    """The files of the project that importing a dotted name runs: its packages and itself."""
    parts = name.split(".")
    if parts[0] not in ALLOWED:
        return set()
    places = [ROOT.joinpath(*parts[:length]) for length in range(1, len(parts) + 1)]
    made = [place.with_suffix(".py") for place in places] + [place / "__init__.py" for place in places]
    return {path for path in made if path.exists()}


def included() -> set[Path]:
    """The modules that a Bento takes along; the page's files are none."""
    patterns = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    found = {pattern: set(ROOT.glob(pattern)) for pattern in patterns}
    assert all(found.values()), f"bentofile.yaml includes what is not there: {found}"
    return {path for path in itertools.chain.from_iterable(found.values()) if path.suffix == ".py"}


def test_every_room_is_known() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(ALLOWED), f"say what {packages - set(ALLOWED)} may import"
    assert {"data", "training", "service"} <= packages
    assert all(len(modules(room)) > 3 for room in ("data", "training", "service"))


@pytest.mark.parametrize("room", list(ALLOWED))
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    others = set(ALLOWED) - {room}
    back = {
        str(path.relative_to(ROOT)): sorted(reached)
        for path in modules(room)
        if (reached := (top(imports(path)) & others) - ALLOWED[room])
    }
    assert not back, f"arrows that run back: {back}"


@pytest.mark.parametrize("room", list(WITHIN_DEPLOY))
def test_a_room_within_deploy_imports_only_rooms_before_it(room: str) -> None:
    paths = sorted((ROOT / "deploy" / room).rglob("*.py"))
    assert len(paths) > 3
    reached = {
        name.split(".")[1] for path in paths for name in imports(path) if name.startswith("deploy.") and files(name)
    }
    assert reached - {room} <= WITHIN_DEPLOY[room]


@pytest.mark.parametrize("room", list(ALLOWED))
def test_a_room_does_not_import_its_tests(room: str) -> None:
    assert not [path for path in modules(room) if "tests" in top(imports(path))]


def test_nothing_imports_what_stands_apart() -> None:
    own = {str(path.relative_to(ROOT)): imports(path) for room in ALLOWED for path in modules(room)}
    assert not {path for path, names in own.items() if any(name.startswith("loadtests.peers") for name in names)}


def test_rooms_do_not_go_round_in_circles() -> None:
    left = dict(ALLOWED)
    while left:
        free = [room for room, wants in left.items() if not wants & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]


def test_few_modules_of_training_know_mlflow_and_bentoml() -> None:
    knowing = {path.stem for path in modules("training") if top(imports(path)) & {"mlflow", "bentoml"}}
    assert knowing == {"tracking", "registry", "mlflow_errors", "bento"}


def test_a_bento_takes_along_all_that_it_imports() -> None:
    taken = included()
    missing = {
        f"{path.relative_to(ROOT)} imports {name}": sorted(str(file.relative_to(ROOT)) for file in gone)
        for path in sorted(taken)
        for name in imports(path)
        if (gone := files(name) - taken)
    }
    assert not missing, f"add to bentofile.yaml's include: {missing}"


def test_a_bento_takes_along_the_whole_room_of_the_service() -> None:
    """All its folders, with the page and the generated messages; not what only those need who make them."""
    made_from = {".proto", ".pyi", ".pyc"}
    here = {path for path in (ROOT / "service").rglob("*") if path.is_file() and path.suffix not in made_from}
    patterns = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    taken = set(itertools.chain.from_iterable(ROOT.glob(pattern) for pattern in patterns))
    assert {path for path in taken if path.is_relative_to(ROOT / "service")} == here
    assert {path.suffix for path in here} >= {".py", ".html", ".js"}


def test_a_bento_takes_along_nothing_that_it_does_not_import() -> None:
    taken = included()
    reached = {path for path in taken if path.is_relative_to(ROOT / "service")}
    waiting = list(reached)
    while waiting:
        for name in imports(waiting.pop()):
            new = files(name) - reached
            reached |= new
            waiting += new
    unused = {str(path.relative_to(ROOT)) for path in taken - reached}
    assert not unused, f"in bentofile.yaml's include, but imported by nobody: {unused}"


def test_a_bento_imports_nothing_heavy() -> None:
    heavy = {str(path.relative_to(ROOT)): (top(imports(path)) - optional(path)) & HEAVY for path in included()}
    assert not {path: names for path, names in heavy.items() if names}


def test_a_bento_imports_only_what_its_requirements_install() -> None:
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements/serve.txt").read_text(), re.MULTILINE)
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in locked}
    assert not installed & (HEAVY - {"fsspec"} | {"scikit-learn", "mlflow-skinny"})  # BentoML itself needs fsspec
    distributions = importlib.metadata.packages_distributions()
    known = set(sys.stdlib_module_names) | set(ALLOWED)
    for path in sorted(included()):
        for name in sorted(top(imports(path)) - known - optional(path)):
            owners = {re.sub(r"[-_.]+", "-", owner).lower() for owner in distributions.get(name, [])}
            assert owners & installed, f"{path.relative_to(ROOT)} imports {name}, which serve.txt does not install"


def test_a_bentos_files_can_be_imported_alone(tmp_path: Path) -> None:
    """Only the included files, in a folder of their own, where importing anything heavy raises."""
    names = []
    for path in sorted(included()):
        place = path.relative_to(ROOT)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / place)
        # Of these the first looks for a model as it is imported, and both import BentoML, which needs fsspec.
        if place not in (Path("service/app.py"), Path("service/image.py")):
            names.append(".".join(place.with_suffix("").parts).removesuffix(".__init__"))
    code = (
        "import importlib, sys\n"
        f"for heavy in {sorted(HEAVY | {'training'})}:\n    sys.modules[heavy] = None\n"
        f"for name in {names}:\n    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
