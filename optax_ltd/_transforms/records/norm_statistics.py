"""Statistics of gradient norms: which norms count, and what the first ones say.

Nothing here squares a norm, so that norms near either end of their dtype's range have
statistics too.
"""

import jax
import jax.numpy as jnp
from jax import lax

from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms.records.window import bounded, window_percentile

OUTLIER = 10  # A norm so many times the usual one is no sign of what is usual.


def counted_norm(measured: TreeNorm, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """The norm of a gradient as statistics take it.

    Args:
      measured: the norm.
      dtype: that of the statistics.

    Returns:
      The norm, no larger than the largest number of its dtype and of `dtype`, and
      whether it counts: the gradient is finite and not zero. A zero gradient, as of a
      batch in which everything is masked, says nothing of the usual size.
    """
    norm = bounded(lax.stop_gradient(measured.norm), dtype)
    counts = measured.finite & (norm >= jnp.finfo(dtype).tiny)
    return jnp.where(counts, norm, 1), counts


def first_moments(norms: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the norms of a warm-up.

    Norms of more than `OUTLIER` times their median are left out, so that a few bad
    ones, fewer than half, leave no trace.

    Args:
      norms: a window of positive norms, [size].

    Returns:
      Mean and standard deviation, the latter that of a whole population.
    """
    median = window_percentile(norms, 50)
    kept = (norms > 0) & (norms <= OUTLIER * median)
    unit = jnp.where(median > 0, median, 1)
    ratios = jnp.where(kept, norms / unit, 0)
    count = jnp.maximum(jnp.sum(kept), 1)
    mean = jnp.sum(ratios) / count
    variance = jnp.sum(jnp.where(kept, jnp.square(ratios - mean), 0)) / count
    return unit * mean, unit * jnp.sqrt(variance)


def next_mean(mean: jax.Array, norm: jax.Array, decay: jax.Array) -> jax.Array:
    """The running mean with one more norm in it, never rounded to 0 or Inf."""
    # A small share of a small norm would vanish, and a compiler may add two large
    # numbers before it weighs them.
    lift = jnp.where(jnp.maximum(mean, norm) < 1, 2.0**64, 0.25).astype(mean.dtype)
    new = (decay * (mean * lift) + (1 - decay) * (norm * lift)) / lift
    info = jnp.finfo(mean.dtype)
    return jnp.clip(new, info.tiny, info.max)


def next_deviation(
    deviation: jax.Array, distance: jax.Array, decay: jax.Array
) -> jax.Array:
    """The running root mean square with one more distance in it."""
    distance = jnp.abs(distance)
    unit = jnp.maximum(deviation, distance)
    unit = jnp.where(unit > 0, unit, 1)
    square = decay * (deviation / unit) ** 2 + (1 - decay) * (distance / unit) ** 2
    return unit * jnp.sqrt(square)
