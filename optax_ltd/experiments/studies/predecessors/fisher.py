"""Whether two shares differ by more than chance."""

from typing import Any

from scipy import stats


def p_of_shares(first: int, second: int, trials: int) -> float:
    """How likely two shares differ as much if they are the same, by Fisher's test.

    Args:
      first: successes.
      second: other successes.
      trials: of each.

    Returns:
      The two-sided p.
    """
    counts = [[first, trials - first], [second, trials - second]]
    result: Any = stats.fisher_exact(counts)  # whose type is not told
    return float(result.pvalue)
