"""What the records say of the chapter's sentences."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from optax_ltd.experiments.studies.predecessors.ways import (
    HESSIAN_FREE,
    LSTM,
    NESTEROV,
    STRUCTURAL,
    Way,
    by_problem,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run


class _Claim(NamedTuple):
    """A sentence of the chapter.

    Attributes:
      told: The sentence.
      ways: Whose seeds are counted; the claim is about the first.
      keeps: Whether a run is of those that it is about.
      holds: From the counts, whether it is so.
    """

    told: str
    ways: Sequence[Way]
    keeps: Callable[[Run], bool]
    holds: Callable[[Sequence[int]], bool]


def _any(_: Run) -> bool:
    return True


def _is_long(run: Run) -> bool:
    """Whether it is over more than 50 steps."""
    return run.config.lengths[1] > 50


CLAIMS = (
    _Claim(
        "Structural damping matters beyond lag 50",
        [STRUCTURAL, HESSIAN_FREE],
        _is_long,
        lambda counts: counts[0] > counts[1],
    ),
    _Claim(
        "Nesterov comes near Hessian-free",
        [NESTEROV, STRUCTURAL],
        _any,
        # Nine of ten seeds, for what is near.
        lambda counts: counts[0] >= 0.9 * counts[1],
    ),
    _Claim(
        "The LSTM with SGD does better than both",
        [LSTM, NESTEROV, STRUCTURAL],
        _any,
        lambda counts: counts[0] > max(counts[1:]),
    ),
)


def verdicts(runs: Runs) -> str:
    """A verdict on each sentence of the chapter, of the tasks that all in it have run.

    Args:
      runs: of the study, by name.
    """
    return " ".join(_verdict(claim, runs) for claim in CLAIMS)


def _verdict(claim: _Claim, runs: Runs) -> str:
    about = {name: run for name, run in runs.items() if claim.keeps(run)}
    counts, seeds, tasks = _counted(claim.ways, about)
    if not tasks:
        return f"*{claim.told}*: not run yet."
    told = ", ".join(
        f"{way.label} {count}" for way, count in zip(claim.ways, counts, strict=True)
    )
    answer = "yes" if claim.holds(counts) else "no"
    if not any(counts):
        answer = "undecided"
    of = f"of {seeds} seeds in {tasks} task{'s' if tasks > 1 else ''}"
    return f"*{claim.told}*: {answer} ({of}: {told})."


def _counted(ways: Sequence[Way], runs: Runs) -> tuple[list[int], int, int]:
    """Seeds that solved the tasks, at the lengths, that all of some ways have run.

    Args:
      ways: one or more.
      runs: by name.

    Returns:
      The count of each way, how many seeds each had, and how many tasks.
    """
    labels = [way.label for way in ways]
    made = [
        [of[label] for label in labels]
        for of in by_problem(runs).values()
        if of.keys() >= set(labels)
    ]
    counts = [sum(of[i].num_solved for of in made) for i in range(len(ways))]
    return counts, sum(of[0].config.seeds for of in made), len(made)
