"""What came out of a run, as it stands in a cell of a table."""

from collections.abc import Iterable

import numpy as np

from optax_ltd.experiments.studies import intervals
from optax_ltd.experiments.training.run import Evaluation, Run


def solved(run: Run) -> str:
    """How many seeds solved the task, with the interval of their share.

    Where the last test found fewer, it also tells how many.

    Args:
      run: any that was tested.
    """
    count, seeds = run.num_solved, run.config.seeds
    lower, upper = intervals.of_share(count, seeds)
    return f"{count} of {seeds} ({100 * lower:.0f}–{100 * upper:.0f} %){still(run)}"


def still(run: Run) -> str:
    """Behind a number of solved seeds: how many the last test found, if fewer.

    Args:
      run: any that was tested.
    """
    count = run.num_solved_at_the_end
    return "" if count == run.num_solved else f", {count} at the end"


def solved_after(run: Run) -> str:
    """Updates after which each seed had solved the task.

    Args:
      run: any.
    """
    return updates(run.solved_at)


def updates(reached: Iterable[int | None]) -> str:
    """Numbers of updates, one after the other.

    Args:
      reached: by seed; None where something was not reached.
    """
    return " ".join("–" if at is None else f"{at:,}" for at in reached)


def wrong_at_the_end(run: Run) -> str:
    """Wrong answers in the last test, in %, a number a seed; NaN where its loss is.

    Args:
      run: any that was tested.
    """
    last = run.evaluations[-1]
    return each(100 * unless_nan(last, last.error), 1)


def unless_nan(test: Evaluation, values: np.ndarray) -> np.ndarray:
    """Numbers of a test; NaN in place of those of seeds whose loss is NaN.

    Args:
      test: any.
      values: [seeds].
    """
    return np.where(np.isnan(test.test_loss), np.nan, values)


def shorter(run: Run) -> str:
    """Behind a number of the last test: its length, if not yet that of the task.

    Args:
      run: any that was tested.
    """
    return f" at T = {run.longest:,}" if run.is_growing else ""


def minutes(*runs: Run) -> str:
    """The minutes that the updates of all seeds took, of all runs together.

    Args:
      *runs: any.
    """
    taken = sum(run.seconds for run in runs) / 60
    return f"{taken:,.0f}" if taken >= 100 else f"{taken:.3g}"


def each(values: np.ndarray, digits: int) -> str:
    """Numbers one after the other.

    Args:
      values: [seeds].
      digits: behind the point.
    """
    return " ".join(number(value, f".{digits}f") for value in values)


def number(value: float, form: str) -> str:
    """One number, or NaN.

    Args:
      value: any.
      form: a format specification.
    """
    return "NaN" if np.isnan(value) else format(value, form)


def mean(values: np.ndarray, digits: int) -> str:
    """A mean over seeds with its interval; how many are finite, if not all.

    Args:
      values: [seeds].
      digits: behind the point.
    """
    kept = values[np.isfinite(values)]
    if not len(kept):
        return "none finite"
    told = []
    if len(kept) > 1:
        lower, upper = intervals.of_mean(kept)
        told.append(f"{lower:.{digits}f} to {upper:.{digits}f}")
    if len(kept) < len(values):
        told.append(f"{len(kept)} of {len(values)} finite")
    middle = f"{kept.mean():.{digits}f}"
    return f"{middle} ({', '.join(told)})" if told else middle
