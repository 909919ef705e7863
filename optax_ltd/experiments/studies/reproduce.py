"""Reproduces a published result: records, picture, table."""

from pathlib import Path

from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.studies.published import RESULTS
from optax_ltd.experiments.training.observer import Watch


def reproduce(name: str, folder: Path, budget: Budget, watch: Watch) -> str:
    """Makes what a folder does not hold yet, and shows what all of it says.

    The folder gets a record of each run, a picture and a table.

    Args:
      name: of the result.
      folder: that is there.
      budget: that the result gave.
      watch: of what is made.

    Returns:
      The table, in Markdown.

    Raises:
      InputError: if the folder holds runs of another budget of updates.
    """
    result = RESULTS[name]
    result.make(folder, budget, watch).savefig(folder / f"{name}.png")
    page = result.page(folder)
    (folder / f"{name}.md").write_text(page)
    return page
