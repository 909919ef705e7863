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
_NEAR = 0.9  # of the seeds


class _Claim(NamedTuple):
    """Something that is said of the older answers.

    Attributes:
      told: The sentence.
      ways: Whose seeds are counted; the claim is about the first.
      keeps: Whether a run is of those that it is about.
      near: Whether the first is said to come near the other, and not to do better.
    """

    told: str
    ways: Sequence[Way]
    keeps: Callable[[Run], bool]
    near: bool = False


def _any(_: Run) -> bool:
    return True


def _is_long(run: Run) -> bool:
    return run.config.lengths[1] > LONG


def _is_long_string(run: Run) -> bool:
    return is_long_string(run.config.task, run.config.lengths[1])


CLAIMS = (
    # So say Martens and Sutskever (2011) of memorization, and less of other tasks.
    _Claim(
        f"Structural damping matters for memorization beyond lag {LONG}",
        [STRUCTURAL, HESSIAN_FREE],
        _is_long_string,
    ),
    _Claim(
        f"Structural damping matters beyond lag {LONG}, whatever the task",
        [STRUCTURAL, HESSIAN_FREE],
        _is_long,
    ),
    _Claim(
        "Nesterov comes near Hessian-free",
        [NESTEROV, STRUCTURAL],
        _any,
        near=True,
    ),
    _Claim(
        "The LSTM with SGD does better than both",
        [LSTM, NESTEROV, STRUCTURAL],
        _any,
    ),
)


def verdicts(runs: Runs) -> str:
    """A verdict on each claim, of the problems that all ways in it were tried on.

    It is undecided where chance may have made the difference; p is that of the claim's
    way beside the best of the others.

    Args:
      runs: of the study, by name.
    """
    return " ".join(_verdict(claim, runs) for claim in CLAIMS)


def _verdict(claim: _Claim, runs: Runs) -> str:
    about = {name: run for name, run in runs.items() if claim.keeps(run)}
    made = _made_by_all(claim.ways, about)
    problems = len(made[0])
    if not problems:
        return f"*{claim.told}*: not run yet."
    counts = [sum(run.num_solved for run in of) for of in made]
    told = ", ".join(
        f"{way.label} {count} in {cells.minutes(*of)} min"
        for way, count, of in zip(claim.ways, counts, made, strict=True)
    )
    seeds = sum(run.config.seeds for run in made[0])
    of = f"of {seeds} networks on {problems} problem{'s' if problems > 1 else ''}"
    p = fisher.p_of_shares(counts[0], max(counts[1:]), seeds)
    sure = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    pair = "the two" if len(counts) == 2 else "the first and the better other"
    answer = _answer(claim, counts, p)
    return f"*{claim.told}*: {answer} ({of}: {told}; {sure} between {pair})."


def _answer(claim: _Claim, counts: Sequence[int], p: float) -> str:
    first, best = counts[0], max(counts[1:])
    if claim.near and first >= max(1, _NEAR * best):
        return "yes"
    if p >= _BY_CHANCE:
        return "undecided"
    return "no" if claim.near or first < best else "yes"


def _made_by_all(ways: Sequence[Way], runs: Runs) -> list[list[Run]]:
    """The runs of each way, of the problems that all of some ways were tried on.

    Args:
      ways: one or more.
      runs: by name.
    """
    labels = [way.label for way in ways]
    shared = [of for of in by_problem(runs).values() if of.keys() >= set(labels)]
    return [[of[label] for of in shared] for label in labels]
