"""What came out of runs, as tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from optax_ltd.experiments.studies.cells import (
    each,
    number,
    solved_after,
    wrong_at_the_end,
)
from optax_ltd.experiments.training.evaluate import Reach
from optax_ltd.experiments.training.run import Run


def results_table(runs: Sequence[Run]) -> Table:
    """One row a run, by the title of its method; one may have been cut short.

    Args:
      runs: any number, each tested.
    """
    return _table("Method", [(run.title, run) for run in runs])


def sweep_table(runs: Mapping[str, Run]) -> Table:
    """One row a run, by its name.

    Args:
      runs: by name.
    """
    return _table("Run", list(runs.items()))


def reach_table(reaches: Sequence[Reach]) -> Table:
    """One row a length.

    Args:
      reaches: what came out at each.
    """
    table = _new_table("Length", "One number per seed.")
    for column in ("Loss", "Error, %"):
        table.add_column(column, justify="right")
    for reach in reaches:
        table.add_row(
            f"{reach.length:,}",
            " ".join(number(loss, ".3g") for loss in reach.loss),
            each(100 * reach.error, 1),
        )
    return table


def _table(first: str, runs: Sequence[tuple[str, Run]]) -> Table:
    table = _new_table(
        first,
        "One number per seed. A seed that has solved trains on until all have, and may "
        "lose it again; the network that solved is kept.",
    )
    for column in ("Updates", "Solved", "Solved after", "Final error, %", "Inf/NaN"):
        table.add_column(column, justify="right")
    grows = any(run.config.grow_from for _, run in runs)
    if grows:
        table.add_column("Grown to", justify="right")
    for name, run in runs:
        nonfinite = run.evaluations[-1].nonfinite
        table.add_row(
            name,
            f"{run.update:,}",
            f"{run.num_solved} of {run.config.seeds}",
            solved_after(run),
            wrong_at_the_end(run),
            " ".join(f"{count:,}" for count in nonfinite),
            *([f"{run.longest:,}"] if grows else []),
        )
    return table


def _new_table(first: str, caption: str) -> Table:
    return Table(
        Column(first, overflow="fold"),  # names that end alike stay apart
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=caption,
        caption_justify="left",
    )
