"""Truncated back-propagation through time: where the error signal stops."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.dtypes import is_inexact


def truncation_steps(time_index: jax.Array, truncate: int | None) -> jax.Array | None:
    """``[T]``, the first step of each window but the first; None without windows.

    Args:
      time_index: ``[T]``, the number of each step in its sequence.
      truncate: steps in a window, or None.
    """
    if truncate is None:
        return None
    return (time_index > 0) & (time_index % truncate == 0)


def stopped(stop: jax.Array, signal: list[Any]) -> list[Any]:
    """The signal, which is zero where ``stop`` is true."""
    return [jnp.where(stop, jnp.zeros_like(x), x) for x in signal]


def stop_at(stop: jax.Array | None, carry: list[Any]) -> list[Any]:
    """The carry; its gradient ends here where ``stop`` is true."""
    if stop is None:
        return carry
    return [
        jnp.where(stop, jax.lax.stop_gradient(h), h) if is_inexact(h) else h
        for h in carry
    ]
