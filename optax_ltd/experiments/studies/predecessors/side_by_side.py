"""The ways in columns and the tasks in rows: which solved what, and how soon."""

from optax_ltd.experiments.studies import cells, markdown
from optax_ltd.experiments.studies.predecessors.ways import (
    LENGTHS,
    WAYS,
    by_problem,
    title,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run


def side_by_side(runs: Runs) -> str:
    """Seeds that solved each task by each way, and the minutes of all seeds' updates.

    Where sequences have not grown to the task's length, it is told how far they came;
    where the last test found fewer to solve it, how many. A task that no way was tried
    on is left out.

    Args:
      runs: of the study, by name.
    """
    made = by_problem(runs)
    labels = [way.label for way in WAYS.values()]
    rows = [
        [
            title(task, length),
            *(_told(made[task, length].get(label)) for label in labels),
        ]
        for task, lengths in LENGTHS.items()
        for length in lengths
        if (task, length) in made
    ]
    return markdown.table(["", *labels], rows)


def _told(run: Run | None) -> str:
    if run is None:
        return "not run"
    solved = f"{run.num_solved} of {run.config.seeds}{cells.still(run)}"
    return f"{solved}{cells.shorter(run)} ({cells.minutes(run)} min)"
