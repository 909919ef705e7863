"""Confidence intervals, of 95 %."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_LEVEL = 0.95


def of_share(successes: int, trials: int) -> tuple[float, float]:
    """The exact interval of a probability, of Clopper and Pearson.

    Args:
      successes: of the trials.
      trials: at least 1.

    Returns:
      Its lower and its upper end.
    """
    interval = stats.binomtest(successes, trials).proportion_ci(_LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def of_mean(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The interval of a mean, of Student.

    Args:
      values: finite, at least two.

    Returns:
      Its lower and its upper end.
    """
    mean = float(np.mean(values))
    reach = stats.sem(values) * stats.t.ppf((1 + _LEVEL) / 2, len(values) - 1)
    return mean - float(reach), mean + float(reach)
