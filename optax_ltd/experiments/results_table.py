"""What came out of runs, as tables for the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from optax_ltd.experiments.evaluate import Reach
from optax_ltd.experiments.run import Run


def results_table(runs: Sequence[Run]) -> Table:
    """One row a run, by the title of its method; one may have been cut short.

    Args:
      runs: any number.
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
            " ".join(f"{loss:.3g}" for loss in reach.loss),
            _percent(reach.error),
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
    for name, run in runs:
        if not run.evaluations:
            continue
        last, solved_at = run.evaluations[-1], run.solved_at
        solved = len(solved_at) - solved_at.count(None)
        table.add_row(
            name,
            f"{last.update:,}",
            f"{solved} of {run.config.seeds}",
            " ".join("–" if update is None else f"{update:,}" for update in solved_at),
            _percent(last.error),
            " ".join(f"{count:,}" for count in last.nonfinite),
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


def _percent(shares: np.ndarray) -> str:
    return " ".join(f"{100 * share:.1f}" for share in shares)
