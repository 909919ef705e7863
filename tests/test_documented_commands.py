"""Command lines and files that the pages show are such as the commands take."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from optax_ltd import cli
from optax_ltd.experiments.training.sweep import read_sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(language: str) -> list[str]:
    fences = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [block for page in PAGES for block in fences.findall(page.read_text())]
    return [text for kind, text in found if kind == language]


LINES = [
    line
    for block in _blocks("")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("optax-ltd ")
]


def test_there_are_command_lines():
    assert len(LINES) > 5


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_has_options_that_exist(line: str):
    group = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    with group.make_context("optax-ltd", list(words)) as context:
        name, command, rest = group.resolve_command(context, words)  # pyright: ignore
        command.make_context(name, rest).close()


def test_sweeps_can_be_read(tmp_path: Path):
    blocks = _blocks("json")
    assert blocks
    for block in blocks:
        path = tmp_path / "sweep.json"
        path.write_text(block)
        assert len(read_sweep(path)) > 1
