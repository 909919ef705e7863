"""Windows of the last numbers, and their percentiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._transforms._window import (
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
    assert window_percentile(empty_window(5), 50) == 0
    assert window_mean(empty_window(5)) == 0


def test_the_newest_comes_last_and_the_oldest_goes():
    window, full = empty_window(3), []
    for value, when in zip(
        jnp.array([1, 2, 3, jnp.inf, 0]), jnp.array([1, 0, 1, 1, 1]) == 1, strict=True
    ):
        window = push(window, value, when)
        full.append(bool(is_full(window)))
    end = float(jnp.finfo(jnp.float32).max)
    assert full == [False, False, False, True, True]
    np.testing.assert_array_equal(window, [3, end, 0])
    assert window_percentile(window, 50) == 3
    np.testing.assert_array_equal(
        push(window, jnp.float32(jnp.nan), jnp.bool_(False)), window
    )


def test_one_window_a_member():
    windows = jnp.array([[-1.0, 2.0, 1.0], [3.0, 5.0, 4.0], [-1.0, -1.0, -1.0]])
    np.testing.assert_array_equal(window_percentile(windows, 50), [1, 4, 0])
    np.testing.assert_array_equal(window_mean(windows), [1.5, 4, 0])
