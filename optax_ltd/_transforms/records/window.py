"""The last few numbers of a run, in an array of fixed size.

The newest comes last. Numbers are at least 0, and -1 marks a place that nothing has
filled yet: a NaN would stop a run under ``jax_debug_nans``.
"""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.dtypes import widened


def empty_window(size: int) -> jax.Array:
    """A window that holds nothing, as a fresh array."""
    return jnp.full(size, -1, float)


def is_full(window: jax.Array) -> jax.Array:
    """Whether numbers have come for every place."""
    return window[0] >= 0


def push(window: jax.Array, value: jax.Array, when: jax.Array) -> jax.Array:
    """Adds a number at the end and drops the oldest, or returns the window as is.

    Args:
      window: numbers, [size].
      value: the number, at least 0. One above the range of its dtype or of the
        window's is kept as the largest number of that dtype.
      when: whether to add it.

    Returns:
      The new window.
    """
    newest = bounded(value, window.dtype)
    return jnp.where(when, jnp.append(window[1:], newest), window)


def bounded(value: jax.Array, dtype: Any) -> jax.Array:
    """A number in another dtype, Inf as the largest number that both dtypes have."""
    wide = widened(value)
    end = min(float(jnp.finfo(wide.dtype).max), float(jnp.finfo(dtype).max))
    return jnp.minimum(wide, end).astype(dtype)


def window_percentile(window: jax.Array, percent: Any) -> jax.Array:
    """The number below which a share of the window lies.

    Between two numbers the lower is taken, so that the result is one that occurred,
    and the largest of several is the result for no percentage below 100.

    Args:
      window: numbers, [..., size].
      percent: the share, 0 to 100.

    Returns:
      The number, [...]; 0 if the window is empty.
    """
    filled = window >= 0
    count = jnp.sum(filled, axis=-1)
    end = jnp.finfo(window.dtype).max
    ordered = jnp.sort(jnp.where(filled, window, end), axis=-1)
    position = percent * (count - 1) / 100
    # A whole number may have been rounded down; its floor would be a rank too low.
    slack = 1 + 4 * jnp.finfo(window.dtype).eps
    rank = jnp.floor(position * slack).astype(int)
    rank = jnp.clip(rank, 0, jnp.maximum(count - 1, 0))
    found = jnp.take_along_axis(ordered, rank[..., None], axis=-1)[..., 0]
    return jnp.where(count > 0, found, 0)


def window_mean(window: jax.Array) -> jax.Array:
    """The mean of what a window [..., size] holds; 0 if it is empty."""
    filled = window >= 0
    total = jnp.sum(jnp.where(filled, window, 0), axis=-1)
    return total / jnp.maximum(jnp.sum(filled, axis=-1), 1)
