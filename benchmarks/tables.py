"""Writes `benchmarks/README.md`, and what other pages say of the records.

No number in them is typed. What stands there is told by the folders' objects.

    python -m benchmarks.tables
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks import marks
from benchmarks.benchmark import Measurement, Teller, find, measurements
from benchmarks.records import RESULTS, Entry
from benchmarks.sections import speed

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "benchmarks" / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
MODULE = "benchmarks.tables"
HEADER = """\
# Benchmarks

<!-- Written by `python -m benchmarks.tables` from the records in `results/`. -->

`make bench` runs all of these, `make bench ARGS="recurrent_cost"` one of them, and
writes this page anew from the records in `results/`, which hold every single timing. In
a table of times the contestants took turns in one process. A ratio is to the contestant
in *italics* in the same round; the numbers are the median of all rounds and, in
brackets, the quartiles. Compilation is not in them. `make bench-gpu` measures the cost
of Ω and of updates on a GPU or TPU, at the sizes that matter there and in less than
eight minutes; what was seen there ends in *on gpu* or *on tpu*. Where none was at hand,
programs were lowered for a GPU and looked at: tests hold how many steps a turn of a
loop takes there, and that measuring a norm needs no condition.

How far back networks learn, and by which method, stands on
[a page of its own](reproduced/README.md).
"""


def page(folder: Path = RESULTS, package: ModuleType = benchmarks) -> str:
    """The page: one section a measurement that has records.

    Args:
      folder: of the records.
      package: whose folders are the benchmarks.

    Returns:
      Its Markdown.
    """
    found = _records(folder, package)
    there = measurements(package)
    sections = [_section(name, there[name], found[name]) for name in found]
    return "\n".join([HEADER, *sections])


def told(text: str, folder: Path = RESULTS, package: ModuleType = benchmarks) -> str:
    """Another page with what the records say between those marks that it has.

    Args:
      text: the page.
      folder: of the records.
      package: whose folders are the benchmarks.

    Returns:
      The new text.
    """
    there = [heading for heading in headings(package) if _mark(heading) in text]
    found = _records(folder, package) if there else {}
    for heading in there:
        text = marks.between(text, _mark(heading), headings(package)[heading](found))
    return text


def headings(package: ModuleType = benchmarks) -> dict[str, Teller]:
    """What the records say in other pages, by the heading of its marks."""
    folders = find(package)
    rows = [row for benchmark in folders for row in benchmark.speed]
    of_folders = [benchmark.told.items() for benchmark in folders]
    every = dict(told for of_one in of_folders for told in of_one)
    return {**every, "Speed": partial(speed, rows)}


def _mark(heading: str) -> str:
    return marks.begin(heading, MODULE)


def _records(folder: Path, package: ModuleType) -> dict[str, list[Entry]]:
    """Records by the name of the measurement, these in the order of their names."""
    found: dict[str, list[Entry]] = {}
    for path in sorted(folder.glob("*.json")):
        entry = json.loads(path.read_text())
        found.setdefault(entry["benchmark"], []).append(entry)
    there = measurements(package)
    return {name: there[name].in_order(found[name]) for name in sorted(found)}


def _section(name: str, measurement: Measurement, entries: Sequence[Entry]) -> str:
    title = f"## {name.replace('_', ' ').capitalize()}"
    parts = [title, measurement.about, *measurement.parts(entries)]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    for path in PAGES:
        text = path.read_text()
        if (new := told(text)) != text:
            path.write_text(new)
    print(f"Wrote the pages from {len(list(RESULTS.glob('*.json')))} records")
