"""How far the quadratic model is trusted: λ, raised and lowered by what came true."""

import jax
import jax.numpy as jnp

from optax_ltd._numerics.dtypes import widened

# float32 holds the squares of both, and the model of no loss is mended beyond them.
LEAST_DAMPING = 1e-12
MOST_DAMPING = 1e12
# A loss is a mean of many terms, whose last digits are not to be relied on.
_ROUNDING = 8


def reduction_ratio(change: jax.Array, predicted: jax.Array) -> jax.Array:
    """How much of what the model predicted came true (Martens 2010, section 4.1).

    Args:
      change: of the loss.
      predicted: change of the model, without damping.

    Returns:
      ρ, 0 where the model predicts no reduction.
    """
    lowers = predicted < 0
    return jnp.where(lowers, change / jnp.where(lowers, predicted, 1), 0)


def is_lost_in_rounding(change: jax.Array, loss: jax.Array) -> jax.Array:
    """Whether the loss is too coarse a number to show a change of it.

    Args:
      change: one that is predicted, or that was seen.
      loss: before the step, in the dtype that it was computed in.
    """
    digits = _ROUNDING * float(jnp.finfo(loss.dtype).eps)
    return jnp.abs(change) <= digits * jnp.abs(widened(loss))


def adapted(
    damping: jax.Array, ratio: jax.Array, first: jax.Array | float, *, lost: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next λ, by the rule of Martens 2010, section 4.1, where ρ tells something.

    Where it does not, the rule would raise λ for ever: the larger it is, the shorter
    are steps, and the more of them are lost. So it goes back to where it began.

    Args:
      damping: λ.
      ratio: ρ: λ grows by 3/2 if it is below 1/4, and shrinks by 2/3 above 3/4.
      first: the λ to go back to.
      lost: whether ρ is noise.

    Returns:
      The next λ, and whether it was held at the end of its range.
    """
    factor = jnp.where(ratio < 1 / 4, 3 / 2, jnp.where(ratio > 3 / 4, 2 / 3, 1))
    free = damping * factor.astype(damping.dtype)
    back = jnp.maximum(2 / 3 * damping, jnp.minimum(damping, first))
    free = jnp.where(lost, back.astype(damping.dtype), free)
    held = jnp.clip(free, LEAST_DAMPING, MOST_DAMPING)
    return held, held != free
