"""What the records say of what the chapter and its papers claim."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from optax_ltd.experiments.studies import cells
from optax_ltd.experiments.studies.predecessors import fisher
from optax_ltd.experiments.studies.predecessors.ways import (
    HESSIAN_FREE,
    LONG,
    LSTM,
    NESTEROV,
    STRUCTURAL,
    Way,
    by_problem,
    is_long_string,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run

_BY_CHANCE = 0.05  # from this p on


class _Claim(NamedTuple):
    """Something that is said of the older answers.

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
    return run.config.lengths[1] > LONG


def _is_long_string(run: Run) -> bool:
    return is_long_string(run.config.task, run.config.lengths[1])


CLAIMS = (
    _Claim(
        f"Structural damping matters beyond lag {LONG}",
        [STRUCTURAL, HESSIAN_FREE],
        _is_long,
        lambda counts: counts[0] > counts[1],
    ),
    _Claim(
        f"It matters for memorization beyond lag {LONG}",
        [STRUCTURAL, HESSIAN_FREE],
        _is_long_string,
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
    """A verdict on each claim, of the tasks that all ways in it have run.

    It goes by counts, and tells so where chance may have made the difference; p is that
    of the claim's way beside the best of the others.

    Args:
      runs: of the study, by name.
    """
    return " ".join(_verdict(claim, runs) for claim in CLAIMS)


def _verdict(claim: _Claim, runs: Runs) -> str:
    about = {name: run for name, run in runs.items() if claim.keeps(run)}
    made = _made_by_all(claim.ways, about)
    tasks = len(made[0])
    if not tasks:
        return f"*{claim.told}*: not run yet."
    counts = [sum(run.num_solved for run in of) for of in made]
    told = ", ".join(
        f"{way.label} {count} in {cells.minutes(*of)} min"
        for way, count, of in zip(claim.ways, counts, made, strict=True)
    )
    seeds = sum(run.config.seeds for run in made[0])
    of = f"of {seeds} seeds in {tasks} task{'s' if tasks > 1 else ''}"
    p = fisher.p_of_shares(counts[0], max(counts[1:]), seeds)
    answer = "yes" if claim.holds(counts) else "no"
    if not any(counts):
        answer = "undecided"
    elif p >= _BY_CHANCE:
        answer = f"{answer}, by count"
    sure = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    pair = "the two" if len(counts) == 2 else "the first and the better other"
    return f"*{claim.told}*: {answer} ({of}: {told}; {sure} between {pair})."


def _made_by_all(ways: Sequence[Way], runs: Runs) -> list[list[Run]]:
    """The runs of each way, of the tasks and lengths that all of some ways have run.

    Args:
      ways: one or more.
      runs: by name.
    """
    labels = [way.label for way in ways]
    shared = [of for of in by_problem(runs).values() if of.keys() >= set(labels)]
    return [[of[label] for of in shared] for label in labels]
