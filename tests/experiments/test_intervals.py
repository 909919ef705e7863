"""Intervals against those of tables."""

import numpy as np
import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells, intervals
from tests.experiments.synthetic_runs import synthetic_run


@pytest.mark.parametrize(
    ("successes", "interval"),
    # Of 5 trials: 1 − .025^(1/5) at the ends.
    [(0, (0, 0.5218)), (1, (0.0051, 0.7164)), (5, (0.4782, 1))],
)
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(successes, interval):
    np.testing.assert_allclose(intervals.of_share(successes, 5), interval, atol=5e-5)


def test_the_interval_of_a_mean_is_that_of_student():
    # Mean 2, standard error 1 / √3, and 4.3027 from a table for two degrees of freedom.
    reach = 4.3027 / 3**0.5
    expected = (2 - reach, 2 + reach)
    np.testing.assert_allclose(intervals.of_mean([1, 2, 3]), expected, rtol=1e-4)


def test_what_stands_in_a_table():
    run = synthetic_run(Config(seeds=5), solved=1)
    assert cells.solved(run) == "1 of 5 (1–72 %)"
    assert cells.solved_after(run) == "400 – – – –"
    values = np.array([1.0, 1.0, np.nan])
    assert cells.mean(values, 1) == "1.0 (1.0 to 1.0, 2 of 3 finite)"
    assert cells.mean(values[1:], 1) == "1.0 (1 of 2 finite)"
    assert cells.mean(values[:1], 1) == "1.0"
    assert cells.mean(values[2:], 1) == "none finite"
