"""Writes `benchmarks/reproduced/README.md`: what the records of `reproduce` say.

A folder holds what `optax-ltd reproduce NAME --output benchmarks/reproduced/NAME`
wrote: all of its runs, or those that were made so far.

    python -m benchmarks.reproduced
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optax_ltd.experiments.reproduce import CLIFF, cliff_page, page_of
from optax_ltd.experiments.run import Run
from optax_ltd.experiments.studies import STUDIES

FOLDER = Path(__file__).parent / "reproduced"
PAGE = FOLDER / "README.md"
_CLIFF_ALT = (
    "The loss over weight and bias of one unit, as a landscape and from above: plain "
    "descent is thrown far out at the cliff, clipped descent follows it to a solution."
)
HEADER = """\
# Published results, made again

<!-- Written by `python -m benchmarks.reproduced` from the records beside it. -->

`optax-ltd reproduce NAME` makes each of these; a budget of updates stands beside every
number. The records hold every test of every run.
"""


def page(folder: Path = FOLDER) -> str:
    """Returns the page.

    Args:
      folder: of the folders of records.
    """
    sections = [HEADER]
    if (folder / CLIFF).is_dir():
        entry = json.loads((folder / CLIFF / f"{CLIFF}.json").read_text())
        sections += [cliff_page(entry), _picture(CLIFF, _CLIFF_ALT)]
        sections += [_sources({CLIFF: entry})]
    for name in STUDIES:
        entries = records(folder / name)
        if entries:
            runs = {run: Run.from_dict(entry) for run, entry in entries.items()}
            sections += [page_of(name, runs), _picture(name, STUDIES[name].alt)]
            sections += [_sources(entries)]
    return "\n".join(sections)


def records(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The records of one result by the names of their runs, in its order.

    Args:
      folder: that `reproduce` wrote to.
    """
    names = STUDIES[folder.name].configs(1)
    paths = {name: folder / f"{name}.json" for name in names}
    return {
        name: json.loads(path.read_text())
        for name, path in paths.items()
        if path.exists()
    }


def _picture(name: str, alt: str) -> str:
    return f"![{alt}]({name}/{name}.png)\n"


def _sources(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence for each machine and set of versions that runs were made with."""
    told = []
    for entry in entries.values():
        seen = entry["environment"]
        versions = ", ".join(
            f"{name} {version}"
            for name, version in seen["packages"].items()
            if name in ("jax", "flax", "optax")
        )
        told.append(
            f"{seen['device']}, {seen['cores']} cores; Python {seen['python']}; "
            f"{versions}; {seen['date']}."
        )
    return "\n".join(dict.fromkeys(told)) + "\n"


def main() -> None:
    """Draws the pictures of the runs anew and writes the page."""
    for name, study in STUDIES.items():
        entries = records(FOLDER / name)
        if entries:
            runs = {run: Run.from_dict(entry) for run, entry in entries.items()}
            study.figure(runs).savefig(FOLDER / name / f"{name}.png")
    PAGE.write_text(page())
    print(f"Wrote {PAGE.name}")


if __name__ == "__main__":
    main()
