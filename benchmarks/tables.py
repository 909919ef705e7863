"""Writes `benchmarks/README.md` from the records: no number there is typed.

python -m benchmarks.tables
"""

import ast
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.records import RESULTS

PAGE = Path(__file__).parent / "README.md"
HEADER = """\
# Benchmarks

<!-- Written by `python -m benchmarks.tables` from the records in `results/`. -->

`make bench` runs all of these and writes this page anew from the records in `results/`,
which hold every single timing. In a table the contestants took turns in one process. A
ratio is to the contestant in *italics* in the same round; the numbers are the median of
all rounds and, in brackets, the quartiles. Compilation is not in them.
"""


def page(folder: Path = RESULTS) -> str:
    """Returns the page: one section a benchmark, one table a record."""
    entries = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    benchmarks: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        benchmarks.setdefault(entry["benchmark"], []).append(entry)
    sections = [_section(name, found) for name, found in benchmarks.items()]
    return "\n".join([HEADER, *sections])


def _section(name: str, entries: list[dict[str, Any]]) -> str:
    parts = [f"## {name.replace('_', ' ').capitalize()}", _about(name)]
    for entry in entries:
        parts += [f"### {_words(entry['case'])}", _table(entry), _where(entry)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(name: str) -> str:
    """Returns the docstring of the module that made the records, if it is there."""
    path = Path(__file__).parent / f"{name}.py"
    if not path.exists():
        return ""
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text())) or "")


def _table(entry: Mapping[str, Any]) -> str:
    rows = ["| | ratio | milliseconds | compiled in |", "|---|---|---|---|"]
    for name, seen in entry["contestants"].items():
        shown = f"*`{name}`*" if name == entry["measure"] else f"`{name}`"
        ratio, time = _range(seen["ratio"], 1), _range(seen["seconds"], 1e3)
        rows.append(f"| {shown} | {ratio} | {time} | {seen['compile_seconds']:.1f} s |")
    return "\n".join(rows)


def _range(values: Mapping[str, float], unit: float) -> str:
    low, mid, high = (unit * values[key] for key in ("lower", "median", "upper"))
    return f"{mid:.3g} ({low:.3g} to {high:.3g})"


def _where(entry: Mapping[str, Any]) -> str:
    """Returns one sentence: configuration, device, versions, commit."""
    seen = entry["environment"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in seen["packages"].items()
        if version and name != "optax_ltd"
    )
    commit = (seen["commit"] or "unknown")[:8]
    commit += " with changes" if seen["modified"] else ""
    device = f"{seen['devices']} {seen['device']}, {seen['cores']} cores"
    parts = [f"{entry['rounds']} rounds", device, f"Python {seen['python']}", versions]
    if "config" in entry:
        parts.insert(0, _words(entry["config"]))
    return f"{'; '.join(parts)}; {seen['date']}, commit {commit}."


def _words(fields: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in fields.items()
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"Wrote {PAGE.name} from {len(list(RESULTS.glob('*.json')))} records")
