"""What Martens and Sutskever (2011) report, and what came of it here."""

from optax_ltd.experiments.studies import cells, markdown
from optax_ltd.experiments.studies.predecessors.ways import (
    HESSIAN_FREE,
    STRUCTURAL,
    by_problem,
    is_long_string,
    title,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run

_HEADS = (
    "",
    "structural damping, published",
    "structural damping, here",
    "without, published",
    "without, here",
)


def claims(runs: Runs) -> str:
    """Their claims up to T = 200, beside the wrong answers of each seed at the end.

    Args:
      runs: of the study, by name.
    """
    made = {problem: of for problem, of in by_problem(runs).items() if _tried(of)}
    rows = [
        [
            title(task, length),
            "below 1 %",
            _told(of.get(STRUCTURAL.label)),
            "not learned" if is_long_string(task, length) else "–",
            _told(of.get(HESSIAN_FREE.label)),
        ]
        for (task, length), of in made.items()
    ]
    return markdown.table(_HEADS, rows)


def _tried(of: dict[str, Run]) -> bool:
    return not of.keys().isdisjoint({STRUCTURAL.label, HESSIAN_FREE.label})


def _told(run: Run | None) -> str:
    return "not run" if run is None else cells.wrong_at_the_end(run)
