"""What the records say of the chapter's sentences."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from optax_ltd.experiments.studies.predecessors.ways import (
    HESSIAN_FREE,
    LSTM,
    NESTEROV,
    STRINGS,
    STRUCTURAL,
    WAYS,
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


def _is_string(run: Run) -> bool:
    """Whether it is of a string over more than 50 steps."""
    return run.config.task in STRINGS and run.config.lengths[1] > 50


CLAIMS = (
    _Claim(
        "Structural damping matters beyond lag 50",
        [STRUCTURAL, HESSIAN_FREE],
        _is_string,
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
    """How many seeds solved their tasks, and a verdict on each sentence of the chapter.

    Args:
      runs: of the study, by name.
    """
    solved = [
        f"{way.label} {_told(counted[0], asked)}"
        for way in WAYS.values()
        for counted, asked in [_counted([way], runs)]
        if asked
    ]
    return " ".join(
        [
            f"Seeds that solved their task: {'; '.join(solved)}.",
            *(_verdict(claim, runs) for claim in CLAIMS),
        ]
    )


def _verdict(claim: _Claim, runs: Runs) -> str:
    about = {name: run for name, run in runs.items() if claim.keeps(run)}
    counts, asked = _counted(claim.ways, about)
    if not asked:
        return f"*{claim.told}*: not run yet."
    told = ", ".join(
        f"{way.label} {_told(count, asked)}"
        for way, count in zip(claim.ways, counts, strict=True)
    )
    answer = "yes" if claim.holds(counts) else "no"
    return f"*{claim.told}*: {answer if any(counts) else 'undecided'} ({told})."


def _told(count: int, asked: int) -> str:
    return f"{count} of {asked}"


def _counted(ways: Sequence[Way], runs: Runs) -> tuple[list[int], int]:
    """Seeds that solved the tasks, at the lengths, that all of some ways have run.

    Args:
      ways: one or more.
      runs: by name.

    Returns:
      The count of each way, and how many seeds each had.
    """
    labels = [way.label for way in ways]
    made = [
        [of[label] for label in labels]
        for of in by_problem(runs).values()
        if of.keys() >= set(labels)
    ]
    counts = [sum(of[i].num_solved for of in made) for i in range(len(ways))]
    return counts, sum(of[0].config.seeds for of in made)
