"""The exact test against the numbers of its own paper."""

import pytest

from optax_ltd.experiments.studies.predecessors import fisher


def test_four_cups_of_tea_of_each_kind():
    """There are 70 choices of four."""
    assert fisher.p_of_shares(4, 0, 4) == pytest.approx(2 / 70)
    assert fisher.p_of_shares(3, 1, 4) == pytest.approx(34 / 70)
    assert fisher.p_of_shares(2, 2, 4) == pytest.approx(1)
