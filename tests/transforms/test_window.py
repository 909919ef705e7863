"""Windows of the last numbers, and their percentiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._transforms.records.window import (
    empty_window,
    is_full,
    push,
    window_mean,
    window_percentile,
)

ask = jax.jit(window_percentile)
# With a constant, XLA turns the division into a product, which is rounded otherwise.
ask_constant = jax.jit(window_percentile, static_argnums=1)


@pytest.mark.parametrize("percent", [0, 10, 29, 50, 90, 99, 99.9, 100])
def test_a_percentile_is_the_lower_neighbour(percent):
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 11, 64, 100):
        values = rng.exponential(size=count).astype(np.float32)
        window = np.concatenate([np.full(100 - count, -1, np.float32), values])
        expected = np.percentile(values, percent, method="lower")
        assert ask(window, np.float32(percent)) == expected
        assert ask_constant(window, float(percent)) == expected


def test_nothing_in_it():
    assert ask(empty_window(5), np.float32(50)) == 0
    assert jax.jit(window_mean)(empty_window(5)) == 0


def test_the_newest_comes_last_and_the_oldest_goes():
    window, full = empty_window(3), []
    add = jax.jit(push)
    for value, when in ((1, True), (2, False), (3, True), (np.inf, True), (0, True)):
        window = add(window, np.float32(value), when)
        full.append(bool(is_full(window)))
    end = float(jnp.finfo(jnp.float32).max)
    assert full == [False, False, False, True, True]
    np.testing.assert_array_equal(window, [3, end, 0])
    assert ask(window, np.float32(50)) == 3
    np.testing.assert_array_equal(add(window, np.float32(np.nan), False), window)


def test_one_window_a_member():
    windows = np.array([[-1, 2, 1], [3, 5, 4], [-1, -1, -1]], np.float32)
    np.testing.assert_array_equal(ask(windows, np.float32(50)), [1, 4, 0])
    np.testing.assert_array_equal(jax.jit(window_mean)(windows), [1.5, 4, 0])
