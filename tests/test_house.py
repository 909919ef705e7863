"""The shape of the house: imports run downwards, files are short, names are one."""

import ast
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks
import optax_ltd
from benchmarks.benchmark import Benchmark, find

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "optax_ltd"
BENCHMARKS = ROOT / "benchmarks"
EVERYWHERE = {"jax", "jaxlib", "numpy", "chex"}

# A room is a file or folder of the package; "" is optax_ltd/__init__.py, the public
# surface. Each may import from the rooms listed for it, and from no other.
ARROWS = {
    "_numerics": set(),
    "initializers": {"_numerics"},
    "tasks": {"_numerics"},
    "_transforms": {"_numerics"},
    "_second_order": {"_numerics", "_transforms"},
    "_recurrent": {"_numerics"},
    "_flax": {"_numerics", "_recurrent"},
    "linen": {"_flax"},
    "plots": {"_numerics", "_recurrent"},
}
ARROWS[""] = set(ARROWS)
ARROWS["experiments"] = {"", *ARROWS}
ARROWS["cli"] = {"experiments", *ARROWS}

# A room of many files has wings, and a root that they share. A row says what a wing, or
# the root, or a file of the root that others build on, may import from the rest of its
# room.
WINGS: dict[str, set[str]] = {
    "_recurrent": set(),
    "_recurrent.carry_clip": set(),
    "_recurrent.groups": set(),
    "_recurrent.options": {"_recurrent.carry_clip", "_recurrent.groups"},
    "_recurrent.cell": set(),
    "_recurrent.flow": {
        "_recurrent.cell",
        "_recurrent.groups",
        "_recurrent.options",
    },
    "_recurrent.call": {"_recurrent.flow", "_recurrent.options"},
    "_recurrent.loop": {
        "_recurrent.carry_clip",
        "_recurrent.groups",
        "_recurrent.options",
        "_recurrent.cell",
        "_recurrent.flow",
        "_recurrent.call",
    },
    "_recurrent.unroll": {
        "_recurrent.groups",
        "_recurrent.options",
        "_recurrent.cell",
        "_recurrent.flow",
        "_recurrent.call",
        "_recurrent.loop",
    },
    "_flax": set(),
    "_flax.nnx": {"_flax"},
    "_flax.linen": {"_flax"},
    "experiments": set(),
    "experiments.__init__": {"experiments.training"},
    "experiments.parts": {"experiments"},
    "experiments.training": {"experiments", "experiments.parts"},
    "experiments.studies": {
        "experiments",
        "experiments.parts",
        "experiments.training",
    },
    "experiments.terminal": {
        "experiments.parts",
        "experiments.training",
        "experiments.studies",
    },
}

# What a room may import from outside, beside the standard library and EVERYWHERE.
OUTSIDE = {
    "_transforms": {"optax"},
    "_second_order": {"optax"},
    "_flax": {"flax"},
    "plots": {"matplotlib"},
    "experiments": {"optax", "flax", "matplotlib", "rich", "orbax", "scipy"},
    "cli": {"typer", "rich"},
}

LONGEST_FILE = 400
LONGEST_FUNCTION = 45  # lines of body, the docstring apart
MOST_FILES = 15  # in a folder

PACKAGE_FILES = sorted(PACKAGE.rglob("*.py"))
BENCHMARK_FILES = sorted(BENCHMARKS.rglob("*.py"))
FILES = [
    *PACKAGE_FILES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *BENCHMARK_FILES,
]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _room(path: Path) -> str:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if room == "__init__" else room


def _wing(room: str, *inside: str) -> str:
    """The wing of a module, from its path below the package; or its room."""
    wing = f"{room}.{inside[0]}" if inside else ""
    return wing if wing in WINGS else room


def _wing_of(path: Path) -> str:
    return _wing(*path.relative_to(PACKAGE).with_suffix("").parts)


def _imports(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yields the line and full name of everything a file imports."""
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{a.name}") for a in node.names)


def _upward(path: Path, text: str) -> list[str]:
    """Lists the imports of one file that its room does not allow."""
    room, wrong = _room(path), []
    for line, name in _imports(path, text):
        top, *rest = name.split(".")
        if top == "optax_ltd":
            there = rest[0] if rest and rest[0] in ARROWS else ""
            allowed = there == room or there in ARROWS.get(room, set())
            if there == room and room in WINGS:
                wing, other = _wing_of(path), _wing(*rest)
                allowed = other == wing or other in WINGS[wing]
        else:
            allowed = top in EVERYWHERE | OUTSIDE.get(room, set())
            allowed = allowed or top in sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{path.name}:{line} imports {name}")
    return wrong


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_imports_run_downwards(path: Path):
    assert _room(path) in ARROWS, "a new room: say in ARROWS what it may import"
    assert not _upward(path, path.read_text())


def test_every_room_and_every_arrow_between_rooms_is_there():
    """A room that may import all below it needs no arrow to each."""
    used = {room: set[str]() for room in ARROWS}
    for path in PACKAGE_FILES:
        for _, name in _imports(path, path.read_text()):
            top, *rest = name.split(".")
            if top == "optax_ltd":
                used[_room(path)].add(rest[0] if rest and rest[0] in ARROWS else "")
    narrow = {room: there for room, there in ARROWS.items() if "" not in there and room}
    assert {room: used[room] - {room} for room in narrow} == narrow


def test_every_package_that_a_room_may_import_is_imported():
    used = {room: set[str]() for room in OUTSIDE}
    for path in PACKAGE_FILES:
        if (room := _room(path)) in OUTSIDE:
            names = (name for _, name in _imports(path, path.read_text()))
            used[room] |= {name.split(".")[0] for name in names}
    assert {room: used[room] & there for room, there in OUTSIDE.items()} == OUTSIDE


def test_every_wing_and_every_arrow_between_wings_is_there():
    """No folder of a room with wings goes without a row."""
    used = {wing: set[str]() for wing in WINGS}
    for path in PACKAGE_FILES:
        room, wing = _room(path), _wing_of(path)
        if room in WINGS:
            names = (
                name.split(".")[1:] for _, name in _imports(path, path.read_text())
            )
            used[wing] |= {_wing(*rest) for rest in names if rest and rest[0] == room}
            assert wing != room or path.parent == PACKAGE / room, "a wing without a row"
    assert {wing: there - {wing} for wing, there in used.items()} == WINGS


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("_recurrent/x.py", "import optax"),
        ("_recurrent/x.py", "from flax import nnx"),
        ("_recurrent/x.py", "from .._transforms import metrics"),
        ("_recurrent/x.py", "from optax_ltd import _flax"),
        ("_transforms/x.py", "def f():\n    from optax_ltd._recurrent import unroll"),
        ("_transforms/x.py", "from .. import metrics"),
        ("_numerics/x.py", "from .._transforms import metrics"),
        ("_transforms/x.py", "from .._second_order import hessian_free"),
        ("tasks/x.py", "from optax_ltd import _transforms"),
        ("plots.py", "import flax.nnx"),
        ("_flax/linen/x.py", "from ... import experiments"),
        ("__init__.py", "from . import experiments"),
        ("_recurrent/cell/x.py", "from ..loop import streams"),
        ("_recurrent/options.py", "from .unroll import unroll"),
        ("experiments/parts/x.py", "from optax_ltd.experiments.training import run"),
        ("experiments/training/x.py", "from ..terminal.progress import Bars"),
        ("experiments/studies/x.py", "from optax_ltd.experiments import terminal"),
        ("experiments/x.py", "from .parts import config"),
    ],
)
def test_an_import_upwards_is_seen(file: str, line: str):
    assert _upward(PACKAGE / file, line)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("_recurrent/unroll.py", "from .call import Call\nfrom .. import _numerics"),
        ("_flax/linen/x.py", "from ..._recurrent import unroll\nfrom .y import z"),
        ("experiments/x.py", "import optax_ltd as ltd"),
        ("experiments/training/x.py", "from ..parts import config"),
        ("experiments/training/x.py", "from ..input_error import InputError"),
        (
            "__init__.py",
            "from ._transforms.metrics import metrics\nfrom . import tasks",
        ),
    ],
)
def test_an_import_downwards_passes(file: str, line: str):
    assert not _upward(PACKAGE / file, line)


def _sideways(path: Path, text: str) -> list[str]:
    """Lists the imports of a file of the benchmarks from the folder of another."""
    found = pkgutil.iter_modules([str(BENCHMARKS)])
    own = path.relative_to(BENCHMARKS).parts[0]
    others = {f"benchmarks.{module.name}" for module in found if module.ispkg}
    others -= {f"benchmarks.{own}"}
    return [
        f"{path.name}:{line} imports {name}"
        for line, name in _imports(path, text)
        if ".".join(name.split(".")[:2]) in others
    ]


@pytest.mark.parametrize("path", BENCHMARK_FILES, ids=_name)
def test_a_benchmark_imports_no_other(path: Path):
    assert not _sideways(path, path.read_text())


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("updates/cost.py", "from benchmarks.recurrent.settings import NNX"),
        ("updates/cost.py", "from benchmarks import records, recurrent"),
        ("recurrent/contestants/x.py", "from ...updates import cost"),
        ("tables.py", "import benchmarks.recurrent"),
    ],
)
def test_an_import_from_another_benchmark_is_seen(file: str, line: str):
    assert _sideways(BENCHMARKS / file, line)
    assert not _sideways(BENCHMARKS / "recurrent" / "x.py", "from . import settings")


def test_each_folder_of_benchmarks_exports_its_object():
    folders = {path.parent for path in BENCHMARKS.glob("*/*.py")}
    found = find(benchmarks)
    assert len(found) == len(folders)
    assert all(isinstance(benchmark, Benchmark) for benchmark in found)


@pytest.mark.parametrize(
    "top", [PACKAGE, BENCHMARKS, ROOT / "tests" / "benchmarks"], ids=_name
)
def test_no_folder_is_crowded(top: Path):
    """But that of the transformations, one a file."""
    files = [path.parent for path in top.rglob("*.py") if path.stem != "__init__"]
    full = {folder for folder in files if files.count(folder) > MOST_FILES}
    assert full <= {PACKAGE / "_transforms"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_and_functions_are_short(path: Path):
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1
                assert length <= LONGEST_FUNCTION, f"{node.name}, line {node.lineno}"


def _public_modules() -> dict[str, ModuleType]:
    surface = vars(optax_ltd).items()
    modules = {
        k: v for k, v in surface if inspect.ismodule(v) and k in optax_ltd.__all__
    }
    return {"optax_ltd": optax_ltd} | {f"optax_ltd.{k}": v for k, v in modules.items()}


def _public_objects() -> Iterator[tuple[str, object]]:
    for path, module in _public_modules().items():
        for name in getattr(module, "__all__", ()):
            yield f"{path}.{name}", getattr(module, name)


def test_the_surface_is_complete():
    assert len(optax_ltd.__all__) == len(set(optax_ltd.__all__))
    met = {
        name
        for name, value in vars(optax_ltd).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert met <= set(optax_ltd.__all__)
    assert all(hasattr(module, "__all__") for module in _public_modules().values())


def test_a_name_has_one_public_path():
    paths: dict[int, list[str]] = {}
    for path, value in _public_objects():
        if callable(value):
            paths.setdefault(id(value), []).append(path)
    assert not [same for same in paths.values() if len(same) > 1]


def test_every_public_object_has_a_docstring():
    bare = [
        path
        for path, value in _public_objects()
        if not (isinstance(value, str) or (inspect.getdoc(value) or "").strip())
    ]
    assert not bare


def test_every_public_function_has_an_example_that_runs():
    for path, value in _public_objects():
        if inspect.isfunction(value) or value is optax_ltd.tasks.Task:
            text = inspect.getdoc(value) or ""
            assert ">>> " in text, path
            assert "+SKIP" not in text, path


def test_the_surface_defines_nothing():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    kinds = {type(node) for node in tree.body}
    assert kinds <= {ast.Import, ast.ImportFrom, ast.Assign, ast.Expr}


def test_importing_the_package_is_light():
    """Drawing, command line and checkpoints are imported by those who use them."""
    seen = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"
    ours, theirs = (
        set(json.loads(subprocess.check_output([sys.executable, "-c", seen.format(m)])))
        for m in ("optax_ltd", "flax.nnx, flax.linen, optax")
    )
    heavy = {"matplotlib", "typer", "click", "rich", "orbax", "orbax.checkpoint"}
    heavy |= {"optax_ltd.experiments", "optax_ltd.cli"}
    assert not heavy & (ours - theirs)
