"""The published results that can be made again, by name."""

from pathlib import Path

from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.studies.cliff.study import CliffStudy
from optax_ltd.experiments.studies.clip_variants import CLIP_VARIANTS
from optax_ltd.experiments.studies.figure7 import FIGURE7
from optax_ltd.experiments.studies.generalisation import GENERALISATION
from optax_ltd.experiments.studies.language import LANGUAGE
from optax_ltd.experiments.studies.pathological import PATHOLOGICAL
from optax_ltd.experiments.studies.predecessors.study import PREDECESSORS
from optax_ltd.experiments.studies.recipe import RECIPE
from optax_ltd.experiments.studies.record.study import RECORD
from optax_ltd.experiments.studies.result import Result
from optax_ltd.experiments.studies.study import Study
from optax_ltd.experiments.training.observer import Watch

STUDIES: dict[str, Study] = {
    "figure7": FIGURE7,
    "pathological": PATHOLOGICAL,
    "generalisation": GENERALISATION,
    "language": LANGUAGE,
    "clip-variants": CLIP_VARIANTS,
    "recipe": RECIPE,
    "predecessors": PREDECESSORS,
    "record": RECORD,
}
RESULTS: dict[str, Result] = {"cliff": CliffStudy(), **STUDIES}


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
