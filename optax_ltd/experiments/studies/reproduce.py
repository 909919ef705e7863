"""Reproduces a published result: records, picture, table."""

from pathlib import Path

from rich.console import Console

from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.studies.published import RESULTS


def reproduce(name: str, folder: Path, budget: Budget, console: Console) -> str:
    """Makes what a folder does not hold yet, and shows what all of it says.

    The folder gets a record of each run, a picture and a table.

    Args:
      name: of the result.
      folder: that is there.
      budget: of the runs.
      console: where progress goes.

    Returns:
      The table, in Markdown.

    Raises:
      InputError: if the folder holds runs of another budget of updates.
      KeyboardInterrupt: on Ctrl-C; the run in flight is lost.
    """
    result = RESULTS[name]
    result.make(folder, budget, console).savefig(folder / f"{name}.png")
    page = result.page(folder)
    (folder / f"{name}.md").write_text(page)
    return page
