"""`docs/architecture.md` names every room that there is, and none that is not."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_house import ARROWS, OUTSIDE, PACKAGE, ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
PROSE = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w./]+(?:/|\.py|\.md))`", PROSE)))
SURFACE = "optax_ltd/__init__.py"


def _tree() -> Iterator[Path]:
    """Every file and folder, but for what Python leaves behind."""
    files = [path for path in ROOT.glob("*") if path.is_file()]
    for top in ("optax_ltd", "tests", "benchmarks", "docs"):
        files += [path for path in (ROOT / top).rglob("*") if path.is_file()]
    for path in files:
        if "__pycache__" not in path.parts:
            yield from (path, *path.parents)


TREE = {path for path in _tree() if path.is_relative_to(ROOT)}
FOLDERS = {parent for path in TREE for parent in path.parents} & TREE


def _places(name: str) -> list[Path]:
    """What a name may mean: a path from the root or the package, or the end of one."""
    for base in (ROOT, PACKAGE):
        if base / name in TREE:
            return [base / name]
    end = "/" + name.rstrip("/")
    return [path for path in TREE if path.as_posix().endswith(end)]


def _rooms(folder: Path) -> set[Path]:
    """The folders and the Python files of a folder, at one level."""
    return {
        path
        for path in TREE
        if path.parent == folder
        and (path in FOLDERS or path.suffix == ".py")
        and path.name != "__init__.py"
    }


HOUSE = _rooms(PACKAGE)
WINGED = {room for room in HOUSE if _rooms(room) & FOLDERS}
ROOMS = sorted(
    HOUSE.union(*map(_rooms, [*WINGED, ROOT / "tests", ROOT / "benchmarks"]))
)


def test_what_it_names_is_there_and_one_place():
    assert NAMED
    wrong = {
        name: found
        for name in NAMED
        if len(found := _places(name)) != 1
        or (found[0] in FOLDERS) != name.endswith("/")
    }
    assert not wrong


def test_every_room_is_named():
    named = {place for name in NAMED for place in _places(name)}
    assert not [str(room.relative_to(ROOT)) for room in ROOMS if room not in named]


def test_its_arrows_and_packages_are_those_of_the_house():
    table = TEXT.partition("| room |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:5] for line in table.splitlines()[2:]]
    rooms = [re.findall(r"`(.*?)(?:/|\.py)?`", row[0])[0] for row in rows]
    rooms = ["" if f"{room}.py" == SURFACE else room for room in rooms]
    arrows, outside = {}, {}
    for i, (room, (_, _, allowed, packages)) in enumerate(
        zip(rooms, rows, strict=True)
    ):
        below = set(rooms[i + 1 :])
        some = set(re.findall(r"`(.*?)`", allowed))
        assert some <= below
        arrows[room] = below if "all below" in allowed else some
        outside[room] = set(re.findall(r"\w+", packages.lower()))
    assert arrows == ARROWS
    assert {room: names for room, names in outside.items() if names} == OUTSIDE


def test_its_links_to_itself_lead_somewhere():
    headings = re.findall(r"^## (.*)$", PROSE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#(.*?)\)", PROSE)) == anchors
