"""Version, dates, addresses and papers are the same wherever they stand."""

import ast
import datetime
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import optax_ltd as ltd

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = (ROOT / "CITATION.cff").read_text()
REPOSITORY = PROJECT["urls"]["Repository"]
OWNER, NAME = REPOSITORY.removeprefix("https://github.com/").split("/")

# An owner and a repository, in an address of GitHub, of Colab or of raw files.
_ADDRESS = re.compile(
    r"(?:github\.com|/github|githubusercontent\.com)[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?"
    r"(?=[^\w.-]|\.?$)",
    re.MULTILINE,
)
_PAGES = re.compile(r"https://([\w-]+)\.github\.io/([\w-]+)")
SPEAKING = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        "*.cff",
        "Makefile",
        "docs/**/*.*",
        "notebooks/*.ipynb",
        ".github/**/*.*",
        "optax_ltd/**/*.py",
    )
    for path in ROOT.glob(pattern)
    if path.suffix in {".md", ".toml", ".cff", "", ".py", ".ipynb", ".yml", ".html"}
)


def _ours(text: str) -> Iterator[tuple[str, str]]:
    """Owner and name in each address that means this repository."""
    for owner, name in [*_ADDRESS.findall(text), *_PAGES.findall(text)]:
        if "optax-ltd" in (owner.replace("_", "-"), name.replace("_", "-")):
            yield owner, name


def _field(name: str) -> str:
    (value,) = re.findall(rf"^{name}: (.*)$", CITATION, re.MULTILINE)
    return value


def _titles() -> set[str]:
    found = re.findall(r"^    title: (.*)$", CITATION, re.MULTILINE)
    return {title.strip('"').casefold() for title in found}


def _cited(text: str) -> set[str]:
    """Titles in italics, with or without an address."""
    found = re.findall(r"\*([^*]+)\*|`([^`<]+) <http[^>]*>`_", text)
    return {" ".join("".join(titles).split()).casefold() for titles in found}


def _docstrings() -> Iterator[str]:
    for path in sorted((ROOT / "optax_ltd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


def test_the_version_is_that_of_the_package():
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+", ltd.__version__)
    assert _field("version") == ltd.__version__


def test_the_changelog_has_the_version_and_its_date():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    dated = re.findall(r"^## \[(\d.*)\] - (\S+)$", changelog, re.MULTILINE)
    assert dated[0] == (ltd.__version__, _field("date-released"))
    assert datetime.date.fromisoformat(dated[0][1])


def test_the_addresses_of_the_project_agree():
    urls = PROJECT["urls"]
    assert urls["Issues"] == f"{REPOSITORY}/issues"
    assert urls["Changelog"] == f"{REPOSITORY}/blob/main/CHANGELOG.md"
    assert urls["Documentation"] == f"https://{OWNER}.github.io/{NAME}"
    assert _field("repository-code") == REPOSITORY
    assert _field("url") == urls["Documentation"]


def test_every_address_of_the_repository_is_this_one():
    found = {
        str(path.relative_to(ROOT)): set(_ours(path.read_text())) for path in SPEAKING
    }
    wrong = {path: ours for path, ours in found.items() if ours - {(OWNER, NAME)}}
    assert not wrong


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("see https://github.com/someone/optax_ltd.", [("someone", "optax_ltd")]),
        ("git+https://github.com/optax-ltd/ltd.git@main", [("optax-ltd", "ltd")]),
        (
            "colab.research.google.com/github/OWNER/optax_ltd/blob/main/a.ipynb",
            [("OWNER", "optax_ltd")],
        ),
        ("https://optax-ltd.github.io/optax/", [("optax-ltd", "optax")]),
        ("https://github.com/pascanur/trainingRNNs", []),
    ],
)
def test_an_address_of_the_repository_is_seen(text: str, ours: list[tuple[str, str]]):
    assert list(_ours(text)) == ours


def test_every_paper_is_in_the_citation():
    parts = [d.partition("References:\n")[2] for d in _docstrings()]
    cited = _cited("\n".join(parts))
    cited |= _cited((ROOT / "docs" / "guides" / "papers.md").read_text())
    assert len(cited) > 15
    assert cited <= _titles()


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actions_are_pinned_and_jobs_have_only_the_rights_they_name():
    assert WORKFLOWS
    for path in WORKFLOWS:
        text = path.read_text()
        for action in re.findall(r"uses: (.*)", text):
            pinned = r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}  # v[\d.]+"
            assert re.fullmatch(pinned, action), action
        assert "\npermissions: {}\n" in text
        assert "secrets." not in text


def test_the_pythons_that_are_tested_are_those_of_the_classifiers():
    told = " ".join(PROJECT["classifiers"])
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", text)
    assert re.findall(r"3\.\d+", matrix) == re.findall(r":: (3\.\d+)", told)
