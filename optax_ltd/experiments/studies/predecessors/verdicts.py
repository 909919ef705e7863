"""What the records say of the chapter's sentences."""

from collections.abc import Sequence

from optax_ltd.experiments.studies.predecessors.ways import (
    HESSIAN_FREE,
    LSTM,
    NESTEROV,
    STRINGS,
    STRUCTURAL,
    WAYS,
    Way,
    way_of,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run


def verdicts(runs: Runs) -> str:
    """How many seeds solved their tasks, and comparisons of those that ran the same.

    Args:
      runs: of the study, by name.
    """
    alone = [_counted([way], runs) for way in WAYS.values()]
    told = [f"Seeds that solved their task: {'; '.join(filter(None, alone))}."]
    for heading, ways, keeps in (
        ("Structural damping beyond lag 50", [STRUCTURAL, HESSIAN_FREE], _is_string),
        ("Nesterov beside Hessian-free", [NESTEROV, STRUCTURAL], _any),
        ("The LSTM beside both", [LSTM, NESTEROV, STRUCTURAL], _any),
    ):
        counted = _counted(ways, {n: run for n, run in runs.items() if keeps(run)})
        told += [f"{heading}: {counted}."] if counted else []
    return " ".join(told)


def _any(_: Run) -> bool:
    return True


def _is_string(run: Run) -> bool:
    """Whether it is of a string over more than 50 steps."""
    return run.config.task in STRINGS and run.config.lengths[1] > 50


def _counted(ways: Sequence[Way], runs: Runs) -> str:
    """Seeds that solved their tasks, of the tasks and lengths that all ways ran.

    Args:
      ways: one or more.
      runs: by name.

    Returns:
      The count of each way, or nothing where there are no such tasks.
    """
    by_way = {
        way.label: {
            (run.config.task, run.config.length): run
            for run in runs.values()
            if way_of(run.config) == way
        }
        for way in ways
    }
    shared = set.intersection(*map(set, by_way.values()))
    told = []
    for label, made in by_way.items():
        kept = [made[problem] for problem in shared]
        solved = sum(run.num_solved for run in kept)
        told.append(f"{label} {solved} of {sum(run.config.seeds for run in kept)}")
    return ", ".join(told) if shared else ""
