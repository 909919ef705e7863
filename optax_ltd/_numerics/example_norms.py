"""Norms of each example, all leaves together, that do not underflow or overflow."""

import jax
import jax.numpy as jnp

from optax_ltd._numerics.dtypes import widened


def norms(leaves: list[jax.Array], lead: int) -> jax.Array:
    """L2 norms over all features, each scaled by its largest entry first.

    Args:
      leaves: arrays with the same leading axes, such as ``[T, B]``.
      lead: how many leading axes there are.

    Returns:
      One norm for each index of the leading axes, float32 or wider.
    """
    largest = _largest(leaves, lead)
    usable = jnp.isfinite(largest) & (largest > 0)
    # Where it is not, the sum of squares tells 0, Inf and NaN apart. The maximum does
    # not: on a CPU that of several numbers may leave a NaN out.
    by = jnp.where(usable, largest, 1)
    return by * plain_norms([divide(x, by, by > 0) for x in leaves], lead)


def _square(x: jax.Array) -> jax.Array:
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def _largest(leaves: list[jax.Array], lead: int) -> jax.Array:
    tops = [
        jnp.max(jnp.abs(widened(x)), axis=_features(x, lead), initial=0) for x in leaves
    ]
    top = tops[0]
    for other in tops[1:]:
        top = jnp.maximum(top, other)
    return top


def plain_norms(leaves: list[jax.Array], lead: int) -> jax.Array:
    """L2 norms over all features, for numbers whose squares can be represented."""
    squares = [jnp.sum(_square(widened(x)), axis=_features(x, lead)) for x in leaves]
    total = sum(squares[1:], squares[0])
    # The derivative at zero is zero, not that of a square root.
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1)), total)


def divide(x: jax.Array, by: jax.Array, where: jax.Array) -> jax.Array:
    """Divides x by ``by`` in at least float32 where it may be done, zero elsewhere."""
    safe = jnp.where(where, by, 1)
    # A division may be compiled to a product with the reciprocal, and that of the
    # largest floats is flushed to zero.
    small = jnp.where(safe > 2.0**100, 2.0**-32, 1.0)
    quotient = widened(x) * append_axes(small, x) / append_axes(safe * small, x)
    return jnp.where(append_axes(where, x), quotient, 0)


def append_axes(x: jax.Array, like: jax.Array) -> jax.Array:
    """``x`` with axes of size 1 behind its own, as many as ``like`` has."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def _features(x: jax.Array, lead: int) -> tuple[int, ...]:
    return tuple(range(lead, x.ndim))
