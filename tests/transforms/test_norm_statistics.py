"""What enters the statistics of norms, at the edges of what does."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms.records.norm_statistics import (
    counted_norm,
    first_moments,
    next_mean,
)

END = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)


def test_ten_times_the_median_is_still_counted_and_no_more():
    norms = np.array([-1, 10, 1, 1, 10.001], np.float32)
    mean, deviation = jax.jit(first_moments)(norms)
    np.testing.assert_allclose(mean, 4, rtol=1e-6)
    np.testing.assert_allclose(deviation, 18**0.5, rtol=1e-6)


def test_a_norm_beyond_the_range_enters_as_the_largest_number():
    norm, counts = counted_norm(tree_norm(jnp.full(4, END)), jnp.dtype(jnp.float32))
    assert counts
    assert norm == END


def test_statistics_are_no_path_for_gradients():
    def norm(gradient: jax.Array) -> jax.Array:
        return counted_norm(tree_norm(gradient), jnp.dtype(jnp.float32))[0]

    slope = jax.jit(jax.grad(norm))(np.ones(3, np.float32))
    np.testing.assert_array_equal(slope, 0)


@functools.partial(jax.jit, static_argnums=2)
def next_mean_with_constant(mean: jax.Array, norm: jax.Array, decay: float) -> Any:
    return next_mean(mean, norm, jnp.float32(decay))


@pytest.mark.parametrize("size", [TINY, 1.5 * TINY, 1e-36, END])
def test_the_mean_of_equal_norms_at_the_ends_is_their_size(size):
    """Also where the compiler may take a decay that it knows out of the sum."""
    for decay in (0.0, 0.3, 0.5, 0.97, 0.9999, 1.0):
        mean = next_mean_with_constant(np.float32(size), np.float32(size), decay)
        assert TINY <= mean <= END
        np.testing.assert_allclose(mean, size, rtol=1e-6)


def test_a_decay_above_one_leaves_the_mean_in_its_range():
    """As an array it cannot be refused."""
    np.testing.assert_array_equal(next_mean(*map(jnp.float32, (1, 5, 2))), TINY)
    np.testing.assert_array_equal(next_mean(*map(jnp.float32, (END, 1, 2))), END)
