"""The README and the guides do what they say: their code runs, their links hold."""

import re
from pathlib import Path

import pytest

import optax_ltd as ltd
from tests.slow import slow_but

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *GUIDES]


def _code(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


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
