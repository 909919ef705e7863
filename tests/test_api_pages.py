"""The pages of the API have every public name, once."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

import optax_ltd as ltd

ROOT = Path(__file__).resolve().parent.parent
INDEX, *PAGES = sorted(
    (ROOT / "docs" / "api").glob("*.rst"), key=lambda path: path.stem != "index"
)
DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|automodule|autofunction|autoclass):: (\S+)$", re.MULTILINE
)
EXPERIMENTS = import_module("optax_ltd.experiments")


def _names(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", [])
    return [name for name in names if not isinstance(vars(module)[name], ModuleType)]


def _public() -> list[str]:
    """What a user may write, from `optax_ltd` on."""
    inside = [value for value in vars(ltd).values() if isinstance(value, ModuleType)]
    public = [value for value in inside if value.__name__.count("._") == 0]
    return [
        f"{module.__name__}.{name}"
        for module in {ltd, EXPERIMENTS, *public}
        for name in _names(module)
    ]


def _documented(page: Path) -> list[str]:
    found, module = [], ""
    for kind, name in DIRECTIVE.findall(page.read_text()):
        if kind == "currentmodule":
            module = name
        elif kind == "automodule":
            found += [f"{name}.{inside}" for inside in _names(import_module(name))]
        else:
            found.append(f"{module}.{name}")
    return found


def test_every_public_name_is_on_one_page():
    assert len(_public()) > 50
    assert Counter(name for page in PAGES for name in _documented(page)) == Counter(
        _public()
    )


def test_the_first_page_leads_to_every_name_and_page():
    text = INDEX.read_text()
    written = [name for name in _public() if not name.startswith(EXPERIMENTS.__name__)]
    tables, _, pages = text.rpartition(".. toctree::")
    listed = re.findall(r"^   ([\w.]+)$", tables, re.MULTILINE)
    assert sorted(f"optax_ltd.{name}" for name in listed) == sorted(written)
    assert pages.split()[1:] == re.findall(r"<(\w+)>`", tables)
    assert sorted(pages.split()[1:]) == sorted(page.stem for page in PAGES)
