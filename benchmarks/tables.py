"""Writes `benchmarks/README.md`, and what the README says of Ω's cost.

Both come from the records: no number in either is typed.

    python -m benchmarks.tables
"""

import ast
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    clip_bias_tables,
    fault_tables,
    kill_tables,
    recurrent_tables,
    update_tables,
)
from benchmarks.markdown import spread
from benchmarks.records import RESULTS
from optax_ltd.experiments.studies.markdown import table

PAGE = Path(__file__).parent / "README.md"
README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- What Ω costs: written by `python -m benchmarks.tables`. -->\n"
END = "<!-- End of what the records say. -->\n"
HEADER = """\
# Benchmarks

<!-- Written by `python -m benchmarks.tables` from the records in `results/`. -->

`make bench` runs all of these, `make bench ARGS="recurrent_cost"` one of them, and
writes this page anew from the records in `results/`, which hold every single timing. In
a table of times the contestants took turns in one process. A ratio is to the contestant
in *italics* in the same round; the numbers are the median of all rounds and, in
brackets, the quartiles. Compilation is not in them.

How far back networks learn, and by which method, stands on
[a page of its own](reproduced/README.md).
"""
NO_GPU = "No record was taken on a GPU yet."
Entry = Mapping[str, Any]

# A benchmark's records as one table; or a table of targets, then one a record with
# the times of all contestants.
ONE_TABLE: dict[str, Callable[[Sequence[Entry]], str]] = {
    "clip_bias": clip_bias_tables.angles,
    "faulty_gradients": fault_tables.guards,
    "kill_and_resume": kill_tables.kills,
    "recurrent_length": recurrent_tables.length,
    "recurrent_memory": recurrent_tables.memory,
}
TIMED = {"recurrent_cost": recurrent_tables, "update_cost": update_tables}
IN_ORDER = {
    "recurrent_cost": recurrent_tables.in_order,
    "recurrent_memory": recurrent_tables.in_order,
    "update_cost": update_tables.in_order,
}


def page(folder: Path = RESULTS) -> str:
    """Returns the page: one section a benchmark."""
    sections = [_section(name, found) for name, found in _records(folder).items()]
    return "\n".join([HEADER, *sections])


def readme(text: str, folder: Path = RESULTS) -> str:
    """Returns the README with what the records say of Ω's cost between its marks.

    Args:
      text: the README.
      folder: of the records.
    """
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    found = _records(folder)
    costs, memories = (found.get(f"recurrent_{x}", []) for x in ("cost", "memory"))
    parts = [recurrent_tables.readme(costs, memories), *_gpu_or_not(costs)]
    told = "\n\n".join([*parts, *recurrent_tables.long_sequence(memories)])
    return f"{before}{BEGIN}\n{told}\n\n{_sources([*costs, *memories])}\n\n{END}{after}"


def _records(folder: Path) -> dict[str, list[Entry]]:
    """Records by benchmark."""
    found: dict[str, list[Entry]] = {}
    for path in sorted(folder.glob("*.json")):
        entry = json.loads(path.read_text())
        found.setdefault(entry["benchmark"], []).append(entry)
    return {name: IN_ORDER.get(name, list)(entries) for name, entries in found.items()}


def _section(name: str, entries: list[Entry]) -> str:
    parts = [f"## {name.replace('_', ' ').capitalize()}", _about(name)]
    if name in ONE_TABLE:
        parts += [ONE_TABLE[name](entries), _sources(entries)]
    else:
        tables = TIMED[name]
        parts += [tables.targets(entries), *_gpu_or_not(entries)]
        for entry in entries:
            parts += [f"### {tables.title(entry)}", _table(entry)]
            parts += [*_failures(entry), _source(entry)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _gpu_or_not(entries: Sequence[Entry]) -> list[str]:
    """Says so where no record was taken on a GPU."""
    seen = {entry["environment"]["platform"] for entry in entries}
    return [] if "gpu" in seen else [NO_GPU]


def _about(name: str) -> str:
    """Returns the docstring of the module that made the records, if it is there."""
    path = Path(__file__).parent / f"{name}.py"
    if not path.exists():
        return ""
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text())) or "")


def _table(entry: Entry) -> str:
    rows = []
    for name, seen in entry["contestants"].items():
        shown = f"*`{name}`*" if name == entry["measure"] else f"`{name}`"
        times = {key: 1e3 * value for key, value in seen["seconds"].items()}
        compiled = f"{seen['compile_seconds']:.1f} s"
        rows.append([shown, spread(seen["ratio"]), spread(times), compiled])
    return table(["contestant", "ratio", "milliseconds", "compiled in"], rows)


def _failures(entry: Entry) -> list[str]:
    """Says what those raised that cannot do what is measured."""
    return [
        f"`{name}` cannot do this: `{error}`"
        for name, error in entry.get("failed", {}).items()
    ]


def _sources(entries: Sequence[Entry]) -> str:
    """Returns the sentences that tell where records come from, each once."""
    return "\n\n".join(dict.fromkeys(_source(entry) for entry in entries))


def _source(entry: Entry) -> str:
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
    parts = [device, f"Python {seen['python']}", versions]
    if "rounds" in entry:
        parts.insert(0, f"{entry['rounds']} rounds")
    return f"{'; '.join(parts)}; {seen['date']}, commit {commit}."


if __name__ == "__main__":
    PAGE.write_text(page())
    README.write_text(readme(README.read_text()))
    print(f"Wrote both pages from {len(list(RESULTS.glob('*.json')))} records")
