"""Writes `benchmarks/reproduced/README.md`: what the records of `reproduce` say.

So does it write what `docs/guides/older_answers.md`, a notebook and the README tell of
them.

A folder holds what `optax-ltd reproduce NAME --output benchmarks/reproduced/NAME`
wrote: all of its runs, or those that were made so far.

    python -m benchmarks.reproduced
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import marks
from optax_ltd.experiments.studies.figure7 import FIGURE7, summary
from optax_ltd.experiments.studies.predecessors.side_by_side import side_by_side
from optax_ltd.experiments.studies.predecessors.study import PREDECESSORS
from optax_ltd.experiments.studies.predecessors.verdicts import verdicts
from optax_ltd.experiments.studies.published import RESULTS, STUDIES

FOLDER = Path(__file__).parent / "reproduced"
PAGE = FOLDER / "README.md"
ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
OLDER_ANSWERS = ROOT / "docs" / "guides" / "older_answers.md"
NOTEBOOK = ROOT / "notebooks" / "5_older_answers.ipynb"
_OLDER = marks.begin("The older answers", "benchmarks.reproduced")
# By heading of a page, the study that tells there what came out.
FINDINGS = {"The record": "record", "Lengths never seen": "generalisation"}
HEADER = """\
# Results

<!-- Written by `python -m benchmarks.reproduced` from the records beside it. -->

How far back networks learn, and by which method. `optax-ltd reproduce NAME` makes each
of these results, and a budget of updates stands beside every number. The records hold
every test of every run.
"""


def page(folder: Path = FOLDER) -> str:
    """Returns the page.

    Args:
      folder: of the folders of records.
    """
    sections = [HEADER]
    for name, result in RESULTS.items():
        entries = _entries(folder / name)
        if entries:
            picture = f"![{result.alt}]({name}/{name}.png)\n"
            sections += [result.page(folder / name), picture, _sources(entries)]
        else:
            sections.append(f"## {result.title}\n\nNot run yet.\n")
    return "\n".join(sections)


def older_answers(text: str, folder: Path = FOLDER) -> str:
    """The page of the older answers with what the records say between its marks.

    Args:
      text: the page.
      folder: of the folders of records.

    Returns:
      The new text.
    """
    runs = PREDECESSORS.runs(folder / "predecessors")
    told = side_by_side(runs) + "\n\n" + verdicts(runs) if runs else "Nothing yet."
    return marks.between(text, _OLDER, told)


def guide(text: str, folder: Path = FOLDER) -> str:
    """`older_answers`, and what came of lengths never seen.

    Args:
      text: the page.
      folder: of the folders of records.

    Returns:
      The new text.
    """
    return _with_findings(older_answers(text, folder), ["Lengths never seen"], folder)


def notebook(text: str, folder: Path = FOLDER) -> str:
    """The notebook of the older answers, whose one cell with marks tells the same.

    Args:
      text: the notebook.
      folder: of the folders of records.

    Returns:
      The new text.
    """
    content = json.loads(text)
    (cell,) = (cell for cell in content["cells"] if _OLDER in cell["source"])
    told = older_answers("".join(cell["source"]), folder)
    cell["source"] = told.splitlines(keepends=True)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def readme(text: str, folder: Path = FOLDER) -> str:
    """The README with what three studies came to between its marks.

    Args:
      text: the README.
      folder: of the folders of records.

    Returns:
      The new text.
    """
    told = summary(FIGURE7.runs(folder / "figure7"))
    mark = marks.begin("Results", "benchmarks.reproduced")
    text = marks.between(text, mark, told)
    return _with_findings(text, FINDINGS, folder)


def _with_findings(text: str, headings: Iterable[str], folder: Path) -> str:
    """A page with what studies found between its marks."""
    for heading in headings:
        name = FINDINGS[heading]
        study = STUDIES[name]
        runs = study.runs(folder / name)
        told = study.finding(runs) if runs else "Nothing yet."
        mark = marks.begin(heading, "benchmarks.reproduced")
        text = marks.between(text, mark, told)
    return text


def _entries(folder: Path) -> list[Mapping[str, Any]]:
    """The records that a folder holds, if it is there."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def _sources(entries: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for each machine and set of versions that runs were made with."""
    told = []
    for entry in entries:
        seen = entry["environment"]
        versions = ", ".join(
            f"{name} {version}"
            for name, version in seen["packages"].items()
            if name in ("jax", "flax", "optax")
        )
        cores = "1 core" if seen["cores"] == 1 else f"{seen['cores']} cores"
        commit = seen.get("commit")
        commit = f"commit {commit[:8]}" if commit else "commit not recorded"
        told.append(
            f"{seen['device']}, {cores}; Python {seen['python']}; {versions}; "
            f"{seen['date']}, {commit}."
        )
    return "\n".join(dict.fromkeys(told)) + "\n"


def main() -> None:
    """Draws the pictures of the runs anew and writes the page."""
    for name, study in STUDIES.items():
        runs = study.runs(FOLDER / name)
        if runs:
            study.figure(runs).savefig(FOLDER / name / f"{name}.png")
    PAGE.write_text(page())
    OLDER_ANSWERS.write_text(guide(OLDER_ANSWERS.read_text()))
    NOTEBOOK.write_text(notebook(NOTEBOOK.read_text()))
    README.write_text(readme(README.read_text()))
    print("Wrote the pages")


if __name__ == "__main__":
    main()
