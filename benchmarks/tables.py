"""Writes `benchmarks/README.md`, and what the README says of the records.

No number in either is typed. What stands there is told by the folders' objects.

    python -m benchmarks.tables
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks import marks
from benchmarks.benchmark import Measurement, find, measurements
from benchmarks.records import RESULTS, Entry

PAGE = Path(__file__).parent / "README.md"
README = Path(__file__).parent.parent / "README.md"
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


def readme(text: str, folder: Path = RESULTS, package: ModuleType = benchmarks) -> str:
    """The README with what the records say between its marks.

    Args:
      text: the README.
      folder: of the records.
      package: whose folders are the benchmarks.

    Returns:
      The new text.
    """
    found = _records(folder, package)
    for benchmark in find(package):
        for heading, tell in benchmark.readme.items():
            mark = marks.begin(heading, "benchmarks.tables")
            text = marks.between(text, mark, tell(found))
    return text


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
    README.write_text(readme(README.read_text()))
    print(f"Wrote both pages from {len(list(RESULTS.glob('*.json')))} records")
