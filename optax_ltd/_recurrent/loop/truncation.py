"""Truncated back-propagation through time: where the error signal stops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


def check_truncate(truncate: Any) -> None:
    """Raises ValueError unless ``truncate`` is None or an integer >= 1."""
    kind = (int, np.integer)
    whole = isinstance(truncate, kind) and not isinstance(truncate, bool)
    if truncate is not None and not (whole and truncate >= 1):
        raise ValueError(f"truncate must be None or an integer >= 1, got {truncate!r}")


def stop_at(stop: jax.Array | None, carry: list[Any]) -> list[Any]:
    """The carry; its gradient ends here where ``stop`` is true."""
    if stop is None:
        return carry
    return [
        jnp.where(stop, jax.lax.stop_gradient(h), h) if is_inexact(h) else h
        for h in carry
    ]
