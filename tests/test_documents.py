"""The README and the guides do what they say: their code runs, their links hold."""

import re
from pathlib import Path

import pytest

import optax_ltd as ltd

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *GUIDES]


def _code(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _run(page: str, blocks: list[str]) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def _anchors(page: Path) -> list[str]:
    """What the headings of a page are called in a link, as GitHub and the site do."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings]


def test_the_front_door_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With a few updates; `test_a_page_runs_twice` makes all of them."""
    monkeypatch.chdir(tmp_path)
    blocks, length = _code("README.md"), re.compile(r"^UPDATES = .*$", re.MULTILINE)
    assert length.search("".join(blocks))
    _run("README.md", [length.sub("UPDATES = 2", block) for block in blocks])


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _code(page)])
def test_a_page_runs_twice(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In one folder, for that is what readers do."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        _run(page, _code(page))


@pytest.mark.parametrize("page", PAGES)
def test_names_and_links_exist(page: str):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        target = folder / link if link else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), f"{link}#{anchor}"
    for path in re.findall(r"(?<!-)\bltd((?:\.[A-Za-z]\w*)+)", text):
        value = ltd
        for name in path.split(".")[1:]:
            value = getattr(value, name)
