"""A diagonal preconditioner: the squares of examples' gradients, from a few passes."""

import functools
import math

import jax
import jax.numpy as jnp

from optax_ltd._numerics.shards import Axes
from optax_ltd._second_order.gauss_newton import Linearised
from optax_ltd._second_order.parameter_space import Vector, zeros_like

_PROBES = 8


def preconditioner(
    linear: Linearised,
    like: Vector,
    damping: jax.Array,
    exponent: jax.Array | float,
    key: jax.Array,
) -> Vector:
    r"""The diagonal M of Martens 2010, section 4.7.

    .. math:: M = \Big(\frac{1}{B} \sum_b (\nabla L_b)^2 + \lambda\Big)^\alpha

    with the gradient of each example squared entry by entry. A pass back that is given
    the errors of all examples with random signs s has an expected square of
    Σ_b (∇L_b)² / B², as E[s_b s_c] = 0 for any two, so a few such passes stand for one
    an example.

    Args:
      linear: the model about the point; its outputs have the examples along their
        first axis.
      like: any vector.
      damping: λ.
      exponent: α.
      key: of the signs.

    Returns:
      M for each entry, over the largest of them: to conjugate gradients a factor of all
      of M makes no difference.
    """
    if not isinstance(exponent, jax.Array) and exponent == 0:
        return [jnp.ones((), x.dtype) for x in like]
    idle = [jnp.zeros_like(h) for h in linear.hidden]
    counts = {error.shape[:1] for error in linear.errors}
    examples = max((count[0] for count in counts if count), default=1)
    examples *= math.prod(map(jax.lax.axis_size, linear.axes))

    def add(roots: Vector, key: jax.Array) -> tuple[Vector, None]:
        signed = [_signed(error, key, linear.axes) for error in linear.errors]
        pulled = linear.pull(signed, idle)
        return [jnp.hypot(r, x) for r, x in zip(roots, pulled, strict=True)], None

    # Roots of sums of squares, as the squares may be beyond their dtype.
    roots, _ = jax.lax.scan(add, zeros_like(like), jax.random.split(key, _PROBES))
    mean, root = math.sqrt(examples / _PROBES), jnp.sqrt(damping)
    roots = [jnp.hypot(mean * r, root.astype(r.dtype)) for r in roots]
    ends = [jnp.max(r, initial=0) for r in roots]
    largest = functools.reduce(jnp.maximum, ends, root)
    return [_power(r / largest.astype(r.dtype), 2 * exponent) for r in roots]


def _power(share: jax.Array, exponent: jax.Array | float) -> jax.Array:
    """A power of numbers up to 1, by which one can divide."""
    least = math.sqrt(jnp.finfo(share.dtype).tiny)
    return jnp.maximum(share, least) ** jnp.asarray(exponent, share.dtype)


def _signed(error: jax.Array, key: jax.Array, axes: Axes) -> jax.Array:
    """Errors with a random sign for each example, one for all leaves of as many.

    Where examples are divided, each part takes its share of the signs of all.
    """
    sizes = [*map(jax.lax.axis_size, axes), *error.shape[:1]]
    signs = jax.random.rademacher(key, sizes, error.dtype)
    for axis in axes:
        signs = signs[jax.lax.axis_index(axis)]
    return error * signs.reshape(signs.shape + (1,) * (error.ndim - signs.ndim))
