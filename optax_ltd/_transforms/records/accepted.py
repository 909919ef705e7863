"""Norms and losses of the steps that were accepted, and what stands out of them.

A loss may have either sign, so that no value marks a place that nothing has filled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms.records.norm_statistics import counted_norm

_LEAST_SHARE = 1e-6  # of the mean, that a deviation counts as at least


class Accepted(NamedTuple):
    """The last accepted values, the newest last, in two rows: norms and losses.

    Attributes:
      values: [2, window]; of a row the last `counts` have a meaning.
      counts: how many have come, [2], and no more than the window holds.
    """

    values: jax.Array
    counts: jax.Array


class Row(NamedTuple):
    """A norm and a loss.

    Attributes:
      values: the two, [2], a loss within half of its dtype's range, so that
        differences stay finite.
      counts: whether each says anything, [2].
      rounding: the share of itself by which each may be off, [2].
    """

    values: jax.Array
    counts: jax.Array
    rounding: jax.Array


def nothing_accepted(window: int) -> Accepted:
    """Windows that hold nothing, as fresh arrays."""
    return Accepted(jnp.zeros((2, window), float), jnp.zeros(2, jnp.int32))


def newest_row(measured: TreeNorm, loss: jax.Array | None, accepted: Accepted) -> Row:
    """A norm and a loss as their windows take them.

    Args:
      measured: the norm; it counts as in `counted_norm`.
      loss: the loss, which counts if it is finite; or None.
      accepted: the windows.

    Returns:
      The two.
    """
    dtype = accepted.values.dtype
    norm, counts = counted_norm(measured, dtype)
    known = jnp.zeros_like(counts) if loss is None else jnp.isfinite(loss)
    loss = jnp.zeros((), dtype) if loss is None else jnp.where(known, loss, 0)
    end = float(jnp.finfo(dtype).max) / 2
    values = jnp.stack([norm, jnp.clip(loss.astype(dtype), -end, end)])
    return Row(
        values=lax.stop_gradient(values),
        counts=jnp.stack([counts, known]),
        rounding=jnp.asarray(
            [_LEAST_SHARE, max(_LEAST_SHARE, float(jnp.finfo(loss.dtype).eps))], dtype
        ),
    )


def stands_out(
    accepted: Accepted, row: Row, zscore: jax.typing.ArrayLike, *, warmup: int
) -> jax.Array:
    """Whether a norm and a loss lie too far above those that were accepted.

    Args:
      accepted: the windows.
      row: the two.
      zscore: how many standard deviations above the mean are too far.
      warmup: how many values a window must have before it is asked.

    Returns:
      One bool each, [2].
    """
    values, counts = accepted
    size = values.shape[-1]
    filled = jnp.arange(size) >= size - counts[:, None]
    # From the newest on, so that a small deviation from a large mean keeps its digits;
    # and in units of the largest distance, whose square then stays in range.
    newest = values[:, -1]
    distances = jnp.where(filled, values - newest[:, None], 0)
    unit = jnp.max(jnp.abs(distances), axis=-1)
    unit = jnp.where(unit > 0, unit, 1)
    ratios = distances / unit[:, None]
    number = jnp.maximum(counts, 1)
    mean = jnp.sum(ratios, axis=-1) / number
    squares = jnp.where(filled, jnp.square(ratios - mean[:, None]), 0)
    deviation = unit * jnp.sqrt(jnp.sum(squares, axis=-1) / number)
    mean = newest + unit * mean
    # Equal values have no deviation, and the next may differ by its rounding alone.
    spread = deviation + row.rounding * jnp.abs(mean)
    spread = jnp.maximum(spread, jnp.finfo(values.dtype).tiny)
    zscore = jnp.maximum(jnp.asarray(zscore).astype(values.dtype), 0)
    above = row.values - mean > zscore * spread
    return row.counts & (counts >= warmup) & above


def accept(accepted: Accepted, row: Row, when: jax.Array) -> Accepted:
    """The windows with what counts of a row added, if `when` says so."""
    values, counts = accepted
    when &= row.counts
    later = jnp.concatenate([values[:, 1:], row.values[:, None]], axis=-1)
    room = when & (counts < values.shape[-1])
    return Accepted(
        jnp.where(when[:, None], later, values), jnp.where(room, counts + 1, counts)
    )
