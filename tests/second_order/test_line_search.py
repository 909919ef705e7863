"""Back over the kept iterates, and down along the one chosen."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._second_order.line_search import line_search, walk_back

FALSE = jnp.zeros((), bool)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "chosen", "evaluations"),
    [
        ([5, 4, 3, 2, 1], 4, 2),  # The last is the best.
        ([5, 4, 1, 2, 3], 2, 4),
        ([0, 4, 1, 2, 3], 2, 4),  # It looks one further, and no more.
        ([1, 2, 3, 4, 5], 0, 5),
        ([2, 2, 2, 2, 2], 0, 5),  # As good by a shorter way.
        ([3, 1, 2, NAN, INF], 1, 5),
        ([NAN] * 5, 0, 5),
    ],
)
def test_the_walk_back(losses: list[float], chosen: int, evaluations: int):
    kept = [jnp.arange(6.0)[:, None]]  # The last place is unused.
    table = jnp.asarray([*losses, -100.0])
    found = walk_back(
        lambda x: table[x[0][0].astype(int)], kept, jnp.asarray(4), idle=FALSE
    )
    assert (found.slot, found.evaluations) == (chosen, evaluations)
    worst = np.nan_to_num(losses[chosen], nan=INF)
    assert found.loss == worst


def _search(curve: Any, slope: float) -> Any:
    whole = jnp.asarray(curve(1.0))
    return line_search(
        lambda x: jnp.asarray(curve(x[0][0])),
        [jnp.ones(1)],
        jnp.asarray(curve(0.0)),
        whole,
        jnp.asarray(slope),
        idle=FALSE,
    )


def test_a_whole_step_that_lowers_the_loss_by_enough():
    assert _search(lambda a: 0.5 * (1 - a) ** 2, -1.0) == (1, 0)


def test_a_step_is_shortened_until_it_lowers_the_loss():
    """(a - .3)² is below .09 from a = .6 down: 1, .8, .64, .512."""
    factor, evaluations = _search(lambda a: (a - 0.3) ** 2, -0.6)
    np.testing.assert_allclose(factor, 0.8**3, rtol=1e-6)
    assert evaluations == 3


def test_by_enough_is_a_hundredth_of_what_the_slope_promises():
    """Down by .009 of a slope of 1 is not enough, at any length."""
    assert _search(lambda a: -0.009 * a, -1.0)[0] == 0
    assert _search(lambda a: -0.011 * a, -1.0)[0] == 1
    # Up by its slope, and lower all the same: any fall is enough.
    assert _search(lambda a: -0.001 * a, 1.0)[0] == 1


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("curve", [lambda a: a, lambda a: 0.0 * a, lambda a: NAN * a])
def test_no_step_where_none_lowers_the_loss(curve: Any, slope: float):
    whole, before = jnp.asarray(INF), jnp.asarray(1.0)
    after = lambda x: 1 + jnp.asarray(curve(x[0][0]))
    found = line_search(
        after, [jnp.ones(1)], before, whole, jnp.asarray(slope), idle=FALSE
    )
    assert found == (0, 60)
