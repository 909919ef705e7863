"""The benchmark of the random step draws by the bits that it names."""

import numpy as np
import pytest

from benchmarks.updates.random_bits import (
    CONTESTANTS,
    JAX_BITS,
    SIGNS,
    SPHERE,
    Step,
    contestant,
)


@pytest.mark.slow
def test_each_contestant_draws_a_step_of_its_own():
    steps = {}
    for name in CONTESTANTS:
        made = contestant(name, Step(2, 200))
        count, drawn = made.step(made.carry)
        assert count == 1
        steps[name] = np.concatenate(drawn)
        np.testing.assert_allclose(np.linalg.norm(steps[name]), 1, rtol=1e-5)
    assert np.ptp(np.abs(steps[SIGNS])) == np.ptp(np.abs(steps[JAX_BITS])) == 0
    assert np.ptp(np.abs(steps[SPHERE])) > 0
    assert (steps[SIGNS] != steps[JAX_BITS]).any()
