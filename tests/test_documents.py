"""The README and the notebooks do what they say: their code runs, their links hold."""

import json
import re
from pathlib import Path

import pytest

import optax_ltd as ltd
from tests.slow import slow_but

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *GUIDES]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _code(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _cells(notebook: Path) -> list[dict]:
    return [
        c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"
    ]


def _source(cell: dict) -> str:
    """Returns a cell's Python; lines for the shell or for IPython do nothing."""
    return re.sub(
        r"^(\s*)[%!].*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE
    )


@pytest.mark.parametrize("page", slow_but(["README.md"], ["README.md", *GUIDES]))
def test_a_page_runs_as_written(page: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = _code(page)
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_names_and_links_exist(page: str):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link
    for path in re.findall(r"\bltd((?:\.[A-Za-z]\w*)+)", text):
        value = ltd
        for name in path.split(".")[1:]:
            value = getattr(value, name)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(notebook: Path):
    assert json.loads(notebook.read_text())["nbformat"] == 4
    for cell in _cells(notebook):
        assert not cell["outputs"]
        assert cell["execution_count"] is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_install_from_their_checkout(notebook: Path):
    """The package is not on PyPI; its name there may be anyone's."""
    lines = "\n".join("".join(cell["source"]) for cell in _cells(notebook))
    installed = re.findall(r"%pip install (?:--\S+ )*(.*)", lines)
    assert installed == ['"..[experiments]"']


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_run(notebook: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(_cells(notebook)):
        exec(compile(_source(cell), f"{notebook.name}, cell {number}", "exec"), names)
