"""Table 5 of Sutskever et al., and the same of the runs here."""

from collections.abc import Mapping

import numpy as np

from optax_ltd.experiments.studies import cells, markdown
from optax_ltd.experiments.studies.predecessors.ways import (
    NUMBERS,
    WAYS,
    configs,
    title,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run

# What an output without a look at the inputs attains; SGD; Nesterov's momentum (N) and
# the classical (M) by their last coefficient.
COLUMNS = ("biases", "0", ".9N", ".98N", ".995N", ".9M", ".98M", ".995M")

# Averages over 4 seeds: the share of numbers that are off by more than .04, and the
# wrong symbols of a string.
PUBLISHED: Mapping[tuple[str, int], tuple[float, ...]] = {
    ("addition", 80): (0.82, 0.39, 0.02, 0.21, 0.00025, 0.43, 0.62, 0.036),
    ("multiplication", 80): (0.84, 0.48, 0.36, 0.22, 0.0013, 0.029, 0.025, 0.37),
    ("memorization_5bit", 200): (2.5, 1.27, 1.02, 0.96, 0.63, 1.12, 1.09, 0.92),
    ("memorization_20bit", 80): (8.0, 5.37, 2.77, 0.0144, 5e-5, 1.75, 0.0017, 0.053),
}


def table_5(runs: Runs) -> str:
    """The published numbers, and beside them the same of each way here.

    Args:
      runs: of the study, by name.
    """
    asked = configs(1)
    theirs = [
        [f"{column}, published", *(f"{of[place]:g}" for of in PUBLISHED.values())]
        for place, column in enumerate(COLUMNS)
    ]
    ours = [
        [f"{way.label}, here"]
        + [
            _told(runs.get(run)) if (run := f"{task}-{length}-{name}") in asked else "–"
            for task, length in PUBLISHED
        ]
        for name, way in WAYS.items()
    ]
    heads = ["", *(title(*problem) for problem in PUBLISHED)]
    return markdown.table(heads, [*theirs, *ours])


def _told(run: Run | None) -> str:
    """What the table tells, at the end, averaged over seeds; NaN with one of them."""
    if run is None:
        return "not run"
    last = run.evaluations[-1]
    values = last.error if run.config.task in NUMBERS else last.measures["symbols"]
    mean = float(np.mean(cells.unless_nan(last, values)))
    return cells.number(mean, ".2g") + cells.shorter(run)
