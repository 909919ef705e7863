"""The notebooks run from the first cell to the last, and their answers are right."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = "optax-ltd/optax_ltd"
FROM_REPOSITORY = f"optax_ltd[experiments] @ git+https://github.com/{REPOSITORY}"
COLAB = "https://colab.research.google.com"
# There one cell more stands in front: JAX reads its flags when it is imported.
FLAGS_FIRST = "6_many_devices.ipynb"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _setup(path: Path) -> str:
    return _code(_read(path))[path.name == FLAGS_FIRST].source


def _value(cell: Any) -> str:
    return cell.outputs[-1].data["text/plain"]


def test_there_are_notebooks():
    assert [path.name[0] for path in NOTEBOOKS] == list("1234567")


@each_notebook
def test_a_notebook_is_committed_without_outputs(path: Path):
    notebook = _read(path)
    nbformat.validate(notebook)
    for cell in _code(notebook):
        assert not cell.outputs
        assert cell.execution_count is None


@each_notebook
def test_a_badge_opens_this_notebook_in_colab(path: Path):
    url = f"{COLAB}/github/{REPOSITORY}/blob/main/notebooks/{path.name}"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({url})"
    title, _, line, *_ = _read(path).cells[0].source.splitlines()
    assert title.startswith("# ")
    assert line == badge


@each_notebook
def test_notebooks_begin_with_the_same_cell(path: Path):
    assert _setup(path) == _setup(NOTEBOOKS[0])


@pytest.mark.parametrize(
    ("in_checkout", "in_index", "asked"),
    [
        (True, False, ["..[experiments]"]),
        (False, True, ["optax_ltd[experiments]"]),
        (False, False, ["optax_ltd[experiments]", FROM_REPOSITORY]),
    ],
    ids=["checkout", "released", "not released"],
)
def test_the_first_cell_installs_what_is_missing(
    in_checkout: bool,
    in_index: bool,
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    requirements = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        requirements.append(command[-1])
        found = "@" in command[-1] or in_index or in_checkout
        return SimpleNamespace(returncode=0 if found else 1)

    (tmp_path / "notebooks").mkdir()
    if in_checkout:
        (tmp_path / "optax_ltd").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    exec(_setup(NOTEBOOKS[0]), {})
    assert requirements == asked


def test_the_first_cell_leaves_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(subprocess, "run", None)
    exec(_setup(NOTEBOOKS[0]), {})
    assert re.fullmatch(r"\d+ × (CPU|GPU|TPU)\n", capsys.readouterr().out)


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_and_its_answer_is_right(path: Path, tmp_path: Path):
    notebook = _read(path)
    check = _code(notebook)[-1]
    answer = re.search(r"```python\n(.*?)```", notebook.cells[-1].source, re.DOTALL)
    assert answer, "The last cell has an answer to the exercise."
    cell = nbformat.v4.new_code_cell
    notebook.cells += [cell(answer[1]), cell(check.source)]
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert _value(check) == "False"
    assert _value(notebook.cells[-1]) == "True"
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    assert not [o.text for o in outputs if "Warning: " in o.get("text", "")]
